//! Log lines, held against the table of log fields.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::lint::Lint;
use crate::spec::{LogField, Spec};
use crate::text::{identifier, is_sentence};

/// The fields of every line.
const ALWAYS: [&str; 4] = ["timestamp", "level", "target", "message"];

/// What a line is about, by its message: the places of the table that it stands for.
const EVENTS: [(&str, &[&str]); 6] = [
    ("task admitted", &["tasks", "admission"]),
    ("task placed", &["tasks", "placement", "after placement"]),
    (
        "stream started",
        &["tasks", "stream start", "after placement"],
    ),
    ("stream ended", &["tasks", "stream end", "after placement"]),
    ("worker is ready", &["workers"]),
    ("worker failed", &["workers"]),
];

/// The messages that a task's whole life leaves.
pub const LIFE: [&str; 4] = [
    "task admitted",
    "task placed",
    "stream started",
    "stream ended",
];

/// One line.
pub type Line = Map<String, Value>;

/// The text of a field, or nothing.
#[must_use]
pub fn text<'a>(line: &'a Line, field: &str) -> &'a str {
    line.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a log: one JSON object on each line.
///
/// # Errors
/// The first line that is none.
pub fn parse(log: &str) -> Result<Vec<Line>, String> {
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|problem| format!("no JSON object: {problem}: {line}"))
    };
    log.lines().map(read).collect()
}

/// The places that a cell of the table names.
///
/// # Errors
/// A place that nobody knows.
pub fn places(cell: &str) -> Result<BTreeSet<&'static str>, String> {
    let mut places = BTreeSet::new();
    for part in cell.split(',').map(str::trim) {
        let named: &[&str] = match part {
            "every line about a task" | "tasks" => &["tasks"],
            "placement and after" => &["placement", "after placement"],
            "stream start and end" => &["stream start", "stream end"],
            "stream start" => &["stream start"],
            "stream end" => &["stream end"],
            "admission" => &["admission"],
            "placement" => &["placement"],
            "cancel" => &["cancel"],
            "workers" => &["workers"],
            "requests" | "sessions" | "catalog" | "when it happens" => &[],
            other => return Err(format!("nobody knows the place `{other}`")),
        };
        places.extend(named);
    }
    Ok(places)
}

/// Where the lines depart from the contract. Each line of a task that ran must have every field of
/// its places; what a task that was canceled never came to know, it need not have.
#[must_use]
pub fn problems(spec: &Spec, lint: &Lint, lines: &[Line]) -> Vec<String> {
    let mut problems = BTreeSet::new();
    let not_built = lint.missing_fields();
    for line in lines {
        let message = text(line, "message");
        let mut add = |what: String| problems.insert(format!("`{message}`: {what}"));
        for field in ALWAYS
            .into_iter()
            .filter(|field| text(line, field).is_empty())
        {
            add(format!("has no `{field}`"));
        }
        if let Some(human) = line.get("human") {
            let human = human.as_str().unwrap_or_default();
            if let Some(found) = identifier(human) {
                add(format!("`human` holds the identifier {found}"));
            }
            if !is_sentence(human) {
                add(format!("`human` is no sentence: {human}"));
            }
        }
        let stands_for = EVENTS
            .iter()
            .find(|(of, _)| *of == message)
            .map_or(&[][..], |(_, places)| places);
        for field in &spec.fields {
            match field_problem(field, stands_for, line, &not_built) {
                Ok(None) => {}
                Ok(Some(what)) | Err(what) => {
                    add(what);
                }
            }
        }
    }
    let known: BTreeSet<_> = spec
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    for name in not_built.difference(&known) {
        problems.insert(format!("`{name}` is excused, but not in the spec"));
    }
    problems.into_iter().collect()
}

fn field_problem(
    field: &LogField,
    stands_for: &[&str],
    line: &Line,
    not_built: &BTreeSet<&str>,
) -> Result<Option<String>, String> {
    let name = field.name.as_str();
    let is_wanted = places(&field.places)?
        .iter()
        .any(|place| stands_for.contains(place));
    let value = line.get(name);
    if not_built.contains(name) {
        return Ok(value.map(|_| format!("has `{name}`, so it needs no excuse")));
    }
    let Some(value) = value else {
        let is_known = is_wanted && !is_unknown(field, line);
        return Ok(is_known.then(|| format!("has no `{name}`")));
    };
    Ok((!has_form(&field.form, value)).then(|| format!("`{name}` is {value}, not {}", field.form)))
}

