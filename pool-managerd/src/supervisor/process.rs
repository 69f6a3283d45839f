//! A worker's process, as the agent holds it: the guard, its lifeline and its output.
//!
//! # Invariants
//! - The end of [`Guarded::gone`] means that nothing of this worker lives any more: not the engine,
//!   not what it started, not the guard, whatever killed which of them.
//! - Dropping the lifeline removes the worker, so no path out of the agent leaves one behind.
//!
//! Not here: why a worker is started or stopped.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engines::CommandLine;
use crate::guard;
use crate::logs::{self, LogRing};
use crate::marker;
use crate::processes;

/// The longest a guard may take to remove its worker before it is killed itself.
const GUARD_GRACE: Duration = Duration::from_secs(5);
/// The longest wait for marked processes before it is said aloud.
const REMOVAL: Duration = Duration::from_secs(10);
/// The longest wait for the rest of the output after the last process is gone.
const OUTPUT: Duration = Duration::from_secs(2);

/// The end of the pipe that keeps a worker alive.
#[derive(Debug)]
pub struct Lifeline(ChildStdin);

impl Lifeline {
    /// Asks the engine to end.
    pub async fn terminate(&mut self) {
        // A guard that is gone already has done more than what is asked here.
        let _ = self.0.write_all(&[guard::TERMINATE]).await;
    }
}

/// What a worker's process starts with.
#[derive(Debug)]
pub struct Start<'a> {
    /// The engine.
    pub line: CommandLine,
    /// The mark in its environment.
    pub mark: String,
    /// Its working directory.
    pub scratch: &'a Path,
    /// The replica, for log lines.
    pub replica: &'a str,
    /// Its key, kept out of the log.
    pub key: &'a str,
    /// Where its output goes.
    pub logs: LogRing,
}

/// A running worker under its guard.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    mark: String,
    output: JoinSet<()>,
}

/// Starts a worker under a guard of its own.
///
/// # Errors
/// When the guard cannot be started; nothing is left behind then.
// spec: OC-POOL-3100
pub fn start(start: Start<'_>) -> io::Result<(Lifeline, Guarded)> {
    // The running program itself, also when its file was replaced meanwhile.
    let mut child = Command::new("/proc/self/exe")
        .arg0("pool-managerd")
        .args(["guard", "--"])
        .arg(&start.line.program)
        .args(&start.line.args)
        .env_clear()
        .envs(start.line.env)
        .env(marker::VARIABLE, &start.mark)
        .current_dir(start.scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let missing = || io::Error::other("the guard has no pipes");
    let lifeline = Lifeline(child.stdin.take().ok_or_else(missing)?);
    let mut output = JoinSet::new();
    let keep = |ring: &LogRing| (ring.clone(), start.replica.to_owned(), start.key.to_owned());
    let (ring, replica, key) = keep(&start.logs);
    output.spawn(logs::keep(
        child.stdout.take().ok_or_else(missing)?,
        ring,
        replica,
        key,
    ));
    let (ring, replica, key) = keep(&start.logs);
    output.spawn(logs::keep(
        child.stderr.take().ok_or_else(missing)?,
        ring,
        replica,
        key,
    ));
    Ok((
        lifeline,
        Guarded {
            child,
            mark: start.mark,
            output,
        },
    ))
}

impl Guarded {
    /// The guard's process id.
    #[must_use]
    pub fn guard(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// Waits until nothing of the worker lives any more, and tells how it ended. `killed` says
    /// that the lifeline is cut, from when on the guard has [`GUARD_GRACE`].
    // spec: OC-POOL-3102, OC-POOL-3105, OC-POOL-3107
    pub async fn gone(mut self, killed: CancellationToken) -> String {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = overdue(&killed) => {
                tracing::warn!(mark = self.mark, "the guard does not end and is killed");
                // The engine has asked for a signal on the guard's death; the mark finds the rest.
                let _ = self.child.start_kill();
                self.child.wait().await
            }
        };
        remove_rest(&self.mark).await;
        // Whoever held the pipes is gone, so this ends at once; the limit is for the unforeseen.
        let _ = timeout(OUTPUT, async {
            while self.output.join_next().await.is_some() {}
        })
        .await;
        status.map_or_else(|error| format!("the guard was lost: {error}"), describe)
    }
}

async fn overdue(killed: &CancellationToken) {
    killed.cancelled().await;
    tokio::time::sleep(GUARD_GRACE).await;
}

/// A process that does not end keeps memory and ports, so the worker is not gone before it is.
async fn remove_rest(mark: &str) {
    loop {
        let mark = mark.to_owned();
        let removal: JoinHandle<_> = spawn_blocking(move || marker::remove_marked(&mark, REMOVAL));
        match removal.await {
            Ok(Ok(0)) => return,
            Ok(Ok(count)) => {
                tracing::warn!(
                    count,
                    "processes that had outlived their guard were removed"
                );
                return;
            }
            Ok(Err(error)) => tracing::error!(%error, "a worker cannot be removed"),
            Err(_) => return,
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code @ 129..), _) => format!("the engine was ended by signal {}", code - 128),
        (Some(code), _) => format!("the engine ended by itself with code {code}"),
        (None, Some(signal)) => {
            format!("the guard was ended by signal {signal}, and the engine with it")
        }
        (None, None) => "the engine ended".to_owned(),
    }
}

/// CPU time of everything below a guard, in clock ticks: whether a silent engine works.
#[must_use]
pub fn cpu_ticks(guard: Pid) -> u64 {
    let all = processes::all().unwrap_or_default();
    processes::descendants(guard, &all)
        .iter()
        .map(|process| process.cpu_ticks)
        .sum()
}

/// The ids of everything below a guard, as NVML names them.
#[must_use]
pub fn pids(guard: Pid) -> Vec<u32> {
    let all = processes::all().unwrap_or_default();
    let below = processes::descendants(guard, &all);
    below
        .iter()
        .filter_map(|process| process.pid.as_raw_nonzero().get().try_into().ok())
        .collect()
}
