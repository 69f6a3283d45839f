//! Model files: where they are, that they are GGUF files, and their digests.
//!
//! # Invariants
//! - A digest belongs to the bytes that were read: a file that changed meanwhile is refused.
//! - A known digest is used again only while size, times, inode and device of the file are the
//!   same, so that a restart does not read gigabytes again.
//!
//! Not here: fetching models, and what is inside a GGUF header.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// The first bytes of every GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";
/// Digests that are kept. More models than this on one host only cost reading time.
const KNOWN_MAX: usize = 256;
/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// A model file that was read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Absolute path, links resolved.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
}

/// Why a model cannot be used. The text names the file and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The reference is of another kind.
    #[error("the model `{0}` is not a file: write `file:` and the path of a GGUF file")]
    Scheme(String),
    /// There is no such file.
    #[error("the model file {} does not exist: put it there, or mend `model` in the config", .0.display())]
    Missing(PathBuf),
    /// It is a directory or a device.
    #[error("the model {} is not a regular file: name the GGUF file itself", .0.display())]
    NotAFile(PathBuf),
    /// It cannot be read.
    #[error("the model file {} cannot be read: {source}; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("the model file {} is not a GGUF file: it does not begin with `GGUF`", .0.display())]
    NotGguf(PathBuf),
    /// It was written to while it was read.
    #[error("the model file {} changed while it was read: wait until it is complete", .0.display())]
    Changed(PathBuf),
    /// The agent stops.
    #[error("reading the model file was given up")]
    GivenUp,
}

/// Finds the file that `model_ref` names and looks at its first bytes.
///
/// # Errors
/// When there is no such file, or it is not a GGUF file.
pub fn locate(model_ref: &str, base_dir: &Path) -> Result<PathBuf, ModelError> {
    let named = model_ref
        .strip_prefix("file:")
        .ok_or_else(|| ModelError::Scheme(model_ref.into()))?;
    let path = base_dir.join(named);
    let unreadable = |path: &Path, source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ModelError::Missing(path.to_owned()),
        _ => ModelError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    let path = fs::canonicalize(&path).map_err(|error| unreadable(&path, error))?;
    let mut file = File::open(&path).map_err(|error| unreadable(&path, error))?;
    if !file.metadata().is_ok_and(|facts| facts.is_file()) {
        return Err(ModelError::NotAFile(path));
    }
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == *MAGIC => Ok(path),
        Ok(()) => Err(ModelError::NotGguf(path)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ModelError::NotGguf(path))
        }
        Err(error) => Err(unreadable(&path, error)),
    }
}

/// The names under which clients may ask for a model: those of the config, its file name without
/// the ending, and its path.
#[must_use]
pub fn aliases(model_ref: &str, configured: &[String], located: Option<&Path>) -> Vec<String> {
    let named = model_ref.strip_prefix("file:").unwrap_or(model_ref);
    let mut names = configured.to_vec();
    names.extend(
        Path::new(named)
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned()),
    );
    names.push(named.to_owned());
    names.extend(located.map(|path| path.to_string_lossy().into_owned()));
    names.extend(located.map(|path| format!("file:{}", path.display())));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| name != model_ref && seen.insert(name.clone()));
    names
}

