//! The two daemons as processes: where they are, whether they run, starting and stopping them.
//!
//! # Invariants
//! - A process is signalled only while it holds its daemon's lock, or while it is our own child:
//!   numbers of processes are used again.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contracts_config_schema::Config;
pub(crate) use contracts_data_dir::{DaemonName, RunInfo};
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

/// The program of a daemon: beside this one, else on `PATH`.
pub(crate) fn program(name: DaemonName) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().map(|folder| folder.join(name.as_str()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name.as_str()));
    beside
        .into_iter()
        .chain(on_path)
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Failure::failed(format!("the program {name} is missing"))
            .hint("it belongs beside llama-orch, or on PATH")
            .hint("in a checkout: cargo build -p orchestratord -p pool-managerd -p llama-orch-cli")
        })
}

/// One daemon of this host.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    pub(crate) name: DaemonName,
    data_dir: PathBuf,
}

impl Daemon {
    pub(crate) fn of(name: DaemonName, config: &Config) -> Self {
        let data_dir = match name {
            DaemonName::Orchestratord => config.orchestratord.data_dir.clone(),
            DaemonName::PoolManagerd => config.pool_managerd.data_dir.clone(),
        };
        Self { name, data_dir }
    }

    /// What the run file says, whoever left it.
    pub(crate) fn announced(&self) -> Option<RunInfo> {
        self.name.announced(&self.data_dir)
    }

    /// Whether some process holds the lock.
    pub(crate) fn is_alive(&self) -> bool {
        self.name.is_alive(&self.data_dir)
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
            name: DaemonName::Orchestratord,
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
