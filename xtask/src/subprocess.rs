//! Running a program in the foreground, to its end.
//!
//! # Invariants
//! - A wish to stop reaches the program and what it runs exactly once, whether it came from the
//!   terminal or to this process alone; this waits until they have cleaned up and ended.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};

/// Somebody wanted to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Ctrl-C and SIGTERM. While this lives they end nothing by themselves.
pub(crate) struct Interrupts {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Interrupts {
    pub(crate) fn take() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A program that is about to run.
pub(crate) struct Subprocess {
    name: String,
    command: Command,
}

impl Subprocess {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        let name = Path::new(&program).file_name().unwrap_or(&program);
        let name = name.to_string_lossy().into_owned();
        let mut command = Command::new(&program);
        // What it prints is for people; standard output belongs to this command.
        command
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            // The terminal's Ctrl-C goes to this process alone, which passes it on.
            .process_group(0)
            .kill_on_drop(true);
        Self { name, command }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it; anything but success is an error.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        self.start()?.finish().await
    }

    fn start(mut self) -> anyhow::Result<Running> {
        // Before the program, so that nobody can want to stop in between.
        let interrupts = Interrupts::take()?;
        let child = self.command.spawn();
        let child = child.with_context(|| format!("cannot run {}", self.name))?;
        Ok(Running {
            name: self.name,
            child,
            interrupts,
        })
    }

    /// Runs it and gives each line of its standard output to `on_line`.
    pub(crate) async fn run_with(mut self, mut on_line: impl FnMut(&str)) -> anyhow::Result<()> {
        self.command.stdout(Stdio::piped());
        let mut running = self.start()?;
        let output = running
            .child
            .stdout
            .take()
            .context("standard output is a pipe")?;
        let read = async {
            let mut lines = BufReader::new(output);
            let mut line = Vec::new();
            while lines
                .read_until(b'\n', &mut line)
                .await
                .is_ok_and(|read| read > 0)
            {
                on_line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
                line.clear();
            }
        };
        let ((), ended) = tokio::join!(read, running.finish());
        ended
    }

    /// Runs it and gives its standard output.
    pub(crate) async fn output(self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.run_with(|line| {
            text.push_str(line);
            text.push('\n');
        })
        .await?;
        Ok(text)
    }
}

/// A program that runs.
struct Running {
    name: String,
    child: Child,
    interrupts: Interrupts,
}

impl Running {
    async fn finish(mut self) -> anyhow::Result<()> {
        let name = self.name;
        let mut interrupted = false;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                () = self.interrupts.next() => {
                    interrupted = true;
                    if let Some(group) = pid_of(self.child.id()) {
                        // It may have ended by itself meanwhile.
                        let _ = kill_process_group(group, Signal::INT);
                    }
                }
            }
        };
        let status = status.with_context(|| format!("cannot run {name}"))?;
        if interrupted {
            return Err(Interrupted.into());
        }
        anyhow::ensure!(status.success(), "{name} failed ({status})");
        Ok(())
    }
}

/// Sends SIGTERM to a child that has not been reaped.
pub(crate) fn terminate(pid: Option<u32>) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn pid_of(pid: Option<u32>) -> Option<Pid> {
    pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because signals come to the whole process: the parts would meet each other's.
    #[tokio::test]
    async fn output_failure_and_a_wish_to_stop_are_told() {
        let shell = |script: &str| Subprocess::new("/bin/sh").args(["-c", script]);
        assert_eq!(shell("echo a; echo b").output().await.unwrap(), "a\nb\n");
        let error = shell("exit 3").run().await.unwrap_err().to_string();
        assert_eq!(error, "sh failed (exit status: 3)");
        // The shell sends Ctrl-C to this process; its child would run for an hour.
        let run = shell("kill -INT $PPID; sleep 3600").run();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), run).await;
        let error = ended.expect("it ends at once").unwrap_err();
        assert!(error.is::<Interrupted>(), "{error}");
    }
}
