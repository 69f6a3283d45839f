//! What counts as code, as comment, and as test.

use super::{Line, rust_files};
use crate::tree::Tree;

fn lines_of(text: &str) -> Vec<Line> {
    let tree = Tree::of(&[("a/src/lib.rs", text)]);
    rust_files(&tree).remove(0).lines
}

fn test_lines(tree: &Tree, path: &str) -> Vec<usize> {
    let files = rust_files(tree);
    let file = files
        .iter()
        .find(|file| file.path == path)
        .expect("the tree has the file");
    file.numbered()
        .filter(|(_, line)| line.is_test)
        .map(|(number, _)| number)
        .collect()
}

#[track_caller]
fn assert_split(text: &str, code: &str, comment: &str) {
    let lines = lines_of(text);
    assert_eq!(
        (lines[0].code.as_str(), lines[0].comment.as_str()),
        (code, comment),
        "{text}"
    );
}

#[test]
fn a_comment_inside_a_string_is_no_comment() {
    assert_split(r#"let a = "x // y"; // z"#, r#"let a = ""; "#, "// z");
    assert_split(r##"let a = r#"x " // y"#; b"##, r#"let a = r""; b"#, "");
    assert_split(r#"let a = "\" // y"; b"#, r#"let a = ""; b"#, "");
}

#[test]
fn quotes_in_characters_and_lifetimes_open_nothing() {
    assert_split("f('\"', '\\'', 'x') // z", "f('', '', '') ", "// z");
    assert_split("fn f<'a>(x: &'a str) // z", "fn f<'a>(x: &'a str) ", "// z");
    assert_split("let r#type = 'é'; // z", "let r#type = ''; ", "// z");
}

#[test]
fn strings_and_block_comments_run_over_lines() {
    let lines = lines_of("let a = \"one\n  // two\\\n three\"; b\n/* x /* y */ z */ c\n");
    let code: Vec<_> = lines.iter().map(|line| line.code.as_str()).collect();
    assert_eq!(code, ["let a = \"", "", "\"; b", " c"]);
    assert_eq!(lines[1].comment, "");
}

#[test]
fn a_file_without_a_last_newline_keeps_its_last_line() {
    assert_eq!(lines_of("a\nb").len(), 2);
    assert_eq!(lines_of("a\nb\n").len(), 2);
}

#[test]
fn what_is_under_cfg_test_is_test_code() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn b() {\n    }\n}\nfn c() {}\n";
    let tree = Tree::of(&[("a/src/lib.rs", text)]);
    assert_eq!(test_lines(&tree, "a/src/lib.rs"), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_single_item_under_cfg_test_ends_where_it_ends() {
    let text = "#[cfg(test)]\nuse x::{\n    y,\n};\n#[cfg(test)]\nfn a(\n    b: u8,\n) -> u8 {\n    b\n}\nfn c() {}\n";
    let tree = Tree::of(&[("a/src/lib.rs", text)]);
    assert_eq!(
        test_lines(&tree, "a/src/lib.rs"),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    );
}

#[test]
fn the_files_of_a_test_module_are_test_code() {
    let tree = Tree::of(&[
        ("a/src/lib.rs", "mod queue;\n#[cfg(test)]\nmod checks;\n"),
        (
            "a/src/queue.rs",
            "//! Q.\n#[cfg(test)]\n#[path]\npub(crate) mod tests;\n",
        ),
        ("a/src/checks.rs", "//! C.\n"),
        ("a/src/queue/tests.rs", "//! T.\n"),
        ("a/src/queue/tests/deep.rs", "//! D.\n"),
        ("a/src/queue/room.rs", "//! R.\n"),
    ]);
    assert_eq!(test_lines(&tree, "a/src/checks.rs"), [1]);
    assert_eq!(test_lines(&tree, "a/src/queue/tests.rs"), [1]);
    assert_eq!(test_lines(&tree, "a/src/queue/tests/deep.rs"), [1]);
    assert!(test_lines(&tree, "a/src/queue/room.rs").is_empty());
}

#[test]
fn the_tests_folder_of_a_crate_is_test_code() {
    let tree = Tree::of(&[
        ("a/Cargo.toml", ""),
        ("a/tests/main.rs", "//! M.\n"),
        ("a/src/tests/other.rs", "//! O.\n"),
    ]);
    assert_eq!(test_lines(&tree, "a/tests/main.rs"), [1]);
    assert!(test_lines(&tree, "a/src/tests/other.rs").is_empty());
}
