//! Extraction as one step: read the tree, then write the files or compare them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::open::OPEN;
use crate::problem::Problem;
use crate::render::{COMPLIANCE, render};
use crate::survey::survey;
use crate::tree::Tree;

/// What to do with the rendered files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write those that differ.
    Write,
    /// Compare only.
    Check,
}

/// What an extraction has found.
#[derive(Debug)]
pub struct Outcome {
    /// Binding requirements.
    pub musts: usize,
    /// Those that stand in `open.yaml`.
    pub open: usize,
    /// What is wrong, sorted; empty when the gate is passed.
    pub problems: Vec<Problem>,
}

/// A file or folder that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {path}")]
pub struct RunError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Extracts from the repository at `root`. With problems nothing is written.
///
/// # Errors
/// When a file cannot be read or written.
// spec: ORCH-3534
pub fn run(root: &Path, mode: Mode) -> Result<Outcome, RunError> {
    let failed = |act, path: &Path| {
        let path = path.to_owned();
        move |source| RunError { act, path, source }
    };
    let tree = Tree::read(root).map_err(failed("read", root))?;
    let mut outcome = extract(&tree, mode);
    if mode == Mode::Write && outcome.found.problems.is_empty() {
        for (path, text) in &outcome.stale {
            let path = root.join(path);
            let folder = path.parent().unwrap_or(root);
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
            fs::write(&path, text).map_err(failed("write", &path))?;
        }
    }
    outcome.found.problems.sort();
    Ok(outcome.found)
}

struct Extracted {
    found: Outcome,
    /// The files that are not yet as they should be.
    stale: BTreeMap<String, String>,
}

fn extract(tree: &Tree, mode: Mode) -> Extracted {
    let mut problems = Vec::new();
    let survey = survey(tree, &mut problems);
    let mut stale = render(&survey);
    problems.extend(strangers(tree, &stale));
    stale.retain(|path, text| tree.get(path) != Some(text.as_str()));
    if mode == Mode::Check && problems.is_empty() {
        let drift = |path: &String| Problem::of(path, "is not up to date: run `cargo xtask regen`");
        problems.extend(stale.keys().map(drift));
    }
    let all = survey.specs.iter().flat_map(|spec| &spec.requirements);
    let musts = all
        .filter(|requirement| requirement.level.needs_test())
        .count();
    let found = Outcome {
        musts,
        open: survey.open.ids().count(),
        problems,
    };
    Extracted { found, stale }
}

/// Files in `requirements/` that nothing emits.
fn strangers(tree: &Tree, emitted: &BTreeMap<String, String>) -> Vec<Problem> {
    let is_strange = |path: &&str| {
        path.starts_with("requirements/") && *path != OPEN && !emitted.contains_key(*path)
    };
    let paths = tree.iter().map(|(path, _)| path).filter(is_strange);
    paths
        .map(|path| {
            Problem::of(
                path,
                format!("belongs to no spec: remove it; see {COMPLIANCE}"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Mode, extract};
    use crate::tree::Tree;

    const UMBRELLA: &str = "# U\n\n- [AB-0001] It MAY.\n\n## Traceability Map\n\n| IDs | file |\n|---|---|\n| AB-0xxx | `x` |\n";

    fn tree(more: &[(&str, &str)]) -> Tree {
        let mut files = vec![(".specs/00_llama-orch.md", UMBRELLA)];
        files.extend_from_slice(more);
        Tree::of(&files)
    }

    // spec: ORCH-3534
    #[test]
    fn a_second_run_finds_nothing_to_write_and_nothing_wrong() {
        let first = extract(&tree(&[]), Mode::Write).stale;
        assert_eq!(first.len(), 3);
        let written: Vec<_> = first
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let second = extract(&tree(&written), Mode::Check);
        assert!(second.stale.is_empty(), "{:?}", second.stale.keys());
        assert_eq!(second.found.problems, []);
    }

    // spec: ORCH-3534
    #[test]
    fn a_file_edited_by_hand_fails_the_check() {
        let first = extract(&tree(&[]), Mode::Write).stale;
        let edited: Vec<_> = first
            .iter()
            .map(|(path, text)| (path.as_str(), text.replace("MAY", "MUST")))
            .collect();
        let edited: Vec<_> = edited
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        let told = extract(&tree(&edited), Mode::Check).found.problems;
        assert!(
            told.iter()
                .any(|p| p.to_string()
                    == "COMPLIANCE.md: is not up to date: run `cargo xtask regen`"),
            "{told:?}"
        );
    }

    #[test]
    fn a_requirements_file_without_a_spec_is_named() {
        let told = extract(&tree(&[("requirements/old.yaml", "")]), Mode::Write)
            .found
            .problems;
        assert!(
            told[0]
                .to_string()
                .starts_with("requirements/old.yaml: belongs to no spec"),
            "{told:?}"
        );
    }
}
