//! Being the one instance of a daemon on a data directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::NamedTempFile;

use crate::error::{DataDirError, failed};
use crate::name::{DaemonName, RunInfo, run_dir};

/// The one instance of a daemon on a data directory. The lock goes with it.
#[derive(Debug)]
pub struct Instance {
    daemon: DaemonName,
    data_dir: PathBuf,
    _lock: File,
}

/// The file that says where this process listens. It is removed when this is dropped.
#[derive(Debug)]
pub struct RunFile(PathBuf);

impl Instance {
    /// Makes the data directory where it is missing, and takes the daemon's lock in it.
    ///
    /// # Errors
    /// [`DataDirError::AlreadyRunning`], or what keeps the directory from being used.
    pub fn claim(daemon: DaemonName, data_dir: &Path) -> Result<Self, DataDirError> {
        let run_dir = run_dir(data_dir);
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o700).create(&run_dir);
        made.map_err(failed("create", &run_dir))?;
        let path = daemon.lock_path(data_dir);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(failed("open", &path))?;
        let data_dir = data_dir.to_owned();
        match lock.try_lock() {
            Ok(()) => {
                // What an earlier life announced is not true any more.
                let _ = fs::remove_file(daemon.run_path(&data_dir));
                Ok(Self {
                    daemon,
                    data_dir,
                    _lock: lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(DataDirError::AlreadyRunning { daemon, data_dir }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Says where this process listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, address: SocketAddr) -> Result<RunFile, DataDirError> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let info = RunInfo {
            pid: std::process::id(),
            address,
            started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
        let path = self.daemon.run_path(&self.data_dir);
        let text = serde_json::to_vec(&info).expect("numbers and an address always print");
        let mut file = beside(&path)?;
        file.write_all(&text).map_err(failed("write", &path))?;
        file.persist(&path)
            .map_err(|error| failed("create", &path)(error.error))?;
        Ok(RunFile(path))
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // A file that is gone already is what was wanted.
        let _ = fs::remove_file(&self.0);
    }
}

/// A temporary file in the folder of `path`, readable by its owner only.
pub(crate) fn beside(path: &Path) -> Result<NamedTempFile, DataDirError> {
    let folder = path.parent().unwrap_or(path);
    NamedTempFile::new_in(folder).map_err(failed("create a file in", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: DaemonName = DaemonName::Orchestratord;

    #[test]
    fn a_second_instance_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("a/b");
        let first = Instance::claim(DAEMON, &data_dir).unwrap();
        let refusal = Instance::claim(DAEMON, &data_dir).unwrap_err();
        assert!(refusal.is_usage());
        assert!(
            refusal.to_string().contains("another orchestratord"),
            "{refusal}"
        );
        Instance::claim(DaemonName::PoolManagerd, &data_dir).unwrap();
        drop(first);
        Instance::claim(DAEMON, &data_dir).unwrap();
    }

    // spec: CLI-8004
    #[test]
    fn others_see_a_daemon_from_its_claim_on_and_its_address_while_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        let seen = || (DAEMON.is_alive(dir.path()), DAEMON.announced(dir.path()));
        assert_eq!(seen(), (false, None));
        let instance = Instance::claim(DAEMON, dir.path()).unwrap();
        assert_eq!(seen(), (true, None));
        let announced = instance
            .announce("127.0.0.1:4711".parse().unwrap())
            .unwrap();
        let info = DAEMON.announced(dir.path()).unwrap();
        assert_eq!(info.address, "127.0.0.1:4711".parse().unwrap());
        assert_eq!(info.pid, std::process::id());
        assert!(info.started_unix_ms > 1_500_000_000_000);
        drop(announced);
        assert_eq!(seen(), (true, None));
        drop(instance);
        assert_eq!(seen(), (false, None));
    }

    #[test]
    fn what_a_killed_instance_announced_does_not_outlive_the_next_claim() {
        let dir = tempfile::tempdir().unwrap();
        let killed = Instance::claim(DAEMON, dir.path()).unwrap();
        std::mem::forget(killed.announce("127.0.0.1:4711".parse().unwrap()).unwrap());
        drop(killed);
        assert!(DAEMON.announced(dir.path()).is_some());
        let _next = Instance::claim(DAEMON, dir.path()).unwrap();
        assert_eq!(DAEMON.announced(dir.path()), None);
    }
}
