//! The tags `// spec: ID[, ID]` above tests and above the code that enforces a requirement.
//!
//! A tag names the item below it, or, inside a body, the item around it. It is a test's tag when
//! the item is a test or is compiled for tests only.

use crate::id::RequirementId;
use crate::problem::Problem;
use crate::rust_source::{Line, RustFile, item_below};

/// Where something is tagged. Without line numbers, since those move with every edit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The file.
    pub(crate) path: String,
    /// The item in the file; empty when the file has none there.
    pub(crate) item: String,
}

/// One id of one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) id: RequirementId,
    pub(crate) place: Place,
    pub(crate) line: usize,
    pub(crate) is_test: bool,
}

const FORM: &str = "the only form is a line `// spec: ID[, ID]` of its own, above the item";

/// All tags of one file.
pub(crate) fn tags_of(file: &RustFile<'_>, problems: &mut Vec<Problem>) -> Vec<Tag> {
    let mut tags = Vec::new();
    for (number, line) in file.numbered() {
        let ids = match ids_of(line) {
            None => continue,
            Some(Ok(ids)) => ids,
            Some(Err(what)) => {
                problems.push(Problem::at(file.path, number, format!("{what}: {FORM}")));
                continue;
            }
        };
        let place = Place {
            path: file.path.to_owned(),
            item: item_name(&file.lines, number - 1),
        };
        let is_test = line.is_test || has_test_attribute(&file.lines, number - 1);
        tags.extend(ids.into_iter().map(|id| Tag {
            id,
            place: place.clone(),
            line: number,
            is_test,
        }));
    }
    tags
}

/// The ids of a line that is a tag or tries to be one.
// spec: ORCH-3530
fn ids_of(line: &Line) -> Option<Result<Vec<RequirementId>, String>> {
    let words = line.comment.trim_start_matches(['/', '!', '*']).trim();
    let is_meant = words
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("spec:"));
    if !is_meant {
        return None;
    }
    let Some(ids) = line.comment.strip_prefix("// spec: ") else {
        return Some(Err(format!("malformed tag `{}`", line.comment)));
    };
    if !line.code.trim().is_empty() {
        return Some(Err("a tag behind code".to_owned()));
    }
    let parsed = ids
        .split(", ")
        .map(|id| RequirementId::parse(id).ok_or_else(|| format!("malformed id `{id}` in a tag")));
    Some(parsed.collect())
}

fn has_test_attribute(lines: &[Line], tag: usize) -> bool {
    let Some(item) = item_below(lines, tag) else {
        return false;
    };
    let below = &lines[tag..item];
    let is_attribute = |line: &&Line| {
        line.code.trim_start().starts_with("#[")
            || line.code.trim().is_empty() && !line.comment.is_empty()
    };
    let above = lines[..tag].iter().rev().take_while(is_attribute);
    below.iter().chain(above).any(|line| {
        let code = line.code.trim();
        code == "#[test]" || code.starts_with("#[") && code.contains("::test")
    })
}

/// The name of the item below the tag, else of the nearest item around it.
fn item_name(lines: &[Line], tag: usize) -> String {
    let Some(below) = item_below(lines, tag) else {
        return String::new();
    };
    if let Some(name) = name_in(&lines[below].code) {
        return name;
    }
    let mut indent = lines[below].indent();
    for line in lines[..tag]
        .iter()
        .rev()
        .filter(|line| !line.code.trim().is_empty())
    {
        if line.indent() >= indent {
            continue;
        }
        if let Some(name) = name_in(&line.code) {
            return name;
        }
        indent = line.indent();
    }
    String::new()
}

/// The name of the item that begins on a line.
fn name_in(code: &str) -> Option<String> {
    let mut rest = code.trim();
    if rest.starts_with("pub") {
        rest = rest[3..].trim_start();
        if rest.starts_with('(') {
            rest = rest.split_once(')')?.1.trim_start();
        }
    }
    if let Some(header) = rest.strip_prefix("impl") {
        let header = header.trim_end_matches('{').trim();
        return (!header.is_empty()).then(|| format!("impl {}", without_generics(header)));
    }
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "async" | "unsafe" | "extern" | "\"\"" | "default" => {}
            "const" if rest.contains(" fn ") => {}
            "fn" | "struct" | "enum" | "trait" | "mod" | "const" | "static" | "type"
            | "macro_rules!" => {
                return words.next().and_then(identifier);
            }
            _ => return None,
        }
    }
    None
}

fn identifier(word: &str) -> Option<String> {
    let end = word
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(word.len());
    (end > 0).then(|| word[..end].to_owned())
}

/// `<T> A<T> for B` as `A<T> for B`.
fn without_generics(header: &str) -> &str {
    if header.starts_with('<') {
        header.split_once("> ").map_or(header, |(_, rest)| rest)
    } else {
        header
    }
}

#[cfg(test)]
mod tests;
