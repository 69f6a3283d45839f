//! Which contract a requirement shows in: by the map of the umbrella spec, and by the `x-req-id`
//! of the operations in the emitted OpenAPI files.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::id::RequirementId;
use crate::problem::Problem;
use crate::tree::Tree;

pub(crate) const UMBRELLA: &str = ".specs/00_llama-orch.md";
const MAP_HEADING: &str = "## Traceability Map";
const OPENAPI_FOLDER: &str = "contracts/openapi/";

/// One row of the Traceability Map.
pub(crate) struct Row {
    /// The line it stands on.
    pub(crate) line: usize,
    /// The contract file of its requirements.
    pub(crate) contract: String,
    ids: Vec<Range>,
}

/// The ids of one family that a part of a row names.
struct Range {
    family: String,
    /// First and last number, or a pattern twice: `34xx` is `34xx` to `34xx`.
    first: String,
    last: String,
}

impl Range {
    fn has(&self, id: &RequirementId) -> bool {
        let lowest = self.first.replace('x', "0");
        let highest = self.last.replace('x', "9");
        let number = id.number();
        self.family == id.family()
            && number.len() == lowest.len()
            && (lowest.as_str()..=highest.as_str()).contains(&number)
    }
}

impl Row {
    pub(crate) fn has(&self, id: &RequirementId) -> bool {
        self.ids.iter().any(|range| range.has(id))
    }
}

/// The rows of the Traceability Map; the first row that has an id counts.
pub(crate) fn read_map(tree: &Tree, problems: &mut Vec<Problem>) -> Vec<Row> {
    let text = tree.get(UMBRELLA).unwrap_or_default();
    let mut section = text
        .lines()
        .zip(1..)
        .skip_while(|(line, _)| *line != MAP_HEADING);
    if section.next().is_none() {
        problems.push(Problem::of(
            UMBRELLA,
            format!("has no `{MAP_HEADING}`: write it"),
        ));
        return Vec::new();
    }
    let table = section.take_while(|(line, _)| !line.starts_with("## "));
    let rows = table.filter(|(line, _)| line.starts_with('|')).skip(2);
    rows.filter_map(|(line, number)| {
        let row = row_of(line, number);
        if row.is_none() {
            let what = "has ids of no known form: write `ORCH-3001 to 3042, 34xx, HME-0xx`";
            problems.push(Problem::at(UMBRELLA, number, what));
        }
        row
    })
    .collect()
}

fn row_of(line: &str, number: usize) -> Option<Row> {
    let mut cells = line.trim_matches('|').split('|').map(str::trim);
    let (ids, contract) = (cells.next()?, cells.next()?);
    let mut family = "";
    let ids = ids
        .split(", ")
        .map(|part| range_of(part, &mut family))
        .collect::<Option<_>>()?;
    Some(Row {
        line: number,
        contract: contract.replace('`', ""),
        ids,
    })
}

/// A part of the first cell. A part without a family has that of the part before it.
fn range_of<'row>(part: &'row str, family: &mut &'row str) -> Option<Range> {
    let (first, last) = part.split_once(" to ").unwrap_or((part, ""));
    let first = match first.rsplit_once('-') {
        Some((words, number)) => {
            *family = words;
            number
        }
        None => first,
    };
    let last = if last.is_empty() { first } else { last };
    let is_number =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'x');
    let is_whole = !family.is_empty() && is_number(first) && is_number(last);
    is_whole.then(|| Range {
        family: (*family).to_owned(),
        first: first.to_owned(),
        last: last.to_owned(),
    })
}

/// The part of an OpenAPI document that is looked at: what stands at each path, by method.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    paths: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The operations that name requirements, by id.
pub(crate) type Operations = BTreeMap<RequirementId, BTreeSet<String>>;

