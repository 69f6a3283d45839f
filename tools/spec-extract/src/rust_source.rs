//! Rust files as lines, with code, comments and literals told apart and test code marked.
//!
//! # Invariants
//! - A comment inside a string is no comment, and a string has no code: only its quotes are kept.
//! - Test code is what is under `#[cfg(test)]`, inline or in files of its own, and what is in the
//!   `tests` folder of a crate.
//!
//! Not here: what the code means. This is a scanner, not a parser.

use std::collections::BTreeSet;

use crate::tree::Tree;

mod scanner;

/// One line of a Rust file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The line without comments and without the text of literals.
    pub code: String,
    /// The comment with its slashes, or nothing.
    pub comment: String,
    /// Whether the line is compiled for tests only.
    pub is_test: bool,
}

impl Line {
    /// How many columns the code stands in.
    #[must_use]
    pub fn indent(&self) -> usize {
        self.code.len() - self.code.trim_start().len()
    }
}

/// One Rust file.
#[derive(Clone, Debug)]
pub struct RustFile<'tree> {
    /// The path from the root.
    pub path: &'tree str,
    /// Its lines; the first has number 1.
    pub lines: Vec<Line>,
}

impl RustFile<'_> {
    /// The lines with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// All Rust files of the tree, sorted by path.
#[must_use]
pub fn rust_files(tree: &Tree) -> Vec<RustFile<'_>> {
    let rust = tree.iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut files: Vec<_> = rust
        .map(|(path, text)| RustFile {
            path,
            lines: scanner::lines(text),
        })
        .collect();
    let mut places: BTreeSet<String> = tree
        .crate_folders()
        .map(|folder| format!("{folder}tests/"))
        .collect();
    for file in &mut files {
        places.extend(mark_test_items(file));
    }
    for file in &mut files {
        if places.iter().any(|place| file.path.starts_with(place)) {
            file.lines.iter_mut().for_each(|line| line.is_test = true);
        }
    }
    files
}

/// Marks the items under `#[cfg(test)]` and answers where the files of such modules are.
fn mark_test_items(file: &mut RustFile<'_>) -> Vec<String> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < file.lines.len() {
        let code = file.lines[at].code.trim();
        if code.starts_with("#![cfg(test)]") {
            file.lines.iter_mut().for_each(|line| line.is_test = true);
            break;
        }
        if !code.starts_with("#[cfg(test)]") && !code.starts_with("#[cfg(all(test,") {
            at += 1;
            continue;
        }
        let item = item_below(&file.lines, at).unwrap_or(at);
        let end = end_of_item(&file.lines, item);
        if let Some(module) = module_elsewhere(&file.lines[item].code) {
            places.extend(files_of_module(file.path, module));
        }
        file.lines[at..=end]
            .iter_mut()
            .for_each(|line| line.is_test = true);
        at = end + 1;
    }
    places
}

/// The index of the first line of code behind `at` that is not part of an attribute.
#[must_use]
pub fn item_below(lines: &[Line], at: usize) -> Option<usize> {
    let mut depth = 0;
    for (index, line) in lines.iter().enumerate().skip(at) {
        let code = line.code.trim();
        if depth == 0 && !code.is_empty() && !code.starts_with("#[") {
            return Some(index);
        }
        depth += opened(code);
    }
    None
}

fn opened(code: &str) -> i32 {
    let count = |brackets: &[char]| code.matches(|c| brackets.contains(&c)).count() as i32;
    count(&['[', '(', '{']) - count(&[']', ')', '}'])
}

/// The index of the last line of the item that begins at `item`.
fn end_of_item(lines: &[Line], item: usize) -> usize {
    let is_field = lines[item].code.trim_end().ends_with(',');
    let mut depth = 0;
    for (index, line) in lines.iter().enumerate().skip(item) {
        let code = line.code.trim_end();
        depth += opened(code);
        if depth <= 0 && (is_field || code.ends_with(['}', ';'])) {
            return index;
        }
    }
    lines.len() - 1
}

fn module_elsewhere(code: &str) -> Option<&str> {
    let (_, after) = code.split_once("mod ")?;
    after.trim_end().strip_suffix(';')
}

/// The file of the module and the folder of its children, for both ways to place them.
fn files_of_module(parent: &str, module: &str) -> [String; 2] {
    let (folder, file) = parent.rsplit_once('/').unwrap_or(("", parent));
    let folder = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    [
        format!("{folder}/{module}.rs"),
        format!("{folder}/{module}/"),
    ]
}

#[cfg(test)]
mod tests;
