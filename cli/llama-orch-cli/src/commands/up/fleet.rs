//! The daemons that this command has started, or found running.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use std::os::unix::process::CommandExt;

use contracts_config_schema::{Config, Loaded};
use tokio::time::{Instant, sleep};

use crate::daemon::{Daemon, DaemonName, RunInfo, Tail, program, terminate};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::Output;

/// How long a daemon may take from its start to its run file: binding and reading its store.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(50);

/// How often the logs are looked at.
const LOG_POLL: Duration = Duration::from_millis(200);

/// How much of a log a failure shows.
const LOG_SHOWN_BYTES: u64 = 2000;

/// Where daemons are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// With this command, and they end with it.
    Here,
    /// In sessions of their own.
    OwnSession,
}

/// Both daemons, in the order of their start.
pub(super) struct Fleet {
    config: Config,
    path: PathBuf,
    home: Home,
    started: Vec<Started>,
}

struct Started {
    daemon: Daemon,
    child: Child,
    tail: Tail,
}

impl Fleet {
    pub(super) fn new(loaded: &Loaded, path: &Path, home: Home) -> Self {
        Self {
            config: loaded.config.clone(),
            path: path.into(),
            home,
            started: Vec::new(),
        }
    }

    /// Starts the daemon unless it runs already, and waits until it says where it listens.
    pub(super) async fn start(
        &mut self,
        name: DaemonName,
        more: &[String],
    ) -> Result<RunInfo, Failure> {
        let daemon = Daemon::of(name, &self.config);
        if let Some(info) = daemon.running() {
            return Ok(info);
        }
        let log = daemon.open_log()?;
        let tail = Tail::from_now(&daemon.log_path());
        let mut command = self.command(name)?;
        let child = command.arg("--config").arg(&self.path).args(more);
        let child = child
            .stdin(Stdio::null())
            .stdout(clone(&log)?)
            .stderr(log)
            .spawn();
        let child = child
            .map_err(|why| Failure::failed(format!("cannot start {}: {why}", name.as_str())))?;
        let pid = child.id();
        self.started.push(Started {
            daemon: daemon.clone(),
            child,
            tail,
        });
        let end = Instant::now() + ANNOUNCE_LIMIT;
        loop {
            // The lock is not asked here: trying it could get in the way of the daemon.
            if let Some(info) = daemon.announced().filter(|info| info.pid == pid) {
                return Ok(info);
            }
            self.check()?;
            if Instant::now() > end {
                return Err(failure(&daemon, "does not come up"));
            }
            sleep(POLL).await;
        }
    }

    fn command(&self, name: DaemonName) -> Result<Command, Failure> {
        let program = program(name)?;
        if self.home == Home::Here {
            let mut command = Command::new(program);
            // Ctrl-C is for this command, which then stops the daemons in their order.
            command.process_group(0);
            // A person reads along, although the log is a file.
            if std::env::var_os("LLORCH_LOG_FORMAT").is_none() {
                command.env("LLORCH_LOG_FORMAT", "pretty");
            }
            return Ok(command);
        }
        let own = std::env::current_exe()
            .map_err(|why| Failure::failed(format!("cannot find this program: {why}")))?;
        let mut command = Command::new(own);
        command.arg("detached").arg("--").arg(program);
        Ok(command)
    }

    /// Fails if one of the started daemons has ended.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for started in &mut self.started {
            if let Ok(Some(status)) = started.child.try_wait() {
                return Err(failure(&started.daemon, &format!("has ended ({status})")));
            }
        }
        Ok(())
    }

    /// Shows the logs until somebody wants to stop, or a daemon ends by itself.
    pub(super) async fn watch(&mut self, interrupts: &mut Interrupts) -> Result<(), Failure> {
        loop {
            for started in &mut self.started {
                // A terminal that is gone shows nothing; the signal for that comes as well.
                let _ = std::io::stderr().write_all(started.tail.news().as_bytes());
            }
            self.check()?;
            tokio::select! {
                () = interrupts.next() => return Ok(()),
                () = sleep(LOG_POLL) => {}
            }
        }
    }

    /// Stops what was started: first orchestratord, which still needs the workers while its
    /// streams drain. A further wish to stop is passed on, and makes the daemon end at once.
    pub(super) async fn stop(
        &mut self,
        interrupts: &mut Interrupts,
        output: &Output,
    ) -> Result<(), Failure> {
        for mut started in self.started.drain(..) {
            let name = started.daemon.name.as_str();
            let mut waiting = output.waiting();
            waiting.show(&format!("{name} is stopping"));
            let pid = started.child.id();
            let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
            if !ended(&mut started.child) {
                terminate(pid);
            }
            while !ended(&mut started.child) {
                tokio::select! {
                    () = interrupts.next() => terminate(pid),
                    () = sleep(POLL) => {}
                }
            }
            drop(waiting);
            output.say(&format!("{name} has stopped"));
        }
        Ok(())
    }
}

fn clone(log: &File) -> Result<File, Failure> {
    log.try_clone()
        .map_err(|why| Failure::failed(format!("cannot open a log twice: {why}")))
}

/// A failure with the end of the daemon's log.
pub(super) fn failure(daemon: &Daemon, what: &str) -> Failure {
    let path = daemon.log_path();
    let failure = Failure::failed(format!("{} {what}", daemon.name.as_str()));
    let end = end_of(&path).unwrap_or_default();
    let failure = end
        .lines()
        .fold(failure, |failure, line| failure.hint(format!("| {line}")));
    failure.hint(format!("its log is {}", path.display()))
}

/// The last whole lines of a file.
fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(LOG_SHOWN_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let whole = text
        .split_once('\n')
        .filter(|_| skipped > 0)
        .map(|(_, rest)| rest.to_owned());
    Ok(whole.unwrap_or(text))
}
