//! Why an engine could not be obtained. The texts name the cause and what to do.

use std::path::PathBuf;
use std::time::Duration;

use contracts_api_types::kind::EngineName;

use super::tools::{MissingTool, listed};

/// Why an engine could not be obtained.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Only llama.cpp is provisioned.
    #[error("the engine `{engine}` cannot be provisioned: use llamacpp")]
    Unsupported {
        /// The engine.
        engine: EngineName,
    },
    /// Mode `binary`: there is no such program.
    #[error(
        "there is no llama-server to run: looked {looked}. Name the program in \
         provisioning.binary, or set provisioning.mode: source to have it built"
    )]
    BinaryMissing {
        /// Where it was looked for.
        looked: String,
    },
    /// Programs that the build needs are not installed.
    #[error("this machine lacks what llama-server is built with:\n{}", listed(.0))]
    MissingTools(Vec<MissingTool>),
    /// A field of the configured source cannot be used.
    #[error("provisioning.source.{field} {problem}")]
    Source {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The engine is not in the cache, and nothing may be fetched.
    #[error(
        "llama-server {key} is not in the cache, and downloads are not allowed: set \
         pool_managerd.allow_downloads: true, or name a program with provisioning.mode: binary"
    )]
    DownloadsForbidden {
        /// Key of the cache entry.
        key: String,
    },
    /// A file is not the one that was asked for.
    #[error(
        "{} has the SHA-256 {found}, but {expected} is wanted: it was not used. Correct \
         provisioning.source.sha256, or find out who changed the file",
        file.display()
    )]
    DigestMismatch {
        /// The file; it is removed.
        file: PathBuf,
        /// The SHA-256 that was asked for.
        expected: String,
        /// The file's own.
        found: String,
    },
    /// The source is not llama.cpp's.
    #[error("the source has no llama.cpp in it (no CMakeLists.txt in {places})")]
    NotLlamaCpp {
        /// Where it was looked for.
        places: String,
    },
    /// A command of the plan failed.
    #[error("{step} failed ({status}). The last lines of {}:\n{tail}", log.display())]
    StepFailed {
        /// The step.
        step: String,
        /// How the command ended.
        status: String,
        /// The last lines it printed.
        tail: String,
        /// The whole log.
        log: PathBuf,
    },
    /// A command of the plan took too long and was ended.
    #[error("{step} took longer than {limit:?} and was ended; its log is {}", log.display())]
    StepTimedOut {
        /// The step.
        step: String,
        /// Its limit.
        limit: Duration,
        /// The whole log.
        log: PathBuf,
    },
    /// The program does not say which version it is.
    #[error(
        "`{} --version` does not tell llama-server's version ({problem}): is it llama-server, \
         built for this machine?",
        binary.display()
    )]
    Version {
        /// The program.
        binary: PathBuf,
        /// What it said instead.
        problem: String,
    },
    /// Commands of an earlier build that was killed do not end.
    #[error("an earlier build of this engine cannot be ended")]
    LeftOver(#[source] crate::marker::RemovalError),
    /// It was stopped from outside.
    #[error("provisioning was stopped")]
    Stopped,
    /// A file or folder of the cache could not be handled.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl ProvisionError {
    /// Says with which file an operation failed.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
