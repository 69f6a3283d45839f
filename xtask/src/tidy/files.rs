//! What every Rust file has: a module doc, a place of its own, and a bounded length.

use tools_spec_extract::Problem;
use tools_spec_extract::rust_source::RustFile;

/// Beyond this a file has more than one subject, most likely.
const SOFT_LINES_MAX: usize = 400;
/// Beyond this nobody reads a file to its end.
const HARD_LINES_MAX: usize = 800;

/// Which limit is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Worth a warning.
    Soft,
    /// A failure.
    Hard,
}

pub(super) fn check(files: &[RustFile<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        if !file
            .lines
            .first()
            .is_some_and(|line| line.comment.starts_with("//! "))
        {
            let what = "does not open with `//!`: say its purpose and its invariants";
            problems.push(Problem::of(file.path, what));
        }
        if file.path.ends_with("/mod.rs") {
            let what = "is a `mod.rs`: name it after the module, beside its folder";
            problems.push(Problem::of(file.path, what));
        }
    }
    problems
}

/// Files with more lines than the limit, tests not counted.
pub(super) fn long_files(files: &[RustFile<'_>], length: Length) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        let lines = file.lines.iter().filter(|line| !line.is_test).count();
        let is_found = match length {
            Length::Soft => lines > SOFT_LINES_MAX && lines <= HARD_LINES_MAX,
            Length::Hard => lines > HARD_LINES_MAX,
        };
        if is_found {
            let what = format!(
                "has {lines} lines without tests, {SOFT_LINES_MAX} are meant and {HARD_LINES_MAX} \
                 allowed: split it by subject"
            );
            problems.push(Problem::of(file.path, what));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{Length, check, long_files};
    use tools_spec_extract::rust_source::rust_files;
    use tools_spec_extract::tree::Tree;

    #[test]
    fn a_file_without_a_module_doc_is_named() {
        for text in ["", "use a;\n", "// Words.\n", "\n//! Late.\n", "//!\n"] {
            let tree = Tree::of(&[("a/src/lib.rs", text), ("a/src/b.rs", "//! Fine.\n")]);
            let told = check(&rust_files(&tree));
            assert_eq!(told.len(), 1, "{text}");
            assert!(
                told[0]
                    .to_string()
                    .starts_with("a/src/lib.rs: does not open with `//!`")
            );
        }
    }

    #[test]
    fn a_mod_rs_is_named() {
        let tree = Tree::of(&[("a/src/b/mod.rs", "//! B.\n")]);
        assert!(
            check(&rust_files(&tree))[0]
                .what
                .contains("name it after the module")
        );
    }

    #[test]
    fn length_counts_without_tests_and_has_two_limits() {
        let long = |lines: usize| format!("//! A.\n{}", "fn a() {}\n".repeat(lines - 1));
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "    fn a() {}\n".repeat(900)
        );
        let texts = [long(400) + &tests, long(401), long(800), long(801)];
        let names = [
            "a/src/fine.rs",
            "a/src/soft.rs",
            "a/src/most.rs",
            "a/src/hard.rs",
        ];
        let files: Vec<_> = names
            .iter()
            .zip(&texts)
            .map(|(n, t)| (*n, t.as_str()))
            .collect();
        let tree = Tree::of(&files);
        let files = rust_files(&tree);
        let soft = long_files(&files, Length::Soft);
        let paths: Vec<_> = soft.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["a/src/most.rs", "a/src/soft.rs"]);
        let hard = long_files(&files, Length::Hard);
        assert_eq!(hard.len(), 1);
        assert!(
            hard[0]
                .to_string()
                .starts_with("a/src/hard.rs: has 801 lines"),
            "{hard:?}"
        );
    }
}
