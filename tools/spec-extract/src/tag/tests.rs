//! Which tags are found, what they name, and which are refused.

use super::{Tag, tags_of};
use crate::problem::Problem;
use crate::rust_source::rust_files;
use crate::tree::Tree;

fn scan(text: &str) -> (Vec<Tag>, Vec<Problem>) {
    let tree = Tree::of(&[("a/src/lib.rs", text)]);
    let mut problems = Vec::new();
    let tags = tags_of(&rust_files(&tree)[0], &mut problems);
    (tags, problems)
}

#[track_caller]
fn assert_tag(text: &str, item: &str, is_test: bool) {
    let (tags, problems) = scan(text);
    assert_eq!(problems, [], "{text}");
    assert_eq!(
        (tags[0].place.item.as_str(), tags[0].is_test),
        (item, is_test),
        "{text}"
    );
}

#[track_caller]
fn assert_refused(text: &str, because: &str) {
    let (tags, problems) = scan(text);
    assert_eq!(tags, [], "{text}");
    assert!(problems[0].what.contains(because), "{text}: {problems:?}");
    assert!(problems[0].what.contains("the only form"), "{text}");
}

#[test]
fn a_tag_names_the_item_below_it() {
    assert_tag(
        "// spec: AB-0001\n/// Doc.\n#[must_use]\npub fn f() {}\n",
        "f",
        false,
    );
    assert_tag(
        "// spec: AB-0001\npub(crate) const LIMIT: u8 = 1;\n",
        "LIMIT",
        false,
    );
    assert_tag(
        "// spec: AB-0001\npub const fn limit() {}\n",
        "limit",
        false,
    );
    assert_tag(
        "// spec: AB-0001\n#[derive(\n    Debug,\n)]\nstruct Long<T>(T);\n",
        "Long",
        false,
    );
    assert_tag(
        "// spec: AB-0001\nimpl<T> Drop for Guard<T> {\n",
        "impl Drop for Guard<T>",
        false,
    );
    assert_tag(
        "// spec: AB-0001\npub(in a::b) async fn g<T>(t: T) {}\n",
        "g",
        false,
    );
}

#[test]
fn a_tag_inside_a_body_names_the_item_around_it() {
    let text = "impl A {\n    fn f() {\n        if x {\n            // spec: AB-0001\n            y();\n        }\n    }\n}\n";
    assert_tag(text, "f", false);
    assert_tag(
        "struct S {\n    a: u8,\n    // spec: AB-0001\n    b: u8,\n}\n",
        "S",
        false,
    );
}

#[test]
fn a_tag_on_a_test_is_a_tests_tag_in_either_order() {
    assert_tag("// spec: AB-0001\n#[test]\nfn t() {}\n", "t", true);
    assert_tag(
        "#[tokio::test(start_paused = true)]\n// spec: AB-0001\nasync fn t() {}\n",
        "t",
        true,
    );
    assert_tag(
        "#[test]\nfn t() {}\n\n// spec: AB-0001\nfn f() {}\n",
        "f",
        false,
    );
}

#[test]
fn a_tag_on_a_helper_of_tests_is_a_tests_tag() {
    let text = "#[cfg(test)]\nmod tests {\n    // spec: AB-0001\n    fn check() {}\n}\n";
    assert_tag(text, "check", true);
}

#[test]
fn one_tag_may_have_several_ids() {
    let (tags, _) = scan("// spec: AB-0001, CD-EF-002\nfn f() {}\n");
    let ids: Vec<_> = tags.iter().map(|tag| (tag.id.as_str(), tag.line)).collect();
    assert_eq!(ids, [("AB-0001", 1), ("CD-EF-002", 1)]);
}

// spec: ORCH-3530
#[test]
fn other_forms_are_refused() {
    for text in [
        "//spec: AB-0001\n",
        "/// spec: AB-0001\n",
        "// Spec: AB-0001\n",
        "// spec:AB-0001\n",
    ] {
        assert_refused(text, "malformed tag");
    }
    for text in [
        "// spec: AB-0001 CD-0002\n",
        "// spec: AB-0001,CD-0002\n",
        "// spec: AB-0001.\n",
        "// spec: \n",
    ] {
        assert_refused(text, "malformed");
    }
    assert_refused("f(); // spec: AB-0001\n", "behind code");
}

#[test]
fn a_tag_in_a_string_and_the_word_in_a_sentence_are_no_tags() {
    let (tags, problems) = scan(
        "const A: &str = \"\n// spec: AB-0001\n\";\n// The spec: it rules.\nlet spec: Spec;\n",
    );
    assert_eq!((tags, problems), (vec![], vec![]));
}
