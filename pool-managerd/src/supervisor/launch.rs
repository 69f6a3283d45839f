//! The start of a worker's process: its directory, its port, its key and its command line.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::engines::{self, Launch};
use crate::gpu::placement::Placement;
use crate::model::Model;
use crate::provision::ProvisionedEngine;
use crate::supervisor::Endpoint;
use crate::supervisor::driver::{Running, Worker};
use crate::supervisor::process::{self, Guarded, Start};

impl Worker {
    fn scratch(&self) -> PathBuf {
        self.host.data_dir.join("workers").join(&self.replica)
    }

    /// Starts the process.
    pub(super) fn launch(
        &self,
        engine: &ProvisionedEngine,
        model: &Model,
        placement: Option<&Placement>,
    ) -> Result<(Running, Guarded), LaunchError> {
        let scratch = self.scratch();
        fresh_dir(&scratch).map_err(|source| LaunchError::Scratch {
            path: scratch.clone(),
            source,
        })?;
        let port = free_port().map_err(LaunchError::Port)?;
        let key = contracts_data_dir::secret::new().map_err(LaunchError::Key)?;
        let launch = Launch {
            program: &engine.binary,
            model: &model.path,
            pool: &self.pool.id,
            port,
            key: &key,
            ctx: self.pool.ctx,
            slots: self.pool.slots,
            threads: self.pool.threads,
            placement,
            scratch: &scratch,
        };
        let line = engines::command(self.pool.engine, &launch, std::env::vars_os())?;
        let url = format!("http://127.0.0.1:{port}");
        let adapter = engines::adapter(self.pool.engine, &url, &key)?;
        let (lifeline, guarded) = process::start(Start {
            line,
            mark: self.host.owner.mark(&self.replica),
            scratch: &scratch,
            replica: &self.replica,
            key: &key,
            logs: self.logs.clone(),
        })
        .map_err(LaunchError::Guard)?;
        let running = Running {
            lifeline: Some(lifeline),
            killed: CancellationToken::new(),
            guard: guarded.guard(),
            endpoint: Endpoint { url, key },
            adapter,
        };
        Ok((running, guarded))
    }
}

/// Why no process could be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error("the directory {} cannot be made: {source}", path.display())]
    Scratch { path: PathBuf, source: io::Error },
    #[error("no free port was found on 127.0.0.1: {0}")]
    Port(io::Error),
    #[error("no key can be made: {0}")]
    Key(io::Error),
    #[error("the guard cannot be started: {0}")]
    Guard(io::Error),
    #[error(transparent)]
    Engine(#[from] engines::EngineError),
}

/// An empty directory that only this user can read.
fn fresh_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// A port that is free now. Another process may take it before the engine does; the engine then
/// ends at once and the next try takes another.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_is_empty_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("workers/haiku-0");
        fresh_dir(&path).unwrap();
        fs::write(path.join("left-over"), "x").unwrap();
        fresh_dir(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
