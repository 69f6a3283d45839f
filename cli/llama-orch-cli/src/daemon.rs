//! The two daemons as processes: where they are, whether they run, starting and stopping them.
//!
//! # Invariants
//! - A process is signalled only while it holds its daemon's lock, or while it is our own child:
//!   numbers of processes are used again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contracts_config_schema::Config;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Orchestratord,
    PoolManagerd,
}

impl Name {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Orchestratord => "orchestratord",
            Self::PoolManagerd => "pool-managerd",
        }
    }

    /// The program: beside this one, else on `PATH`.
    pub(crate) fn program(self) -> Result<PathBuf, Failure> {
        let own = std::env::current_exe().unwrap_or_default();
        let beside = own.parent().map(|folder| folder.join(self.as_str()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join(self.as_str()));
        beside.into_iter().chain(on_path).find(|file| file.is_file()).ok_or_else(|| {
            Failure::failed(format!("the program {} is missing", self.as_str()))
                .hint("it belongs beside llama-orch, or on PATH")
                .hint("in a checkout: cargo build -p orchestratord -p pool-managerd -p llama-orch-cli")
        })
    }
}

/// What a running daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunInfo {
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    pub(crate) started_unix_ms: u64,
}

/// One daemon of this host.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    pub(crate) name: Name,
    data_dir: PathBuf,
}

impl Daemon {
    pub(crate) fn of(name: Name, config: &Config) -> Self {
        let data_dir = match name {
            Name::Orchestratord => config.orchestratord.data_dir.clone(),
            Name::PoolManagerd => config.pool_managerd.data_dir.clone(),
        };
        Self { name, data_dir }
    }

    fn run_path(&self, ending: &str) -> PathBuf {
        self.data_dir
            .join("run")
            .join(format!("{}.{ending}", self.name.as_str()))
    }

    /// What the run file says, whoever left it.
    pub(crate) fn announced(&self) -> Option<RunInfo> {
        serde_json::from_slice(&fs::read(self.run_path("json")).ok()?).ok()
    }

    /// Whether some process holds the lock. The lock is tried for a moment: not to be asked
    /// while a daemon of ours is starting.
    // spec: CLI-8004
    pub(crate) fn is_alive(&self) -> bool {
        let lock = File::open(self.run_path("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The run file of a daemon that lives.
    pub(crate) fn running(&self) -> Option<RunInfo> {
        self.announced().filter(|_| self.is_alive())
    }

    /// Where its log goes when it is started from here.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.data_dir
            .join("logs")
            .join(format!("{}.log", self.name.as_str()))
    }

    /// Opens the log for a new start.
    pub(crate) fn open_log(&self) -> Result<File, Failure> {
        let path = self.log_path();
        let folder = path.parent().expect("a log is in a folder");
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        let open = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
        };
        made.and_then(|()| open())
            .map_err(|why| Failure::failed(format!("cannot write {}: {why}", path.display())))
    }

    /// Sends SIGTERM, if it still lives.
    pub(crate) fn ask_to_stop(&self) {
        if let Some(info) = self.running() {
            terminate(info.pid);
        }
    }
}

/// Sends SIGTERM.
pub(crate) fn terminate(pid: u32) {
    signal(pid, Signal::TERM);
}

/// Sends what Ctrl-C sends.
pub(crate) fn interrupt(pid: u32) {
    signal(pid, Signal::INT);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// How to reach a listener on this host: one that listens everywhere is on loopback too.
pub(crate) fn url(mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}")
}

/// Reads what a growing file got since the last time.
pub(crate) struct Tail {
    path: PathBuf,
    position: u64,
}

impl Tail {
    /// From the present end on.
    pub(crate) fn from_now(path: &Path) -> Self {
        let position = path.metadata().map_or(0, |meta| meta.len());
        Self {
            path: path.into(),
            position,
        }
    }

    /// The new text. A file that cannot be read has none.
    pub(crate) fn news(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.position))?;
            file.read_to_end(&mut bytes)
        });
        self.position += read.unwrap_or(0) as u64;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn daemon(dir: &Path) -> Daemon {
        Daemon {
            name: Name::Orchestratord,
            data_dir: dir.into(),
        }
    }

    // spec: CLI-8004
    #[test]
    fn a_daemon_runs_while_its_lock_is_held_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = daemon(dir.path());
        assert_eq!(daemon.running(), None);
        fs::create_dir(dir.path().join("run")).unwrap();
        let info = RunInfo {
            pid: 4_000_000,
            address: "127.0.0.1:4711".parse().unwrap(),
            started_unix_ms: 1,
        };
        let text = serde_json::to_vec(&info).unwrap();
        fs::write(dir.path().join("run/orchestratord.json"), text).unwrap();
        assert!(!daemon.is_alive());
        let lock = File::create(dir.path().join("run/orchestratord.lock")).unwrap();
        assert_eq!(daemon.running(), None);
        lock.lock().unwrap();
        assert_eq!(daemon.running(), Some(info.clone()));
        drop(lock);
        assert_eq!((daemon.running(), daemon.announced()), (None, Some(info)));
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        assert_eq!(
            url("0.0.0.0:8080".parse().unwrap()),
            "http://127.0.0.1:8080"
        );
        assert_eq!(url("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(
            url("10.0.0.1:8080".parse().unwrap()),
            "http://10.0.0.1:8080"
        );
    }

    #[test]
    fn a_tail_gives_each_line_once() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = daemon(dir.path());
        let mut log = daemon.open_log().unwrap();
        log.write_all(b"old\n").unwrap();
        let mut tail = Tail::from_now(&daemon.log_path());
        assert_eq!(tail.news(), "");
        log.write_all(b"new\n").unwrap();
        assert_eq!((tail.news(), tail.news()), ("new\n".into(), String::new()));
    }
}
