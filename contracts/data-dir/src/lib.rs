//! What lies in the data directory: locks, run files and the node token.
//!
//! # Invariants
//! - One instance of a daemon per data directory: its lock is held for as long as [`Instance`]
//!   lives, and the kernel gives it back whatever way the process ends.
//! - A run file names a process that has bound its address, and is gone after a clean exit. It
//!   counts only while the lock is held: numbers of processes are used again.
//! - Whatever holds a secret is readable by its owner only.
//! - A reader sees all of a file or nothing of it.
//!
//! Not here: starting, watching and signalling processes.

mod error;
mod instance;
mod name;
pub mod secret;
mod token;

pub use error::DataDirError;
pub use instance::{Instance, RunFile};
pub use name::{DaemonName, RunInfo};
pub use token::node_token;
