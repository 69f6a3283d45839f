//! The committed client is the client of the committed documents, and its types hold their examples.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tools_openapi_client::generate::{committed, generate, stale};
use tools_openapi_client::generated::{control, data, pool, shared};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

// spec: ORCH-3521
#[test]
fn the_committed_client_is_that_of_the_committed_documents() {
    let files = generate(&committed(root()).unwrap()).unwrap();
    let stale: Vec<_> = stale(root(), &files)
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    assert!(
        stale.is_empty(),
        "run `cargo run -p tools-openapi-client` and commit {}",
        stale.join(", ")
    );
}

// spec: ORCH-3521
#[test]
fn a_document_that_changes_by_one_field_changes_the_client() {
    let mut documents = committed(root()).unwrap();
    let (_, text) = &mut documents[0];
    *text = text.replace("stream_url", "stream_uri");
    let files = generate(&documents).unwrap();
    let stale = stale(root(), &files);
    assert_eq!(stale.len(), 1, "{stale:?}");
    assert!(stale[0].path.ends_with("data.rs"));
}

/// The example of an answer is read by its type, and written again without a loss.
#[track_caller]
fn check<T: DeserializeOwned + Serialize>(document: &str, pointer: &str) {
    let (_, text) = committed(root())
        .unwrap()
        .into_iter()
        .find(|(name, _)| *name == document)
        .unwrap();
    let tree: Value = yaml_serde::from_str(&text).unwrap();
    let example = tree
        .pointer(pointer)
        .unwrap_or_else(|| panic!("{document}.yaml has no {pointer}"));
    let read: T = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(
        without_nulls(serde_json::to_value(read).unwrap()),
        without_nulls(example.clone())
    );
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name, without_nulls(value)))
                .collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        plain => plain,
    }
}

// spec: ORCH-3521, OC-CTRL-2069
#[test]
fn the_types_hold_the_examples_of_the_documents() {
    let answer = |path: &str, method: &str, status: &str| {
        let path = path.replace('/', "~1");
        format!("/paths/{path}/{method}/responses/{status}/content/application~1json/example")
    };
    check::<data::TaskRequest>(
        "data",
        "/paths/~1v1~1tasks/post/requestBody/content/application~1json/example",
    );
    check::<data::AdmissionResponse>("data", &answer("/v1/tasks", "post", "202"));
    check::<shared::TaskStatus>("data", &answer("/v1/tasks/{task_id}", "get", "200"));
    check::<control::Capabilities>("control", &answer("/v1/capabilities", "get", "200"));
    check::<Vec<control::PoolSummary>>("control", &answer("/v1/pools", "get", "200"));
    check::<Vec<control::NodeSummary>>("control", &answer("/v1/nodes", "get", "200"));
    check::<control::NodeLease>("control", &answer("/v1/nodes/{node_id}", "put", "200"));
    check::<shared::NodeState>("pool", &answer("/v1/node", "get", "200"));
    check::<pool::PoolDetail>("pool", &answer("/v1/pools/{pool_id}", "get", "200"));
    check::<shared::ErrorBody>("pool", &answer("/v1/node", "get", "401"));
}
