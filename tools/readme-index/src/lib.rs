//! The workspace map in `README_LLM.md`, written from the manifests.
//!
//! # Invariants
//! - Only what stands between the two marks is changed.
//! - The map depends on the manifests alone; a second run changes nothing.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tools_spec_extract::Mode;
use tools_spec_extract::tree::Tree;

const README: &str = "README_LLM.md";
const BEGIN: &str = "<!-- workspace map -->\n";
const END: &str = "<!-- end of workspace map -->\n";

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file or folder that cannot be read or written.
    #[error("cannot read or write {path}")]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no place for the map.
    #[error("{README} lacks the lines `{}` and `{}`: add both, in this order", BEGIN.trim(), END.trim())]
    NoMarks,
    /// A package does not say what it is.
    #[error("{0} lacks `name` or `description`: say what the package is, in one sentence")]
    Undescribed(String),
    /// The committed map is another one.
    #[error("the workspace map in {README} is not up to date: run `cargo xtask regen`")]
    Drift,
}

/// Writes the map into the repository at `root`, or compares it.
///
/// # Errors
/// See [`IndexError`].
pub fn run(root: &Path, mode: Mode) -> Result<(), IndexError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| IndexError::Files { path, source }
    };
    let tree = Tree::read(root).map_err(failed(root))?;
    let present = tree.get(README).unwrap_or_default();
    let wanted = with_map(present, &map(&tree)?)?;
    match mode {
        _ if wanted == present => Ok(()),
        Mode::Check => Err(IndexError::Drift),
        Mode::Write => {
            let path = root.join(README);
            fs::write(&path, wanted).map_err(failed(&path))
        }
    }
}

/// The table of all packages, sorted by folder.
fn map(tree: &Tree) -> Result<String, IndexError> {
    let mut table = String::from("\n| folder | package | what it is |\n|---|---|---|\n");
    for folder in tree.crate_folders() {
        let path = format!("{folder}Cargo.toml");
        let manifest = tree.get(&path).unwrap_or_default();
        let Some((_, package)) = manifest.split_once("[package]\n") else {
            continue;
        };
        let (Some(name), Some(description)) =
            (field(package, "name"), field(package, "description"))
        else {
            return Err(IndexError::Undescribed(path));
        };
        let folder = folder.trim_end_matches('/');
        let _ = writeln!(table, "| [{folder}]({folder}) | `{name}` | {description} |");
    }
    table.push('\n');
    Ok(table)
}

fn field<'text>(package: &'text str, name: &str) -> Option<&'text str> {
    let mut lines = package.lines().take_while(|line| !line.starts_with('['));
    lines.find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(" = \"")?
            .strip_suffix('"')
    })
}

fn with_map(readme: &str, map: &str) -> Result<String, IndexError> {
    let (before, rest) = readme.split_once(BEGIN).ok_or(IndexError::NoMarks)?;
    let (_, after) = rest.split_once(END).ok_or(IndexError::NoMarks)?;
    Ok(format!("{before}{BEGIN}{map}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, IndexError, map, with_map};
    use tools_spec_extract::tree::Tree;

    #[test]
    fn the_map_has_every_package_with_its_sentence() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\n"),
            (
                "b/c/Cargo.toml",
                "[package]\nname = \"b-c\"\ndescription = \"Does C.\"\n\n[lib]\nname = \"x\"\n",
            ),
            (
                "a/Cargo.toml",
                "[package]\nname = \"a\"\ndescription = \"Does A.\"\n",
            ),
        ]);
        let expected = "\n| folder | package | what it is |\n|---|---|---|\n\
            | [a](a) | `a` | Does A. |\n| [b/c](b/c) | `b-c` | Does C. |\n\n";
        assert_eq!(map(&tree).unwrap(), expected);
    }

    #[test]
    fn a_package_without_a_sentence_is_refused() {
        let tree = Tree::of(&[(
            "a/Cargo.toml",
            "[package]\nname = \"a\"\n\n[lib]\ndescription = \"x\"\n",
        )]);
        assert!(matches!(map(&tree), Err(IndexError::Undescribed(path)) if path == "a/Cargo.toml"));
    }

    #[test]
    fn only_the_text_between_the_marks_changes_and_only_once() {
        let readme = format!("# R\n\n{BEGIN}old\n{END}\nmore\n");
        let once = with_map(&readme, "new\n").unwrap();
        assert_eq!(once, format!("# R\n\n{BEGIN}new\n{END}\nmore\n"));
        assert_eq!(with_map(&once, "new\n").unwrap(), once);
    }

    #[test]
    fn a_readme_without_both_marks_in_order_is_refused() {
        for readme in ["# R\n", &format!("{BEGIN}x\n"), &format!("{END}{BEGIN}")] {
            assert!(
                matches!(with_map(readme, ""), Err(IndexError::NoMarks)),
                "{readme}"
            );
        }
    }
}
