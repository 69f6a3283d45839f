//! Why the data directory cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::name::DaemonName;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another instance holds the lock.
    #[error(
        "another {daemon} uses the data directory {}: stop it, or choose another with --data-dir",
        data_dir.display()
    )]
    AlreadyRunning {
        /// Of which daemon.
        daemon: DaemonName,
        /// The directory.
        data_dir: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The node token is not one.
    #[error("{place} holds no node token: it must be 64 hex digits; remove it to get a new one")]
    BadToken {
        /// The file or the variable.
        place: String,
    },
}

impl DataDirError {
    /// Whether the caller asked for something that cannot be, rather than the system failing it.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::AlreadyRunning { .. } | Self::BadToken { .. })
    }
}

pub(crate) fn failed(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> DataDirError + use<> {
    let path = path.to_owned();
    move |source| DataDirError::File {
        doing,
        path,
        source,
    }
}
