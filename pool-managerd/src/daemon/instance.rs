//! The data directory, the lock in it and the run file.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{DaemonError, failed};

const NAME: &str = "pool-managerd";

/// The one instance on a data directory. The lock goes with it.
#[derive(Debug)]
pub struct Instance {
    run_dir: PathBuf,
    _lock: File,
}

/// The file that says where this process listens. It is removed when this is dropped.
#[derive(Debug)]
pub struct RunFile(PathBuf);

#[derive(Serialize)]
struct RunInfo {
    pid: u32,
    address: SocketAddr,
    started_unix_ms: u64,
}

impl Instance {
    /// Makes the data directory where it is missing, and takes its lock.
    ///
    /// # Errors
    /// [`DaemonError::AlreadyRunning`], or what keeps the directory from being used.
    pub fn claim(data_dir: &Path) -> Result<Self, DaemonError> {
        let run_dir = data_dir.join("run");
        let mut make = DirBuilder::new();
        make.recursive(true)
            .mode(0o700)
            .create(&run_dir)
            .map_err(failed("create", &run_dir))?;
        let path = run_dir.join(format!("{NAME}.lock"));
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(false).mode(0o600);
        let lock = open.open(&path).map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                // What an earlier life announced is not true any more.
                let _ = fs::remove_file(run_dir.join(format!("{NAME}.json")));
                Ok(Self {
                    run_dir,
                    _lock: lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(DaemonError::AlreadyRunning {
                data_dir: data_dir.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Says where this process listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, address: SocketAddr) -> Result<RunFile, DaemonError> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let info = RunInfo {
            pid: std::process::id(),
            address,
            started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
        let path = self.run_dir.join(format!("{NAME}.json"));
        let text = serde_json::to_vec(&info).expect("numbers and an address always print");
        // A reader sees all of it or nothing.
        let mut file = tempfile::NamedTempFile::new_in(&self.run_dir)
            .map_err(failed("create a file in", &self.run_dir))?;
        file.write_all(&text)
            .map_err(failed("write", file.path()))?;
        file.persist(&path)
            .map_err(|error| failed("write", &path)(error.error))?;
        Ok(RunFile(path))
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // A file that is gone already is what was wanted.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("a/b");
        let first = Instance::claim(&data_dir).unwrap();
        let refusal = Instance::claim(&data_dir).unwrap_err().to_string();
        assert!(refusal.contains("another pool-managerd"), "{refusal}");
        drop(first);
        Instance::claim(&data_dir).unwrap();
    }

    #[test]
    fn the_run_file_tells_the_address_and_goes_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::claim(dir.path()).unwrap();
        let path = dir.path().join("run/pool-managerd.json");
        let announced = instance
            .announce("127.0.0.1:4711".parse().unwrap())
            .unwrap();
        let info: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(info["address"], "127.0.0.1:4711");
        assert_eq!(info["pid"], std::process::id());
        assert!(info["started_unix_ms"].as_u64().unwrap() > 1_500_000_000_000);
        drop(announced);
        assert!(!path.exists());
    }
}
