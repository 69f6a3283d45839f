//! The daemon as a process: its directory, its lock, its run file and its signals.
//!
//! # Invariants
//! - One instance per data directory: the lock is held for as long as [`Instance`] lives, and the
//!   kernel gives it back whatever way the process ends.
//! - The run file names a process that has bound its address, and is gone after a clean exit.
//! - Whatever holds a secret is readable by its owner only.
//!
//! Not here: what happens on a signal (`main`).

mod instance;
mod signals;
mod token;

pub use instance::{Instance, RunFile};
pub use signals::{Signal, Signals};
pub use token::node_token;

use std::io;
use std::path::PathBuf;

/// Why the process cannot take its place on this machine.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Another instance holds the lock.
    #[error(
        "another orchestratord uses the data directory {}: stop it, or choose another with \
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
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
}

fn failed(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> ProcessError {
    let path = path.to_owned();
    move |source| ProcessError::File {
        doing,
        path,
        source,
    }
}
