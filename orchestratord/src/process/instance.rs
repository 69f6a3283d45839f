//! The data directory, the lock in it and the run file.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{ProcessError, failed};

const NAME: &str = "orchestratord";

/// The one instance on a data directory. The lock goes with it.
#[derive(Debug)]
pub struct Instance {
    data_dir: PathBuf,
    _lock: File,
}

/// The file that says where this process listens. It is removed when this is dropped.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
}

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
    /// [`ProcessError::AlreadyRunning`], or what keeps the directory from being used.
    pub fn claim(data_dir: &Path) -> Result<Self, ProcessError> {
        let run_dir = data_dir.join("run");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run_dir)
            .map_err(failed("create", &run_dir))?;
        let path = run_dir.join(format!("{NAME}.lock"));
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                data_dir: data_dir.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(ProcessError::AlreadyRunning {
                data_dir: data_dir.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Says where this process listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, address: SocketAddr) -> Result<RunFile, ProcessError> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let info = RunInfo {
            pid: std::process::id(),
            address,
            started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
        let path = self.data_dir.join("run").join(format!("{NAME}.json"));
        let text = serde_json::to_vec(&info).expect("numbers and an address always print");
        replace(&path, &text)?;
        Ok(RunFile { path })
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // A file that is gone already is what was wanted.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes the file beside its place and moves it there, so that a reader sees all of it or nothing.
fn replace(path: &Path, content: &[u8]) -> Result<(), ProcessError> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed("create", &beside))?;
    file.write_all(content).map_err(failed("write", &beside))?;
    fs::rename(&beside, path).map_err(failed("move a file to", path))
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
        assert!(refusal.contains("another orchestratord"), "{refusal}");
        drop(first);
        Instance::claim(&data_dir).unwrap();
    }

    #[test]
    fn the_run_file_tells_the_address_and_goes_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::claim(dir.path()).unwrap();
        let path = dir.path().join("run/orchestratord.json");
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
