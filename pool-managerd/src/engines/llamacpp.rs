//! `llama-server`: its command line, and what its last words mean.
//!
//! # Invariants
//! - Only numbers of the config reach the command line, each checked by the config's rules; no
//!   text of a client ever does.
//! - One prompt with one seed gives the same bytes alone and beside busy neighbours: every slot
//!   has its own context, and nothing is shifted out of it or fetched from another slot's past.

use std::ffi::OsString;
use std::fmt::Display;

use crate::engines::{CommandLine, Launch, allowed};

/// More layers than any model has: all of them go to the GPU.
const ALL_LAYERS: &str = "999";

/// The command line for `launch`, with the allowed part of `env`.
// spec: ORCH-3001, OC-POOL-3110, OC-POOL-3114
#[must_use]
pub fn command(
    launch: &Launch<'_>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> CommandLine {
    let mut args = Args::default();
    args.pair("--model", launch.model);
    args.pair("--alias", launch.pool);
    args.pair("--host", "127.0.0.1");
    args.number("--port", launch.port);
    // The server divides its context among the slots; each task is promised the whole `ctx`.
    args.number(
        "--ctx-size",
        u64::from(launch.ctx) * u64::from(launch.slots),
    );
    args.number("--parallel", launch.slots);
    if let Some(threads) = launch.threads {
        args.number("--threads", threads);
    }
    // A cache shared by the slots would let a neighbour's length decide what fits, and a cache on
    // the host would take memory that nobody counts.
    args.flag("--no-kv-unified");
    args.number("--cache-ram", 0);
    args.flag("--no-context-shift");
    // What does not fit must fail; a quiet change of layers or context would break the promise of
    // equal output.
    args.pair("--fit", "off");
    args.flag("--offline");
    args.flag("--no-ui");
    args.flag("--metrics");
    args.flag("--slots");
    devices(launch, &mut args);
    let mut env: Vec<_> = allowed(env)
        .filter(|(name, _)| name != "CUDA_VISIBLE_DEVICES")
        .collect();
    env.push(("CUDA_VISIBLE_DEVICES".into(), visible(launch).into()));
    env.push(("TMPDIR".into(), launch.scratch.into()));
    env.push(("LLAMA_API_KEY".into(), launch.key.into()));
    CommandLine {
        program: launch.program.to_owned(),
        args: args.0,
        env,
    }
}

// spec: OC-POOL-3152, OC-POOL-3020, OC-POOL-3021, ORCH-3012
fn devices(launch: &Launch<'_>, args: &mut Args) {
    let Some(placement) = launch.placement else {
        args.pair("--device", "none");
        return;
    };
    args.pair("--n-gpu-layers", ALL_LAYERS);
    match &placement.split {
        Some(split) => {
            let split: Vec<String> = split.iter().map(f64::to_string).collect();
            args.pair("--split-mode", "layer");
            args.pair("--tensor-split", split.join(","));
        }
        None => args.pair("--split-mode", "none"),
    }
}

/// The mask of devices, by UUID; empty hides every GPU.
// spec: OC-POOL-3020
fn visible(launch: &Launch<'_>) -> String {
    launch
        .placement
        .map(|placement| placement.uuids.join(","))
        .unwrap_or_default()
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.extend([name.into(), value.into()]);
    }

    fn number(&mut self, name: &str, value: impl Display) {
        self.pair(name, value.to_string());
    }
}

/// Log lines that name a cause, and what to do about it. The first that matches counts.
const KNOWN: [(&str, &str); 6] = [
    (
        "couldn't bind",
        "its port was taken by another process meanwhile: the next try takes another",
    ),
    (
        "error while loading shared libraries",
        "a library of the engine is missing: provision it anew",
    ),
    (
        "out of memory",
        "there is not enough memory: use a smaller model, ctx or slots",
    ),
    (
        "failed to allocate",
        "there is not enough memory: use a smaller model, ctx or slots",
    ),
    (
        "invalid argument",
        "this llama-server does not know an option: use a newer one",
    ),
    (
        "failed to load model",
        "the model cannot be loaded: is the file complete?",
    ),
];

/// Lines of a log that are quoted in a cause, and how much of each: a cause is for people.
const QUOTED: usize = 4;
const QUOTED_CHARS: usize = 240;

