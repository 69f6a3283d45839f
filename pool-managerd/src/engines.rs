//! What differs from engine to engine on this side: the command line, the environment, and how the
//! last lines of a log are read.
//!
//! # Invariants
//! - An engine gets the environment of an allow-list, without the agent's secrets, and its key
//!   through the environment, never on the command line, where every user could read it.
//!
//! Not here: the engine's HTTP dialect (`worker-adapters`) and where it comes from (provision).

pub mod llamacpp;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::kind::EngineName;
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_llamacpp_http::{ApiKey, LlamaCppAdapter, LlamaCppConfig};

use crate::gpu::placement::Placement;

/// The longest wait for a connection to a worker on this host.
const CONNECT: Duration = Duration::from_secs(2);

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
}

/// Everything a start of an engine depends on.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The engine.
    pub program: &'a Path,
    /// The model.
    pub model: &'a Path,
    /// The pool's id, as the model's name inside the engine.
    pub pool: &'a str,
    /// Loopback port.
    pub port: u16,
    /// Key of this start.
    pub key: &'a str,
    /// Context of one task, in tokens.
    pub ctx: u32,
    /// Generations at once.
    pub slots: u32,
    /// CPU threads; the engine's own choice when absent.
    pub threads: Option<u32>,
    /// GPUs; none for the CPU.
    pub placement: Option<&'a Placement>,
    /// A private directory for temporary files.
    pub scratch: &'a Path,
}

/// What an engine may see of the agent's environment.
const ALLOWED: [&str; 5] = ["PATH", "HOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL"];
/// What begins so belongs to CUDA and its container runtime.
const ALLOWED_PREFIXES: [&str; 2] = ["CUDA_", "NVIDIA_"];

/// The part of `env` that an engine may see.
// spec: OC-POOL-3166
pub fn allowed(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    let may_pass = |name: &OsStr| {
        let Some(name) = name.to_str() else {
            return false;
        };
        ALLOWED.contains(&name)
            || ALLOWED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    env.into_iter().filter(move |(name, _)| may_pass(name))
}

/// An engine that this agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not one of ours yet; the config's rules say so earlier.
    #[error("`{0}` cannot be run by this agent: use llamacpp")]
    Unsupported(EngineName),
    /// The adapter does not take the address.
    #[error("the worker cannot be spoken to")]
    Adapter(#[from] worker_adapters_llamacpp_http::ConfigError),
}

/// The process for `launch`.
///
/// # Errors
/// When the engine is not one that this agent can run.
pub fn command(
    engine: EngineName,
    launch: &Launch<'_>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<CommandLine, EngineError> {
    match engine {
        EngineName::LlamaCpp => Ok(llamacpp::command(launch, env)),
        EngineName::Vllm | EngineName::Tgi | EngineName::Triton => {
            Err(EngineError::Unsupported(engine))
        }
    }
}

/// The adapter that speaks to a worker at `url`.
///
/// # Errors
/// When the engine is not one that this agent can run.
pub fn adapter(
    engine: EngineName,
    url: &str,
    key: &str,
) -> Result<Arc<dyn WorkerAdapter>, EngineError> {
    match engine {
        EngineName::LlamaCpp => Ok(Arc::new(LlamaCppAdapter::new(LlamaCppConfig {
            base_url: url.to_owned(),
            api_key: Some(ApiKey::new(key)),
            connect_timeout: CONNECT,
        })?)),
        EngineName::Vllm | EngineName::Tgi | EngineName::Triton => {
            Err(EngineError::Unsupported(engine))
        }
    }
}

/// What the last lines of an engine's log mean.
#[must_use]
pub fn explain(engine: EngineName, lines: &[String]) -> Option<String> {
    match engine {
        EngineName::LlamaCpp => llamacpp::explain(lines),
        EngineName::Vllm | EngineName::Tgi | EngineName::Triton => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-POOL-3166
    #[test]
    fn secrets_and_settings_of_the_agent_do_not_reach_an_engine() {
        let env = [
            "PATH",
            "HOME",
            "CUDA_CACHE_PATH",
            "LLORCH_NODE_TOKEN",
            "LLORCH_API_TOKEN",
            "LLAMA_ARG_N_GPU_LAYERS",
            "HF_TOKEN",
            "LD_PRELOAD",
        ];
        let env = env.map(|name| (OsString::from(name), OsString::from("x")));
        let passed: Vec<_> = allowed(env).map(|(name, _)| name).collect();
        assert_eq!(passed, ["PATH", "HOME", "CUDA_CACHE_PATH"]);
    }
}
