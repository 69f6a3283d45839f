//! One planted violation for each thing that fails the gate.

use super::survey;
use crate::tree::Tree;

const UMBRELLA: &str = "# U\n\n- [AB-0001] It MUST.\n- [AB-0002] It SHOULD.\n\n## Traceability Map\n\n\
    | IDs | file |\n|---|---|\n| AB-0xxx | `.specs/x` |\n";
const TESTED: &str =
    "#[cfg(test)]\nmod tests {\n    // spec: AB-0001\n    #[test]\n    fn t() {}\n}\n";

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    survey(&Tree::of(files), &mut problems);
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_told(files: &[(&str, &str)], at: &str, what: &str) {
    let told = problems(files);
    assert!(
        told.iter()
            .any(|line| line.starts_with(at) && line.contains(what)),
        "{told:#?}"
    );
}

fn open(body: &str) -> String {
    format!("- closes_with: an issue\n  reason: not built\n  ids: [{body}]\n")
}

const SPEC: (&str, &str) = (".specs/00_llama-orch.md", UMBRELLA);
const LIB: (&str, &str) = ("a/src/lib.rs", TESTED);

#[test]
fn a_tested_must_is_no_problem() {
    assert_eq!(problems(&[SPEC, LIB]), Vec::<String>::new());
}

// spec: ORCH-3534
#[test]
fn a_must_without_a_test_fails_and_an_open_one_does_not() {
    assert_told(
        &[SPEC],
        ".specs/00_llama-orch.md:3: AB-0001",
        "without a test",
    );
    let code = ("a/src/lib.rs", "// spec: AB-0001\nfn f() {}\n");
    assert_told(
        &[SPEC, code],
        ".specs/00_llama-orch.md:3: AB-0001",
        "without a test",
    );
    assert_eq!(
        problems(&[SPEC, ("requirements/open.yaml", &open("AB-0001"))]),
        Vec::<String>::new()
    );
}

// spec: ORCH-3530
#[test]
fn an_unknown_id_in_a_tag_fails() {
    let text = format!("{TESTED}// spec: AB-0009\nfn f() {{}}\n");
    assert_told(
        &[SPEC, ("a/src/lib.rs", &text)],
        "a/src/lib.rs:7: AB-0009",
        "in no spec",
    );
}

// spec: ORCH-3530
#[test]
fn a_malformed_tag_fails() {
    let text = format!("{TESTED}// spec: AB-0001 AB-0002\nfn f() {{}}\n");
    assert_told(
        &[SPEC, ("a/src/lib.rs", &text)],
        "a/src/lib.rs:7: malformed",
        "the only form",
    );
}

#[test]
fn an_id_that_is_defined_twice_fails() {
    let twin = (".specs/10-x.md", "\n- [AB-0001] It MUST too.\n");
    assert_told(
        &[SPEC, LIB, twin],
        ".specs/10-x.md:2: AB-0001",
        ".specs/00_llama-orch.md:3",
    );
}

#[test]
fn a_requirement_outside_the_map_fails() {
    let other = (".specs/10-x.md", "- [CD-0001] It MAY.\n");
    assert_told(
        &[SPEC, LIB, other],
        ".specs/10-x.md:1: CD-0001",
        "Traceability Map",
    );
}

#[test]
fn a_row_of_the_map_without_requirements_fails() {
    let text = format!("{UMBRELLA}| CD-0xxx | `x` |\n");
    let spec = (".specs/00_llama-orch.md", text.as_str());
    assert_told(
        &[spec, LIB],
        ".specs/00_llama-orch.md:11: ",
        "names no requirement",
    );
}

#[test]
fn an_unknown_id_of_an_operation_fails() {
    let yaml = "paths: { /v1/a: { get: { x-req-id: [AB-0009] } } }\n";
    let file = ("contracts/openapi/data.yaml", yaml);
    assert_told(
        &[SPEC, LIB, file],
        "contracts/openapi/data.yaml: ",
        "AB-0009",
    );
}

#[test]
fn an_open_entry_must_be_known_due_and_untested() {
    let path = "requirements/open.yaml";
    let at = "requirements/open.yaml:3: ";
    assert_told(
        &[SPEC, LIB, (path, &open("AB-0001"))],
        at,
        "AB-0001 has a test now",
    );
    assert_told(
        &[SPEC, LIB, (path, &open("AB-0002"))],
        at,
        "AB-0002 needs no test",
    );
    assert_told(
        &[SPEC, LIB, (path, &open("AB-0009"))],
        at,
        "AB-0009 is in no spec",
    );
    assert_told(
        &[SPEC, (path, &open("AB-0001, AB-0001"))],
        at,
        "AB-0001 stands here twice",
    );
    assert_told(&[SPEC, LIB, (path, &open("AB-1"))], at, "AB-1 is no id");
}

#[test]
fn an_open_entry_says_why_and_until_when() {
    let path = "requirements/open.yaml";
    for body in [
        "- reason: r\n  ids: [AB-0001]\n",
        "- closes_with: c\n  ids: [AB-0001]\n",
    ] {
        assert_told(&[SPEC, (path, body)], path, "cannot be read");
    }
    let empty = "- closes_with: c\n  reason: ''\n  ids: [AB-0001]\n";
    assert_told(&[SPEC, (path, empty)], path, "group 1 lacks a `reason`");
}

#[test]
fn a_requirement_that_had_a_test_does_not_become_open() {
    let list = open("AB-0001");
    let list = ("requirements/open.yaml", list.as_str());
    let index = |open: &str| format!("open: [{open}]\nspecs:\n- ids: [AB-0001, AB-0002]\n");
    let path = "requirements/index.yaml";
    assert_told(
        &[SPEC, list, (path, &index(""))],
        "requirements/open.yaml:3",
        "may only shrink",
    );
    assert_eq!(
        problems(&[SPEC, list, (path, &index("AB-0001"))]),
        Vec::<String>::new()
    );
    let before_it_was_written = "specs:\n- ids: [AB-0002]\n";
    assert_eq!(
        problems(&[SPEC, list, (path, before_it_was_written)]),
        Vec::<String>::new()
    );
}
