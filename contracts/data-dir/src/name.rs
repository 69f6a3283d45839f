//! Which daemon, where its files are, and what they say to others.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One of the two daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonName {
    /// Admits tasks and streams tokens.
    Orchestratord,
    /// The agent of a host.
    PoolManagerd,
}

/// What a running daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Since when, in milliseconds since 1970.
    pub started_unix_ms: u64,
}

impl DaemonName {
    /// The name of its program and of its files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orchestratord => "orchestratord",
            Self::PoolManagerd => "pool-managerd",
        }
    }

    /// What its run file says, whoever left it.
    #[must_use]
    pub fn announced(self, data_dir: &Path) -> Option<RunInfo> {
        serde_json::from_slice(&fs::read(self.run_path(data_dir)).ok()?).ok()
    }

    /// Whether some process holds its lock. The lock is tried for a moment: not to be asked while
    /// a daemon of the caller's is starting.
    // spec: CLI-8004
    #[must_use]
    pub fn is_alive(self, data_dir: &Path) -> bool {
        let lock = File::open(self.lock_path(data_dir));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub(crate) fn run_path(self, data_dir: &Path) -> PathBuf {
        run_dir(data_dir).join(format!("{self}.json"))
    }

    pub(crate) fn lock_path(self, data_dir: &Path) -> PathBuf {
        run_dir(data_dir).join(format!("{self}.lock"))
    }
}

impl fmt::Display for DaemonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(crate) fn run_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}