/// Reads the last lines of an engine that ended or failed: what they mean, and the lines themselves.
// spec: OC-POOL-3003, OC-POOL-3130
#[must_use]
pub fn explain(lines: &[String]) -> Option<String> {
    let known = KNOWN
        .iter()
        .find(|(sign, _)| lines.iter().any(|line| line.contains(sign)));
    let complaints = lines.iter().filter(|line| complains(line));
    let mut quoted: Vec<&str> = complaints.map(String::as_str).collect();
    if quoted.is_empty() {
        quoted = lines.iter().map(String::as_str).collect();
    }
    let quoted: Vec<String> = quoted[quoted.len().saturating_sub(QUOTED)..]
        .iter()
        .map(|line| line.chars().take(QUOTED_CHARS).collect())
        .collect();
    let quoted = quoted.join(" | ");
    match known {
        Some((_, meaning)) => Some(format!("{meaning}; its last lines: {quoted}")),
        None if quoted.is_empty() => None,
        None => Some(format!("its last lines: {quoted}")),
    }
}

/// `0.00.004.673 E srv start: …` is an error; older servers and the loader write it out.
fn complains(line: &str) -> bool {
    line.split_ascii_whitespace().nth(1) == Some("E") || line.to_ascii_lowercase().contains("error")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::gpu::placement::Placement;

    fn launch(placement: Option<&Placement>) -> Launch<'_> {
        Launch {
            program: Path::new("/engines/llama-server"),
            model: Path::new("/models/haiku.gguf"),
            pool: "haiku",
            port: 41234,
            key: "0123456789abcdef",
            ctx: 512,
            slots: 2,
            threads: Some(2),
            placement,
            scratch: Path::new("/data/workers/haiku-0"),
        }
    }

    fn words(line: &CommandLine) -> String {
        let words: Vec<_> = line
            .args
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect();
        words.join(" ")
    }

    fn variable<'a>(line: &'a CommandLine, name: &str) -> Option<&'a str> {
        line.env
            .iter()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| value.to_str())
    }

    // spec: ORCH-3001, OC-POOL-3110, OC-POOL-3114
    #[test]
    fn the_whole_command_line_of_a_cpu_worker() {
        let env =
            [("PATH", "/bin"), ("LLAMA_ARG_HOST", "0.0.0.0")].map(|(k, v)| (k.into(), v.into()));
        let line = command(&launch(None), env);
        let expected = "--model /models/haiku.gguf --alias haiku --host 127.0.0.1 --port 41234 \
                        --ctx-size 1024 --parallel 2 --threads 2 --no-kv-unified --cache-ram 0 \
                        --no-context-shift --fit off --offline --no-ui --metrics --slots \
                        --device none";
        assert_eq!(words(&line), expected);
        assert_eq!(variable(&line, "CUDA_VISIBLE_DEVICES"), Some(""));
        assert_eq!(variable(&line, "LLAMA_API_KEY"), Some("0123456789abcdef"));
        assert_eq!(variable(&line, "TMPDIR"), Some("/data/workers/haiku-0"));
        assert_eq!(variable(&line, "LLAMA_ARG_HOST"), None);
    }

    // spec: OC-POOL-3152, OC-POOL-3020, OC-POOL-3012, ORCH-3011
    #[test]
    fn a_gpu_worker_sees_its_devices_only_and_takes_all_layers() {
        let mut placement = Placement {
            uuids: vec!["GPU-a".into(), "GPU-b".into()],
            split: Some(vec![3.0, 1.5]),
            weights: vec![0, 0],
            used_before: vec![0, 0],
        };
        let env = [("CUDA_VISIBLE_DEVICES".into(), "7".into())];
        let line = command(&launch(Some(&placement)), env);
        let end = "--n-gpu-layers 999 --split-mode layer --tensor-split 3,1.5";
        assert!(words(&line).ends_with(end), "{}", words(&line));
        assert_eq!(variable(&line, "CUDA_VISIBLE_DEVICES"), Some("GPU-a,GPU-b"));
        placement = Placement {
            uuids: vec!["GPU-a".into()],
            split: None,
            ..placement
        };
        let line = command(&launch(Some(&placement)), []);
        assert!(
            words(&line).ends_with("--n-gpu-layers 999 --split-mode none"),
            "{}",
            words(&line)
        );
    }

    // spec: OC-POOL-3114
    #[test]
    fn the_key_is_not_on_the_command_line() {
        let line = command(&launch(None), []);
        assert!(!words(&line).contains("0123456789abcdef"));
    }

    // spec: OC-POOL-3003, OC-POOL-3130
    #[test]
    fn last_words_are_explained_and_quoted() {
        let log = [
            "0.00.004.534 I srv  init_listene: The UI is disabled",
            "0.00.004.673 E srv         start: couldn't bind HTTP server socket, port: 18099",
            "0.00.004.718 E srv  llama_server: exiting due to HTTP server error",
        ]
        .map(str::to_owned);
        let text = explain(&log).unwrap();
        assert!(
            text.contains("port was taken") && text.contains("18099"),
            "{text}"
        );
        assert!(!text.contains("UI is disabled"), "{text}");
        assert_eq!(explain(&["bye".to_owned()]).unwrap(), "its last lines: bye");
        assert_eq!(explain(&[]), None);
    }
}