/// Reads the `x-req-id` of every operation.
pub(crate) fn read_operations(tree: &Tree, problems: &mut Vec<Problem>) -> Operations {
    let mut operations = Operations::new();
    let documents = tree
        .iter()
        .filter(|(path, _)| path.starts_with(OPENAPI_FOLDER));
    for (path, text) in documents.filter(|(path, _)| path.ends_with(".yaml")) {
        let document: Document = match serde_saphyr::from_str(text) {
            Ok(document) => document,
            Err(error) => {
                let what = format!("is no OpenAPI document: run `cargo xtask regen`: {error}");
                problems.push(Problem::of(path, what));
                continue;
            }
        };
        let file = path.trim_start_matches(OPENAPI_FOLDER);
        for (route, parts) in document.paths {
            for (method, part) in parts {
                let name = format!("{file} {} {route}", method.to_uppercase());
                for id in ids_of(&part) {
                    let Some(parsed) = RequirementId::parse(id) else {
                        let what =
                            format!("`{name}` has the malformed `x-req-id` `{id}`: correct it");
                        problems.push(Problem::of(path, what));
                        continue;
                    };
                    operations.entry(parsed).or_default().insert(name.clone());
                }
            }
        }
    }
    operations
}

fn ids_of(part: &Value) -> impl Iterator<Item = &str> {
    part["x-req-id"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::{read_map, read_operations};
    use crate::id::RequirementId;
    use crate::tree::Tree;

    fn id(text: &str) -> RequirementId {
        RequirementId::parse(text).unwrap()
    }

    fn umbrella(rows: &str) -> Tree {
        let text = format!(
            "# U\n\n## Traceability Map\n\n| IDs | file |\n|---|---|\n{rows}\n## End\n| x |"
        );
        Tree::of(&[(super::UMBRELLA, &text)])
    }

    #[test]
    fn a_row_names_single_ids_ranges_and_patterns() {
        let tree = umbrella("| AB-3001 to 3042, 3044, 35xx, HME-0xx | `openapi/*.yaml` | c |\n");
        let mut problems = Vec::new();
        let rows = read_map(&tree, &mut problems);
        assert_eq!(problems, []);
        assert_eq!(
            (rows.len(), rows[0].line, rows[0].contract.as_str()),
            (1, 7, "openapi/*.yaml")
        );
        for inside in ["AB-3001", "AB-3042", "AB-3044", "AB-3599", "HME-001"] {
            assert!(rows[0].has(&id(inside)), "{inside}");
        }
        for outside in [
            "AB-3043", "AB-3600", "HME-3001", "HME-100", "CD-3001", "AB-300",
        ] {
            assert!(!rows[0].has(&id(outside)), "{outside}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named() {
        let mut problems = Vec::new();
        read_map(&umbrella("| all of them | x | y |\n"), &mut problems);
        assert_eq!(problems[0].line, Some(7));
        assert!(problems[0].what.contains("no known form"));
    }

    #[test]
    fn operations_are_found_by_their_ids_and_other_parts_of_a_path_are_passed_over() {
        let yaml = "openapi: 3.1.0\npaths:\n  /v1/a:\n    parameters: []\n    summary: s\n    get:\n      \
            x-req-id:\n      - AB-0001\n      - AB-2\n    post:\n      x-req-id: [AB-0001]\n";
        let tree = Tree::of(&[("contracts/openapi/data.yaml", yaml)]);
        let mut problems = Vec::new();
        let operations = read_operations(&tree, &mut problems);
        let names: Vec<_> = operations[&id("AB-0001")]
            .iter()
            .map(String::as_str)
            .collect();
        assert_eq!(names, ["data.yaml GET /v1/a", "data.yaml POST /v1/a"]);
        assert!(
            problems[0].what.contains("malformed `x-req-id` `AB-2`"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_broken_document_is_named() {
        let mut problems = Vec::new();
        read_operations(
            &Tree::of(&[("contracts/openapi/data.yaml", "paths: [")]),
            &mut problems,
        );
        assert!(
            problems[0].what.contains("cargo xtask regen"),
            "{problems:?}"
        );
    }
}
