//! The emitted files of a small tree, word for word.

use super::{COMPLIANCE, render};
use crate::survey::survey;
use crate::tree::Tree;

const UMBRELLA: &str = "# U: \"x\"\n\n## One\n\n- [AB-0002] It MUST too.\n- [AB-0001] It MUST.\n- [AB-0003] It SHOULD.\n\n\
    ## Traceability Map\n\n| IDs | file |\n|---|---|\n| AB-0xxx | `openapi/data.yaml` |\n";
const LIB: &str = "// spec: AB-0001\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    // spec: AB-0001\n    \
    #[test]\n    fn t() {}\n}\n";
const OPEN: &str = "- closes_with: an issue\n  reason: not | built\n  ids: [AB-0002]\n";
const OPENAPI: &str = "paths: { /v1/a: { get: { x-req-id: [AB-0001] } } }\n";

fn emitted(lib: &str) -> std::collections::BTreeMap<String, String> {
    let tree = Tree::of(&[
        (".specs/00_llama-orch.md", UMBRELLA),
        ("a/src/lib.rs", lib),
        ("requirements/open.yaml", OPEN),
        ("contracts/openapi/data.yaml", OPENAPI),
    ]);
    let mut problems = Vec::new();
    let survey = survey(&tree, &mut problems);
    assert_eq!(problems, []);
    render(&survey)
}

#[test]
fn the_page_has_counts_then_what_is_open_then_every_requirement() {
    let expected = "
| spec | MUST | tested | open | SHOULD, MAY | tested |
|---|---|---|---|---|---|
| [00_llama-orch](.specs/00_llama-orch.md) | 2 | 1 | 1 | 1 | 0 |
| all | 2 | 1 | 1 | 1 | 0 |

## Open: 1

| closes with | why | requirements |
|---|---|---|
| an issue | not \\| built | AB-0002 |

## U: \"x\"

| id | level | state | contract | tests | code |
|---|---|---|---|---|---|
| AB-0002 | MUST | open | `openapi/data.yaml` |  |  |
| AB-0003 | SHOULD | untested | `openapi/data.yaml` |  |  |
| AB-0001 | MUST | tested | `data.yaml GET /v1/a` | [a/lib.rs](a/src/lib.rs): `t` | [a/lib.rs](a/src/lib.rs): `f` |
";
    let page = &emitted(LIB)[COMPLIANCE];
    assert!(page.ends_with(expected), "{page}");
}

#[test]
fn the_file_of_a_spec_is_sorted_and_quoted() {
    let file = &emitted(LIB)["requirements/00_llama-orch.yaml"];
    let expected = "spec: .specs/00_llama-orch.md
title: \"U: \\\"x\\\"\"
counts: { must: 2, must_tested: 1, must_open: 1, other: 1, other_tested: 0 }
requirements:
- id: AB-0001
  level: MUST
  state: tested
  section: \"One\"
  text: \"It MUST.\"
  contract: \"openapi/data.yaml\"
  operations:
  - \"data.yaml GET /v1/a\"
  tests:
  - \"a/src/lib.rs t\"
  code:
  - \"a/src/lib.rs f\"
- id: AB-0002
  level: MUST
  state: open
  reason: \"not | built\"
  closes_with: \"an issue\"
";
    assert!(file.contains(expected), "{file}");
}

#[test]
fn the_index_lists_open_ids_and_the_ids_of_each_spec() {
    let index = &emitted(LIB)["requirements/index.yaml"];
    assert!(
        index.contains("open:\n- AB-0002\nspecs:\n- spec: .specs/00_llama-orch.md\n"),
        "{index}"
    );
    assert!(
        index.ends_with("  ids:\n  - AB-0001\n  - AB-0002\n  - AB-0003\n"),
        "{index}"
    );
}

#[test]
fn moving_code_changes_no_emitted_file() {
    assert_eq!(emitted(LIB), emitted(&format!("//! Lines.\n\n{LIB}")));
}

#[test]
fn emitted_yaml_is_yaml() {
    for (path, text) in emitted(LIB)
        .iter()
        .filter(|(path, _)| path.ends_with(".yaml"))
    {
        let parsed: Result<serde_json::Value, _> = serde_saphyr::from_str(text);
        assert!(parsed.is_ok(), "{path}: {parsed:?}");
    }
}
