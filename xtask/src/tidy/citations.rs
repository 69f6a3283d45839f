//! Requirement ids in comments and documents exist.
//!
//! Tags are not looked at here: spec-extract checks them.

use std::collections::BTreeSet;

use tools_spec_extract::rust_source::RustFile;
use tools_spec_extract::tree::Tree;
use tools_spec_extract::{Problem, RequirementId, read_specs};

/// Names the ids that are withdrawn.
const CHANGELOG: &str = "CHANGELOG_SPEC.md";

pub(super) fn check(tree: &Tree, files: &[RustFile<'_>]) -> Vec<Problem> {
    let specs = read_specs(tree, &mut Vec::new());
    let known: BTreeSet<_> = specs
        .iter()
        .flat_map(|spec| &spec.requirements)
        .map(|r| r.id.clone())
        .collect();
    let mut problems = Vec::new();
    for file in files {
        let comments = file
            .numbered()
            .map(|(number, line)| (number, line.comment.as_str()));
        let prose = comments.filter(|(_, comment)| !comment.starts_with("// spec:"));
        add_unknown(file.path, prose, &known, &mut problems);
    }
    for (path, text) in tree
        .iter()
        .filter(|(path, _)| path.ends_with(".md") && *path != CHANGELOG)
    {
        add_unknown(path, (1..).zip(text.lines()), &known, &mut problems);
    }
    problems
}

fn add_unknown<'text>(
    path: &str,
    lines: impl Iterator<Item = (usize, &'text str)>,
    known: &BTreeSet<RequirementId>,
    problems: &mut Vec<Problem>,
) {
    let families: BTreeSet<_> = known.iter().map(RequirementId::family).collect();
    for (number, line) in lines {
        for id in words(line).filter_map(RequirementId::parse) {
            if families.contains(id.family()) && !known.contains(&id) {
                let what = format!("{id} is in no spec: correct it");
                problems.push(Problem::at(path, number, what));
            }
        }
    }
}

/// The runs of letters, digits and hyphens.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    line.split(move |c| !is_part(c))
        .map(|word| word.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::check;
    use tools_spec_extract::rust_source::rust_files;
    use tools_spec_extract::tree::Tree;

    #[test]
    fn an_unknown_id_in_a_comment_or_a_document_is_named() {
        let tree = Tree::of(&[
            (".specs/x.md", "- [AB-0001] It MUST.\n"),
            (
                "a/src/lib.rs",
                "//! Q1 holds [AB-0001], not AB-0009; SHA-256.\nconst A: &str = \"AB-0008\";\n",
            ),
            ("README.md", "See AB-0001 and\n`AB-0007`.\n"),
            ("CHANGELOG_SPEC.md", "AB-0006 is withdrawn.\n"),
        ]);
        let told: Vec<_> = check(&tree, &rust_files(&tree))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "a/src/lib.rs:1: AB-0009 is in no spec: correct it",
                "README.md:2: AB-0007 is in no spec: correct it",
            ]
        );
    }
}
