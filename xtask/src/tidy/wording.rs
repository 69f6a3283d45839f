//! Unfinished code and switched-off checks, in code and in the words of comments.

use tools_spec_extract::Problem;
use tools_spec_extract::rust_source::RustFile;

/// Code that must not be there, and what to do.
const BANNED_CODE: &[(&str, &str)] = &[
    (
        "#[ignore",
        "a test that does not run proves nothing: make it run, or remove it",
    ),
    (
        "#[should_panic",
        "it does not say which panic: assert on the result",
    ),
    ("todo!(", "write it"),
    ("unimplemented!(", "write it, or make the case impossible"),
    ("#[allow(", "write `#[expect(lint, reason = \"…\")]`"),
    ("#![allow(", "write `#![expect(lint, reason = \"…\")]`"),
];

/// Words of work that is put off.
const BANNED_WORDS: &[&str] = &[
    "stub",
    "stubs",
    "placeholder",
    "placeholders",
    "scaffold",
    "scaffolding",
    "for now",
    "todo",
    "fixme",
];

/// Comments that may say a banned word: file, word, and why.
const ALLOWED_WORDS: &[(&str, &str, &str)] = &[];

pub(super) fn check(files: &[RustFile<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        for (number, line) in file.numbered() {
            for (code, fix) in BANNED_CODE
                .iter()
                .filter(|(code, _)| line.code.contains(code))
            {
                let what = format!("`{code}` is banned: {fix}");
                problems.push(Problem::at(file.path, number, what));
            }
            let comment = if line.is_test {
                ""
            } else {
                line.comment.as_str()
            };
            for word in BANNED_WORDS.iter().filter(|word| says(comment, word)) {
                if !is_allowed(ALLOWED_WORDS, file.path, word) {
                    let what =
                        format!("a comment says `{word}`: finish the work, then say what it is");
                    problems.push(Problem::at(file.path, number, what));
                }
            }
        }
    }
    problems
}

fn is_allowed(allowed: &[(&str, &str, &str)], path: &str, word: &str) -> bool {
    allowed
        .iter()
        .any(|(file, allowed, _)| *file == path && *allowed == word)
}

/// Whether `comment` has `words` as whole words, in any case.
fn says(comment: &str, words: &str) -> bool {
    let comment = comment.to_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    comment.match_indices(words).any(|(at, _)| {
        let before = comment[..at].chars().next_back();
        let after = comment[at + words.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::{check, is_allowed, says};
    use tools_spec_extract::rust_source::rust_files;
    use tools_spec_extract::tree::Tree;

    fn told(text: &str) -> Vec<String> {
        let tree = Tree::of(&[("a/src/lib.rs", text)]);
        check(&rust_files(&tree))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn unfinished_and_switched_off_code_is_named() {
        for code in [
            "#[ignore]",
            "#[ignore = \"slow\"]",
            "#[should_panic(expected = \"x\")]",
            "fn a() { todo!() }",
            "fn a() { unimplemented!(\"x\") }",
            "#[allow(dead_code)]",
            "#![allow(missing_docs)]",
        ] {
            let told = told(code);
            assert_eq!(told.len(), 1, "{code}: {told:?}");
            assert!(told[0].starts_with("a/src/lib.rs:1: `"), "{told:?}");
        }
        assert_eq!(
            told("const A: &str = \"#[ignore] todo!()\"; // #[allow(x)]\n"),
            [""; 0]
        );
    }

    #[test]
    fn words_of_unfinished_work_are_named_outside_tests_only() {
        for comment in [
            "// A Stub.",
            "/// Placeholder",
            "//! good for now",
            "f(); // TODO: x",
        ] {
            assert_eq!(told(comment).len(), 1, "{comment}");
        }
        assert_eq!(
            told("#[cfg(test)]\nmod tests {\n    // A stub.\n}\n"),
            [""; 0]
        );
        assert_eq!(
            told("let placeholder = \"stub\"; // stubborn stub-server\n"),
            [""; 0]
        );
    }

    #[test]
    fn words_are_whole() {
        assert!(says("it is for now.", "for now"));
        assert!(!says("for nowhere", "for now"));
    }

    #[test]
    fn an_exception_is_for_one_file_and_one_word() {
        let allowed = [("a.rs", "stub", "the word of a foreign API")];
        assert!(is_allowed(&allowed, "a.rs", "stub"));
        assert!(!is_allowed(&allowed, "b.rs", "stub"));
        assert!(!is_allowed(&allowed, "a.rs", "todo"));
    }
}
