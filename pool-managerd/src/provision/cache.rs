//! One entry of the cache: `<key>/llama-server` beside `<key>/manifest.json`.
//!
//! # Invariants
//! - An entry appears by a rename of a whole folder.
//! - It counts only while its program is there in the size that the manifest says, and runs.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::error::ProvisionError;
use super::recipe::{Layout, Recipe, hex};
use super::{ProvisionedEngine, version};

const MANIFEST: &str = "manifest.json";

/// How often the lock of a busy key is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What an entry was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    source: String,
    flags: Vec<String>,
    compilers: Vec<String>,
    cpu: String,
    engine_version: String,
    binary_bytes: u64,
    binary_sha256: String,
}

fn manifest(layout: &Layout) -> Option<Manifest> {
    let text = fs::read(layout.entry.join(MANIFEST)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the entry is there, as far as can be told without running it.
pub(super) fn looks_whole(layout: &Layout) -> bool {
    let size = layout.binary().metadata().map(|meta| meta.len()).ok();
    size.is_some() && size == manifest(layout).map(|manifest| manifest.binary_bytes)
}

/// The entry, if it is whole and its program runs.
pub(super) async fn entry(layout: &Layout) -> Option<ProvisionedEngine> {
    if !looks_whole(layout) {
        return None;
    }
    let binary = layout.binary();
    let engine_version = version::of(&binary).await.ok()?;
    Some(ProvisionedEngine {
        binary,
        engine_version,
    })
}

/// Makes the built program the entry, in place of a broken one.
pub(super) fn keep(recipe: &Recipe, engine_version: &str) -> Result<(), ProvisionError> {
    let layout = &recipe.layout;
    let fresh = layout.partial.join("entry");
    let binary = fresh.join("llama-server");
    fs::create_dir_all(&fresh).map_err(ProvisionError::io("create", &fresh))?;
    fs::rename(layout.built(), &binary).map_err(ProvisionError::io("move", layout.built()))?;
    let sizes = binary
        .metadata()
        .map_err(ProvisionError::io("read", &binary))?;
    let manifest = Manifest {
        source: recipe.source.identity(),
        flags: recipe.flags.clone(),
        compilers: recipe.compilers.clone(),
        cpu: recipe.cpu.clone(),
        engine_version: engine_version.into(),
        binary_bytes: sizes.len(),
        binary_sha256: sha256(&binary)?,
    };
    let text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain JSON");
    let place = fresh.join(MANIFEST);
    fs::write(&place, text).map_err(ProvisionError::io("write", &place))?;
    if layout.entry.exists() {
        let broken = layout.partial.join("broken");
        fs::rename(&layout.entry, broken).map_err(ProvisionError::io("move", &layout.entry))?;
    }
    fs::rename(&fresh, &layout.entry).map_err(ProvisionError::io("create", &layout.entry))
}

/// The file's SHA-256 in hex.
pub(super) fn sha256(file: &Path) -> Result<String, ProvisionError> {
    let read = || -> io::Result<String> {
        let mut file = File::open(file)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(hex(&hash.finalize())),
                read => hash.update(&buffer[..read]),
            }
        }
    };
    read().map_err(ProvisionError::io("read", file))
}

/// The right to build a key; it ends when this is dropped, also by death of the process.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock; `waiting` is called once if somebody else has it.
    ///
    /// # Errors
    /// [`ProvisionError::Stopped`], or that the lock file cannot be made.
    pub(super) async fn take(
        path: &Path,
        stop: &CancellationToken,
        waiting: impl FnOnce(),
    ) -> Result<Self, ProvisionError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(ProvisionError::io("open", path))?;
        let mut waiting = Some(waiting);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(ProvisionError::io("lock", path)(error.into())),
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            // A blocking wait for the lock could not be stopped.
            if stop
                .run_until_cancelled(tokio::time::sleep(LOCK_POLL))
                .await
                .is_none()
            {
                return Err(ProvisionError::Stopped);
            }
        }
    }
}
