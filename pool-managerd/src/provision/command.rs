//! Running one command of a plan: its own process group, its lines as they come, a limit.
//!
//! # Invariants
//! - When [`run`] returns or is dropped, nothing that the command has started is left.
//! - The last lines are kept for the error, all of them are in the log.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::error::ProvisionError;
use super::plan::quoted;
use crate::marker;
use crate::processes::{self, Process};

/// How many lines an error shows.
const TAIL_LINES: usize = 30;

/// Time between the polite and the final signal. Whatever they could save is thrown away.
const GRACE: Duration = Duration::from_secs(1);

/// The file that gets everything the commands print, and its last lines.
pub(super) struct Log {
    path: PathBuf,
    file: std::fs::File,
    tail: VecDeque<String>,
}

impl Log {
    /// Begins an empty log.
    pub(super) fn create(path: &Path) -> Result<Self, ProvisionError> {
        let file = std::fs::File::create(path).map_err(ProvisionError::io("write", path))?;
        Ok(Self {
            path: path.into(),
            file,
            tail: VecDeque::new(),
        })
    }

    /// Adds a line. A log that cannot be written (a full disk) does not end the build; the
    /// command that meets the same disk does.
    pub(super) fn add(&mut self, line: &str) {
        let _ = writeln!(self.file, "{line}");
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    fn failed(&self, step: &str, status: String) -> ProvisionError {
        let tail = self
            .tail
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n");
        ProvisionError::StepFailed {
            step: step.into(),
            status,
            tail,
            log: self.path.clone(),
        }
    }
}

/// What a command runs with.
pub(super) struct Setting<'a> {
    /// The step it belongs to.
    pub(super) step: &'a str,
    /// Marks every process of the build.
    pub(super) mark: &'a str,
    /// `PATH`.
    pub(super) path: OsString,
    /// The working folder.
    pub(super) folder: &'a Path,
    /// How long it may take.
    pub(super) limit: Duration,
    /// Ends it early.
    pub(super) stop: &'a CancellationToken,
}

/// Runs the command to its end and gives each line to `on_line`.
///
/// # Errors
/// [`ProvisionError`], if it does not start, fails, takes too long or is stopped.
pub(super) async fn run(
    command: &[String],
    setting: &Setting<'_>,
    log: &mut Log,
    on_line: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), ProvisionError> {
    log.add(&format!("$ {}", quoted(command)));
    let started = start(command, setting);
    let (mut group, lines) = started.map_err(|why| log.failed(setting.step, why.to_string()))?;
    let ended = tokio::select! {
        biased;
        () = setting.stop.cancelled() => Ended::Stopped,
        () = tokio::time::sleep(setting.limit) => Ended::TooLong,
        () = follow(lines, log, on_line) => Ended::BySelf,
    };
    let status = group.end(&ended).await;
    match (ended, status) {
        (Ended::Stopped, _) => Err(ProvisionError::Stopped),
        (Ended::TooLong, _) => Err(ProvisionError::StepTimedOut {
            step: setting.step.into(),
            limit: setting.limit,
            log: log.path.clone(),
        }),
        (Ended::BySelf, Ok(status)) if status.success() => Ok(()),
        (Ended::BySelf, Ok(status)) => Err(log.failed(setting.step, status.to_string())),
        (Ended::BySelf, Err(why)) => Err(log.failed(setting.step, why.to_string())),
    }
}

enum Ended {
    BySelf,
    Stopped,
    TooLong,
}

fn start(command: &[String], setting: &Setting<'_>) -> std::io::Result<(Group, pipe::Receiver)> {
    // One pipe for both streams keeps their lines in order.
    let (reader, writer) = std::io::pipe()?;
    let (program, args) = command.split_first().expect("a command has a program");
    let mut builder = Command::new(program);
    builder
        .args(args)
        .current_dir(setting.folder)
        .env("PATH", &setting.path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        builder.env_remove(name);
    }
    builder.env(marker::VARIABLE, setting.mark);
    let child = builder.spawn()?;
    Ok((
        Group { child },
        pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?,
    ))
}

/// Our own settings may hold tokens; build tools need none of them.
fn is_ours(name: &OsString) -> bool {
    name.to_string_lossy().starts_with("LLORCH_")
}

/// Reads lines until every process that could write one is gone.
async fn follow(lines: pipe::Receiver, log: &mut Log, on_line: &(dyn Fn(&str) + Send + Sync)) {
    let mut lines = BufReader::new(lines);
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        log.add(&text);
        on_line(&text);
        line.clear();
    }
}

/// A process group by its leader, and what descends from it: ninja gives each of its own jobs a
/// group too. The leader is reaped last, so its number cannot have been taken over by others.
struct Group {
    child: Child,
}

impl Group {
    async fn end(&mut self, ended: &Ended) -> std::io::Result<ExitStatus> {
        if !matches!(ended, Ended::BySelf) {
            // Orphans do not show whose they were, so they are looked up while they have parents.
            let jobs = self.jobs();
            self.signal(Signal::TERM);
            let _ = tokio::time::timeout(GRACE, self.gone()).await;
            self.kill(jobs);
        }
        self.child.wait().await
    }

    fn jobs(&self) -> Vec<Process> {
        let all = processes::all().unwrap_or_default();
        self.leader()
            .map(|leader| processes::descendants(leader, &all))
            .unwrap_or_default()
    }

    fn kill(&self, earlier: Vec<Process>) {
        let jobs = earlier.into_iter().chain(self.jobs()).collect::<Vec<_>>();
        self.signal(Signal::KILL);
        for job in jobs {
            // They run as this user; one that has ended meanwhile is what is wanted.
            let _ = job.kill();
        }
    }

    /// Waits for the leader to end without reaping it, so that its number stays taken.
    async fn gone(&self) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let Some(leader) = self.leader() else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while matches!(waitid(WaitId::Pid(leader), options), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader() {
            let _ = kill_process_group(leader, signal);
        }
    }

    /// None once it has been reaped.
    fn leader(&self) -> Option<Pid> {
        self.child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.leader().is_some() {
            self.kill(Vec::new());
        }
    }
}
