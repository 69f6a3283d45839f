//! The repository as text: every file that the checks read, by its path from the root.
//!
//! Build output and hidden folders are left out, but for `.specs`, `.docs` and `.ci`. A tree can
//! also be made by hand, so that each check is tested on a planted violation.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Endings of the files that are read.
const TEXT_ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".yaml"];
/// Hidden folders that are part of the source.
const HIDDEN_SOURCES: &[&str] = &[".specs", ".docs", ".ci"];

/// Texts by path. Paths are relative to the root and use `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads all text files below `root`.
    ///
    /// # Errors
    /// When a folder or a file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    /// A tree of the given paths and texts.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self {
            files: files.iter().map(own).collect(),
        }
    }

    /// All files, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of one file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The folders that have a manifest, each with a `/` at its end; the root is empty.
    pub fn crate_folders(&self) -> impl Iterator<Item = &str> {
        self.files
            .keys()
            .filter_map(|path| path.strip_suffix("Cargo.toml"))
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            let path = format!("{prefix}{name}");
            if kind.is_dir() && is_source_folder(&name) {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() && TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                self.files.insert(path, fs::read_to_string(entry.path())?);
            }
        }
        Ok(())
    }
}

fn is_source_folder(name: &str) -> bool {
    if name.starts_with('.') {
        HIDDEN_SOURCES.contains(&name)
    } else {
        name != "target"
    }
}
