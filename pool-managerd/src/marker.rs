//! The mark that every worker carries in its environment, and the removal of what carries it.
//!
//! A guard removes its worker when the agent dies. When the guard itself is killed, grandchildren
//! of the engine may live on without a parent that knows them; the mark, which every child
//! inherits, still names them.
//!
//! # Invariants
//! - A mark names one data directory and one replica, so agents on one host never touch each
//!   other's workers. The agent holds the lock of its data directory before it removes anything.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::getpid;
use sha2::{Digest, Sha256};

use crate::processes::{self, Process};

/// The variable that holds the mark.
pub const VARIABLE: &str = "LLORCH_WORKER_MARK";

/// The longest wait for one round of ends. A new look after it catches what was born meanwhile.
const ROUND: Duration = Duration::from_millis(100);

/// Whose workers: the agent of one data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// The owner of the workers of `data_dir`.
    ///
    /// # Errors
    /// When the directory is not there.
    pub fn of(data_dir: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(data_dir)?;
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        let mut hex = String::with_capacity(17);
        for byte in &digest[..8] {
            let _ = write!(hex, "{byte:02x}");
        }
        hex.push('-');
        Ok(Self(hex))
    }

    /// The mark of one replica.
    #[must_use]
    pub fn mark(&self, replica: &str) -> String {
        format!("{}{replica}", self.0)
    }

    fn owns(&self, environment: &[u8]) -> bool {
        mark_in(environment).is_some_and(|mark| mark.starts_with(self.0.as_bytes()))
    }
}

fn mark_in(environment: &[u8]) -> Option<&[u8]> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))
}

/// Marked processes that cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// `/proc` cannot be read.
    #[error("cannot look for left-over workers: is /proc mounted?")]
    Look(#[source] io::Error),
    /// They do not end.
    #[error("left-over worker processes do not end after {waited:?}: {pids:?}")]
    StillThere {
        /// How long was waited.
        waited: Duration,
        /// Which.
        pids: Vec<i32>,
    },
}

/// Kills every process of an earlier life of this agent and waits until they are gone. Blocks.
///
/// # Errors
/// When some do not end `within` that time.
// spec: OC-POOL-3105
pub fn remove_all(owner: &Owner, within: Duration) -> Result<usize, RemovalError> {
    remove(&|environment| owner.owns(environment), within)
}

/// Kills every process that carries `mark` and waits until they are gone. Blocks.
///
/// # Errors
/// When some do not end `within` that time.
// spec: OC-POOL-3105
pub fn remove_marked(mark: &str, within: Duration) -> Result<usize, RemovalError> {
    remove(
        &|environment| mark_in(environment) == Some(mark.as_bytes()),
        within,
    )
}

fn remove(wanted: &dyn Fn(&[u8]) -> bool, within: Duration) -> Result<usize, RemovalError> {
    let begun = Instant::now();
    let mut removed = std::collections::BTreeSet::new();
    loop {
        let found = look(wanted).map_err(RemovalError::Look)?;
        if found.is_empty() {
            return Ok(removed.len());
        }
        if begun.elapsed() > within {
            let pids = found
                .iter()
                .map(|process| process.pid.as_raw_nonzero().get())
                .collect();
            return Err(RemovalError::StillThere {
                waited: within,
                pids,
            });
        }
        removed.extend(
            found
                .iter()
                .map(|process| (process.pid.as_raw_nonzero(), process.started)),
        );
        let handles: Vec<_> = found.iter().filter_map(killed).collect();
        await_ends(&handles);
    }
}

fn look(wanted: &dyn Fn(&[u8]) -> bool) -> io::Result<Vec<Process>> {
    let carries = |process: &Process| {
        let path = format!("/proc/{}/environ", process.pid.as_raw_nonzero());
        process.pid != getpid() && fs::read(path).is_ok_and(|environment| wanted(&environment))
    };
    // A zombie has no environment any more, so it is never found here.
    Ok(processes::all()?.into_iter().filter(carries).collect())
}

fn killed(process: &Process) -> Option<OwnedFd> {
    let handle = process.handle()?;
    if let Err(error) = process.kill() {
        tracing::warn!(pid = process.pid.as_raw_nonzero(), %error, "cannot kill a left-over");
    }
    Some(handle)
}

/// Waits until all have ended, or a round is over.
fn await_ends(handles: &[OwnedFd]) {
    let until = Instant::now() + ROUND;
    for handle in handles {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut ended = [PollFd::new(handle, PollFlags::IN)];
            if poll(&mut ended, Some(&left)) != Err(Errno::INTR) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_only_from_its_own_variable() {
        assert_eq!(
            mark_in(b"A=1\0LLORCH_WORKER_MARK=x-r0\0B=2\0"),
            Some(&b"x-r0"[..])
        );
        assert_eq!(
            mark_in(b"LLORCH_WORKER_MARKER=x-r0\0A=LLORCH_WORKER_MARK=x\0"),
            None
        );
        assert_eq!(mark_in(b""), None);
    }

    // spec: OC-POOL-3105
    #[test]
    fn an_owner_knows_its_own_and_nobody_elses() {
        let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mine, other) = (
            Owner::of(mine.path()).unwrap(),
            Owner::of(other.path()).unwrap(),
        );
        let environment = format!("{VARIABLE}={}\0", mine.mark("haiku-0"));
        assert!(mine.owns(environment.as_bytes()));
        assert!(!other.owns(environment.as_bytes()));
    }

    // spec: OC-POOL-3105
    #[test]
    fn only_processes_with_the_mark_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::of(dir.path()).unwrap();
        let sleeper = |mark: String| {
            std::process::Command::new("sleep")
                .arg("60")
                .env(VARIABLE, mark)
                .spawn()
                .unwrap()
        };
        let (mut a, mut b) = (sleeper(owner.mark("a")), sleeper(owner.mark("b")));
        assert_eq!(
            remove_marked(&owner.mark("a"), Duration::from_secs(5)).unwrap(),
            1
        );
        assert!(!a.wait().unwrap().success());
        assert_eq!(b.try_wait().unwrap(), None);
        assert_eq!(remove_all(&owner, Duration::from_secs(5)).unwrap(), 1);
        assert!(!b.wait().unwrap().success());
    }
}