/// Whether a line cannot know a field: counts and places of a task that did not run to its end.
fn is_unknown(field: &LogField, line: &Line) -> bool {
    let cut_short = ["canceled", "failed"].contains(&text(line, "state"));
    let of_a_run = [
        "decode_time_ms",
        "tokens_in",
        "tokens_out",
        "replica_id",
        "kv_warmth",
    ];
    let may_be_null = field.form.ends_with("or null") && text(line, "job_id").is_empty();
    (cut_short && of_a_run.contains(&field.name.as_str())) || may_be_null
}

fn has_form(form: &str, value: &Value) -> bool {
    let form = form.strip_suffix(", or null").unwrap_or(form);
    match form.split([' ', ',']).next().unwrap_or_default() {
        "boolean" => value.is_boolean(),
        "number" | "ms" | "tokens" | "tasks" | "0–1" => value.is_number(),
        "list" => value.is_array(),
        "uuid" => value
            .as_str()
            .is_some_and(|text| identifier(text) == Some(text)),
        _ => value.as_str().is_some_and(|text| !text.is_empty()),
    }
}

/// The secrets that a log holds, each with its name.
#[must_use]
pub fn leaks(log: &str, secrets: &[(&str, &str)]) -> Vec<String> {
    let found = secrets.iter().filter(|(_, secret)| log.contains(secret));
    found
        .map(|(name, _)| format!("the log holds {name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "| set | labels |\n|---|---|\n\n| label | values |\n|---|---|\n\n\
        | name | type | unit | labels | meaning | bound |\n|---|---|---|---|---|---|\n\n\
        | field | form | where |\n|---|---|---|\n\
        | `job_id` | task id | every line about a task |\n\
        | `queue_position` | tasks before it | admission, stream start |\n\
        | `weight` | number | admission |\n\
        | `human` | one sentence | admission, cancel |\n";
    const LINT: &str = r#"{ "allowed": [], "not_built": [], "only_with_gpu": { "names": [], "reason": "" },
        "values": {}, "log_fields_not_built": [{ "names": ["weight"], "reason": "r" }] }"#;
    const GOOD: &str = r#"{"timestamp":"t","level":"INFO","target":"a","message":"task admitted",
        "job_id":"j","queue_position":0,"human":"a task was taken"}"#;

    fn found(line: &str) -> Vec<String> {
        let spec = Spec::parse(SPEC).expect("a spec");
        let lint = serde_json::from_str(LINT).expect("a lint file");
        let line = line.replace('\n', "");
        problems(&spec, &lint, &parse(&line).expect("a line"))
    }

    // spec: ORCH-3027, ORCH-3029, ORCH-3303
    #[test]
    fn fields_forms_and_sentences_are_checked() {
        assert_eq!(found(GOOD), [""; 0]);
        let table = [
            (GOOD.replace("\"level\":\"INFO\",", ""), "has no `level`"),
            (
                GOOD.replace("\"queue_position\":0,", ""),
                "has no `queue_position`",
            ),
            (GOOD.replace(":0,", ":\"0\","), "`queue_position` is \"0\""),
            (
                GOOD.replace("was taken", "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e was"),
                "holds the identifier",
            ),
            (GOOD.replace("a task was taken", "taken"), "is no sentence"),
            (
                GOOD.replace("\"job_id\"", "\"weight\":1,\"job_id\""),
                "needs no excuse",
            ),
        ];
        for (line, words) in table {
            let found = found(&line);
            assert!(
                found.len() == 1 && found[0].contains(words),
                "{words}: {found:?}"
            );
        }
        assert!(parse("{} x").is_err() && places("nowhere").is_err());
    }

    // spec: OC-CTRL-2041
    #[test]
    fn a_secret_is_named_by_what_it_is() {
        let leaks = leaks("key=abc", &[("the key", "abc"), ("the token", "xyz")]);
        assert_eq!(leaks, ["the log holds the key"]);
    }
}
