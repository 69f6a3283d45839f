//! The agent as a process: its directory, its lock, its run file, its token and its signals.
//!
//! # Invariants
//! - One instance per data directory: the lock is held for as long as [`Instance`] lives, and the
//!   kernel gives it back whatever way the process ends.
//! - The run file names a process that has bound its address, and is gone after a clean exit.
//! - Whatever holds a secret is readable by its owner only.

mod instance;
mod logging;
mod token;

use std::io;
use std::path::{Path, PathBuf};

pub use instance::{Instance, RunFile};
pub use logging::{LoggingError, start_logging};
pub use token::node_token;

/// Why the process cannot take its place on this machine.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another instance holds the lock.
    #[error(
        "another pool-managerd uses the data directory {}: stop it, or choose another with \
         --data-dir",
        data_dir.display()
    )]
    AlreadyRunning {
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

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DaemonError {
    let path = path.to_owned();
    move |source| DaemonError::File {
        doing,
        path,
        source,
    }
}

/// The name of this host, in the form of an id.
#[must_use]
pub fn host_name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    as_id(text.trim())
}

fn as_id(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let id: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(64)
        .collect();
    match id.trim_start_matches('.') {
        "" => "localhost".to_owned(),
        id => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_becomes_an_id() {
        assert_eq!(as_id("gpu-box.home"), "gpu-box.home");
        assert_eq!(as_id("schöner rechner"), "sch-ner-rechner");
        assert_eq!(as_id(""), "localhost");
        assert_eq!(as_id(&"x".repeat(80)).len(), 64);
    }
}