/// What makes a file the same file as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    size: u64,
    inode: u64,
    device: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(facts: &Metadata) -> Self {
        Self {
            size: facts.size(),
            inode: facts.ino(),
            device: facts.dev(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    identity: Identity,
    digest: String,
}

/// Digests of model files, kept over restarts.
#[derive(Debug)]
pub struct Digests {
    file: PathBuf,
    /// Two workers of one pool want the same digest; one of them reads.
    reading: Mutex<()>,
}

impl Digests {
    /// Digests that are kept in `file`.
    #[must_use]
    pub fn kept_in(file: PathBuf) -> Self {
        Self {
            file,
            reading: Mutex::new(()),
        }
    }

    /// The model at `path`, with its digest. Blocks; reads the whole file when it is not known.
    ///
    /// # Errors
    /// When the file cannot be read, or `stop` says so.
    // spec: ORCH-3037
    pub fn read(&self, path: &Path, stop: &CancellationToken) -> Result<Model, ModelError> {
        let _one_reader = self.reading.lock().expect("a reader that fails returns");
        let facts = facts(path)?;
        let identity = Identity::of(&facts);
        let mut known = self.load();
        let key = path.to_string_lossy().into_owned();
        let digest = match known.get(&key) {
            Some(entry) if entry.identity == identity => entry.digest.clone(),
            _ => {
                let digest = digest_of(path, stop)?;
                if Identity::of(&self::facts(path)?) != identity {
                    return Err(ModelError::Changed(path.to_owned()));
                }
                known.insert(
                    key,
                    Known {
                        identity,
                        digest: digest.clone(),
                    },
                );
                self.store(known);
                digest
            }
        };
        Ok(Model {
            path: path.to_owned(),
            size: facts.size(),
            digest,
        })
    }

    /// An unreadable or damaged file costs time, never correctness.
    fn load(&self) -> BTreeMap<String, Known> {
        let read = fs::read(&self.file).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn store(&self, mut known: BTreeMap<String, Known>) {
        if known.len() > KNOWN_MAX {
            known.retain(|path, _| Path::new(path).exists());
        }
        while known.len() > KNOWN_MAX {
            known.pop_first();
        }
        if let Err(error) = self.write(&known) {
            tracing::warn!(file = %self.file.display(), %error, "digests cannot be kept");
        }
    }

    fn write(&self, known: &BTreeMap<String, Known>) -> io::Result<()> {
        let dir = self.file.parent().unwrap_or(Path::new("."));
        let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut temporary, known)?;
        temporary.persist(&self.file).map_err(|error| error.error)?;
        Ok(())
    }
}

fn facts(path: &Path) -> Result<Metadata, ModelError> {
    fs::metadata(path).map_err(|source| ModelError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn digest_of(path: &Path, stop: &CancellationToken) -> Result<String, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        if stop.is_cancelled() {
            return Err(ModelError::GivenUp);
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => hasher.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    let mut text = String::from("sha256:");
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(bytes: &[u8]) -> (tempfile::TempDir, Result<PathBuf, ModelError>) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("m.gguf"), bytes).unwrap();
        let found = locate("file:m.gguf", dir.path());
        (dir, found)
    }

    // spec: REF-1003, REF-1011
    #[test]
    fn only_an_existing_gguf_file_is_a_model() {
        let (dir, found) = located(b"GGUF and more");
        assert!(found.unwrap().is_absolute());
        assert!(matches!(
            locate("file:x.gguf", dir.path()),
            Err(ModelError::Missing(_))
        ));
        assert!(matches!(
            locate("file:.", dir.path()),
            Err(ModelError::NotAFile(_))
        ));
        assert!(matches!(
            locate("hf:a/b", dir.path()),
            Err(ModelError::Scheme(_))
        ));
        for other in [&b"GGU"[..], b"", b"PK\x03\x04"] {
            assert!(
                matches!(located(other).1, Err(ModelError::NotGguf(_))),
                "{other:?}"
            );
        }
    }

    // spec: ORCH-3037
    #[test]
    fn the_digest_is_that_of_the_bytes() {
        let (dir, path) = located(b"GGUF");
        let digests = Digests::kept_in(dir.path().join("digests.json"));
        let model = digests
            .read(&path.unwrap(), &CancellationToken::new())
            .unwrap();
        assert_eq!(model.size, 4);
        // printf GGUF | sha256sum
        let expected = "sha256:b83633aa785344791618f2fddf131b010ea04912a60430760b070bad293f65bd";
        assert_eq!(model.digest, expected);
    }

    #[test]
    fn a_known_file_is_not_read_again_and_a_changed_one_is() {
        let (dir, path) = located(b"GGUF one");
        let (path, stop) = (path.unwrap(), CancellationToken::new());
        let digests = Digests::kept_in(dir.path().join("digests.json"));
        let first = digests.read(&path, &stop).unwrap();
        // With the stop set, only a digest that is known already can be given.
        let stopped = CancellationToken::new();
        stopped.cancel();
        assert_eq!(digests.read(&path, &stopped).unwrap(), first);
        fs::write(&path, b"GGUF two").unwrap();
        assert!(matches!(
            digests.read(&path, &stopped),
            Err(ModelError::GivenUp)
        ));
        assert_ne!(digests.read(&path, &stop).unwrap().digest, first.digest);
    }

    #[test]
    fn a_damaged_digest_file_is_no_failure() {
        let (dir, path) = located(b"GGUF");
        let file = dir.path().join("digests.json");
        fs::write(&file, b"{ not json").unwrap();
        let read = Digests::kept_in(file).read(&path.unwrap(), &CancellationToken::new());
        assert!(read.is_ok());
    }

    #[test]
    fn aliases_hold_stem_path_and_configured_names_once() {
        let names = aliases(
            "file:models/tiny.gguf",
            &["haiku".to_owned(), "tiny".to_owned()],
            Some(Path::new("/m/tiny.gguf")),
        );
        let expected = [
            "haiku",
            "tiny",
            "models/tiny.gguf",
            "/m/tiny.gguf",
            "file:/m/tiny.gguf",
        ];
        assert_eq!(names, expected);
    }
}
