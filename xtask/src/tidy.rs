//! `cargo xtask tidy`: the rules of the house that no compiler checks.
//!
//! Each rule is a function from the tree of files (or the graph of crates) to problems, and has a
//! test that plants a violation. Not here: the form of tags and open requirements, which
//! spec-extract checks, and what rustfmt and clippy check already.

use std::path::Path;

use anyhow::{Context as _, bail};
use tools_spec_extract::Problem;
use tools_spec_extract::rust_source::rust_files;
use tools_spec_extract::tree::Tree;

mod citations;
mod crates;
mod files;
mod imports;
mod layers;
mod wording;

/// Checks the repository at `root`; prints what is wrong to stderr, with the fix.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root).with_context(|| format!("cannot read {}", root.display()))?;
    let graph = layers::Graph::read(root)?;
    let mut problems = problems_of(&tree);
    problems.extend(layers::check(&graph));
    problems.sort();
    for warning in files::long_files(&rust_files(&tree), files::Length::Soft) {
        eprintln!("warning: {warning}");
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problems", problems.len());
    }
    Ok(())
}

fn problems_of(tree: &Tree) -> Vec<Problem> {
    let rust = rust_files(tree);
    let mut problems = crates::check(tree);
    problems.extend(files::check(&rust));
    problems.extend(files::long_files(&rust, files::Length::Hard));
    problems.extend(wording::check(&rust));
    problems.extend(imports::check(&rust));
    problems.extend(citations::check(tree, &rust));
    problems
}
