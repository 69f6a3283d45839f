//! The script: one small YAML (or JSON) file that says how the engine behaves.
//!
//! # Invariants
//! - Every field has a default, and the defaults make a well-behaved engine.
//! - An unknown field, a contradiction or a number out of range is refused at the start, with the
//!   field's name.
//!
//! Not here: what a fault does (`conversation`, `server`).

pub mod behaviour;
pub mod fault;
pub mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use behaviour::{Frames, Health, OnSigterm, Start, TgiScript, TritonScript, VllmScript};
use fault::FaultRule;
use text::TextScript;

/// The largest script that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that can be scripted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The model's name.
    pub model: String,
    /// How many generations run at once.
    pub slots: u32,
    /// The context of one slot, in tokens.
    pub ctx: u32,
    /// The rate at which a prompt is read, per stream; 0 takes no time.
    pub prefill_tokens_per_s: u32,
    /// The rate at which tokens come, per stream; 0 takes no time.
    pub decode_tokens_per_s: u32,
    /// By which share of itself a token takes longer for every other busy slot.
    pub batch_slowdown: f64,
    /// How many tokens the prefix cache keeps in all; 0 for none.
    pub cache_tokens: u32,
    /// The key that guarded paths ask for.
    pub api_key: Option<String>,
    /// How many requests may run and wait together; more are answered as the engine answers when
    /// it is overloaded. llama.cpp never refuses, so there it cannot be set.
    pub overload_at: Option<u32>,
    /// From which generation on nothing is computed and nothing answered any more.
    pub hang_after_requests: Option<u64>,
    /// What answers say.
    pub text: TextScript,
    /// How streams are cut into frames and writes.
    pub frames: Frames,
    /// How the start goes.
    pub start: Start,
    /// What health says.
    pub health: Health,
    /// What SIGTERM does.
    pub on_sigterm: OnSigterm,
    /// What only vLLM has.
    pub vllm: VllmScript,
    /// What only TGI has.
    pub tgi: TgiScript,
    /// What only Triton has.
    pub triton: TritonScript,
    /// What goes wrong, and when. Of rules that contradict each other the last one counts.
    pub faults: Vec<FaultRule>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            model: "tiny".to_owned(),
            slots: 4,
            ctx: 4096,
            prefill_tokens_per_s: 100_000,
            decode_tokens_per_s: 1_000,
            batch_slowdown: 0.0,
            cache_tokens: 8192,
            api_key: None,
            overload_at: None,
            hang_after_requests: None,
            text: TextScript::default(),
            frames: Frames::default(),
            start: Start::default(),
            health: Health::Honest,
            on_sigterm: OnSigterm::Natural,
            vllm: VllmScript::default(),
            tgi: TgiScript::default(),
            triton: TritonScript::default(),
            faults: Vec::new(),
        }
    }
}

impl Script {
    /// Reads a script and checks it against `dialect`.
    ///
    /// # Errors
    /// [`ScriptError`] when the file cannot be read, is malformed, or asks for what cannot be.
    pub fn load(path: &Path, dialect: Dialect) -> Result<Self, ScriptError> {
        let unreadable = |source| ScriptError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > FILE_BYTES_MAX {
            return Err(invalid(
                "file",
                format!("has {size} bytes, {FILE_BYTES_MAX} is the most"),
            ));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(unreadable)?, dialect)
    }

    /// Reads a script from YAML or JSON text.
    ///
    /// # Errors
    /// As [`Script::load`].
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, ScriptError> {
        let script: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| ScriptError::Malformed(error.to_string()))?
        };
        script.check(dialect)?;
        Ok(script)
    }

    /// Refuses contradictions.
    ///
    /// # Errors
    /// [`ScriptError::Invalid`] with the field and the problem.
    pub fn check(&self, dialect: Dialect) -> Result<(), ScriptError> {
        if !(1..=4096).contains(&self.slots) {
            return Err(invalid("slots", "must be between 1 and 4096"));
        }
        if !(2..=1 << 20).contains(&self.ctx) {
            return Err(invalid("ctx", "must be between 2 and 1048576"));
        }
        if !(self.batch_slowdown >= 0.0 && self.batch_slowdown.is_finite()) {
            return Err(invalid("batch_slowdown", "must be a number of at least 0"));
        }
        if self.frames.tokens_per_frame == 0 {
            return Err(invalid("frames.tokens_per_frame", "must be at least 1"));
        }
        if self.overload_at.is_some() && dialect == Dialect::Llamacpp {
            let problem = "cannot be set: llama.cpp queues without bound and refuses nothing";
            return Err(invalid("overload_at", problem));
        }
        for (index, rule) in self.faults.iter().enumerate() {
            rule.check()
                .map_err(|problem| invalid(&format!("faults[{index}]"), problem))?;
        }
        Ok(())
    }
}

fn invalid(field: &str, problem: impl Into<String>) -> ScriptError {
    ScriptError::Invalid {
        field: field.to_owned(),
        problem: problem.into(),
    }
}

/// Why a script cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML, or has a field that does not exist.
    #[error("malformed script: {0}")]
    Malformed(String),
    /// It asks for what cannot be.
    #[error("`{field}` {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::fault::{At, Fault, When};
    use super::*;

    // spec: OC-TEST-7302
    #[test]
    fn an_empty_script_is_the_default() {
        assert_eq!(Script::parse("", Dialect::Vllm).unwrap(), Script::default());
        assert_eq!(
            Script::parse("{}", Dialect::Vllm).unwrap(),
            Script::default()
        );
    }

    #[test]
    fn faults_are_read_from_yaml_and_json() {
        let yaml = "faults:\n  - when: {prompt: CUT, every: 3}\n    at: {token: 4}\n    fault: rst\n  \
                    - fault: {garbage: {long_line: {bytes: 99}}}\n  - fault: {stall: {}}\n";
        let script = Script::parse(yaml, Dialect::Tgi).unwrap();
        assert_eq!(script.faults.len(), 3);
        assert_eq!(script.faults[0].fault, Fault::Rst);
        assert_eq!(
            script.faults[0].at,
            At {
                token: Some(4),
                ..At::default()
            }
        );
        assert_eq!(
            script.faults[0].when,
            When {
                request: None,
                every: Some(3),
                prompt: Some("CUT".into())
            }
        );
        let json = serde_json::to_string(&script).unwrap();
        assert_eq!(Script::parse(&json, Dialect::Tgi).unwrap(), script);
    }

    #[test]
    fn the_scripts_of_the_readme_can_be_followed() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```yaml\n").skip(1);
        let scripts: Vec<&str> = blocks
            .filter_map(|block| block.split("```").next())
            .collect();
        assert_eq!(scripts.len(), 2);
        for text in scripts {
            let script = Script::parse(text, Dialect::Triton).unwrap();
            assert_ne!(script, Script::default());
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_fields_name() {
        for (text, name) in [
            ("sluts: 3", "sluts"),
            ("slots: 0", "slots"),
            ("ctx: 1", "ctx"),
            ("overload_at: 3", "overload_at"),
            ("batch_slowdown: -1", "batch_slowdown"),
            (
                "faults: [{fault: rst, at: {token: 1, byte: 2}}]",
                "faults[0]",
            ),
            ("faults: [{fault: no_tokens, at: {byte: 2}}]", "faults[0]"),
            ("frames: {tokens_per_frame: 0}", "tokens_per_frame"),
        ] {
            let error = Script::parse(text, Dialect::Llamacpp).unwrap_err();
            assert!(error.to_string().contains(name), "{text}: {error}");
        }
    }
}
