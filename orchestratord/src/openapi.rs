//! The OpenAPI documents of both planes, built from the handlers that serve them.
//!
//! # Invariants
//! - The same build prints the same bytes: everything is sorted.
//! - Every operation names its requirements (`x-req-id`), its refusals and the correlation header.

use std::str::FromStr;

use contracts_api_types::error::ErrorBody;
use contracts_api_types::stream::{EndEvent, ErrorEvent, MetricsEvent, StartedEvent, TokenEvent};
use contracts_api_types::{API_VERSION, CORRELATION_HEADER};
use serde_json::{Map, Value, json};

use crate::api;

/// One of the two documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Tasks.
    Data,
    /// Pools, nodes, discovery and probes.
    Control,
}

/// A name that is not a plane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no plane `{0}`: use `data` or `control`")]
pub struct UnknownPlane(String);

impl FromStr for Plane {
    type Err = UnknownPlane;

    fn from_str(text: &str) -> Result<Self, UnknownPlane> {
        match text {
            "data" => Ok(Self::Data),
            "control" => Ok(Self::Control),
            other => Err(UnknownPlane(other.to_owned())),
        }
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    ErrorBody,
    StartedEvent,
    TokenEvent,
    MetricsEvent,
    EndEvent,
    ErrorEvent
)))]
struct DataComponents;

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(ErrorBody)))]
struct ControlComponents;

/// The document as YAML.
// spec: ORCH-3044, OC-CTRL-2069
#[must_use]
pub fn to_yaml(plane: Plane) -> String {
    yaml_serde::to_string(&document(plane)).expect("a document is plain data with string keys")
}

/// The document as a tree with sorted keys.
#[must_use]
pub fn document(plane: Plane) -> Value {
    use utoipa::OpenApi as _;
    let (components, operations, title, about) = match plane {
        Plane::Data => (
            DataComponents::openapi(),
            api::data_operations(),
            "llama-orch data plane",
            "Submit tasks and follow their tokens.",
        ),
        Plane::Control => (
            ControlComponents::openapi(),
            api::control_operations(),
            "llama-orch control plane",
            "See what serves tasks and how it does, and register nodes.",
        ),
    };
    let whole = components.merge_from(operations);
    let mut tree = serde_json::to_value(&whole).expect("a document is plain data");
    tree["info"] = json!({
        "title": title,
        "description": about,
        "version": API_VERSION,
        "license": { "name": "MIT OR Apache-2.0" },
    });
    add_security(&mut tree);
    for operation in operations_of(&mut tree) {
        add_correlation(operation);
    }
    sorted(tree)
}

// spec: OC-CTRL-2040
fn add_security(tree: &mut Value) {
    tree["components"]["securitySchemes"]["key"] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the config; on `PUT /v1/nodes/{node_id}` the node token. \
            Not needed on loopback where the config leaves it open.",
    });
    tree["security"] = json!([{ "key": [] }]);
}

fn operations_of(tree: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = tree["paths"].as_object_mut().expect("documents have paths");
    paths.values_mut().flat_map(|path| {
        path.as_object_mut()
            .expect("a path is an object")
            .values_mut()
            .filter(|part| part.is_object())
    })
}

// spec: ORCH-2009
fn add_correlation(operation: &mut Value) {
    let header = || {
        json!({
            "description": "The id in every log line of the request.",
            "schema": { "type": "string" },
        })
    };
    let responses = operation["responses"]
        .as_object_mut()
        .expect("operations have responses");
    for response in responses.values_mut() {
        response["headers"][CORRELATION_HEADER] = header();
    }
    let parameter = json!({
        "name": CORRELATION_HEADER,
        "in": "header",
        "description": "An id of your own: 1 to 64 letters, digits, dots, underscores, hyphens.",
        "required": false,
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
    });
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}

/// The same tree with the keys of every object in order, whichever map `serde_json` is built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            let object: Map<_, _> = entries
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Value::Object(object)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANES: [Plane; 2] = [Plane::Data, Plane::Control];

    fn each_operation(check: impl Fn(&str, &Value)) {
        for plane in PLANES {
            let tree = document(plane);
            for (path, item) in tree["paths"].as_object().unwrap() {
                for (method, operation) in item.as_object().unwrap() {
                    check(&format!("{method} {path}"), operation);
                }
            }
        }
    }

    // spec: ORCH-3044
    #[test]
    fn the_version_is_that_of_the_api_and_a_second_print_is_equal() {
        for plane in PLANES {
            let text = to_yaml(plane);
            assert_eq!(text, to_yaml(plane));
            assert!(text.contains("openapi: 3.1.0"), "{text}");
            assert_eq!(document(plane)["info"]["version"], API_VERSION);
        }
    }

    // spec: OC-CTRL-2069
    #[test]
    fn every_operation_names_its_requirements_refusals_and_examples() {
        each_operation(|name, operation| {
            assert!(
                !operation["x-req-id"].as_array().unwrap().is_empty(),
                "{name}"
            );
            assert!(operation["operationId"].is_string(), "{name}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("500"), "{name}");
            for (status, response) in responses {
                assert!(
                    response["headers"][CORRELATION_HEADER].is_object(),
                    "{name} {status}"
                );
                let Some(content) = response.get("content") else {
                    assert!(
                        ["204", "408"].contains(&status.as_str()),
                        "{name} {status} has no body"
                    );
                    continue;
                };
                for kind in content.as_object().unwrap().values() {
                    let shown = kind.get("example").or(kind.get("examples"));
                    assert!(shown.is_some(), "{name} {status} has no example");
                }
            }
        });
    }

    // spec: ORCH-2002, OC-CTRL-2020, ORCH-3522
    #[test]
    fn the_stream_names_its_events_and_every_reference_leads_somewhere() {
        let tree = document(Plane::Data);
        let events = &tree["paths"]["/v1/tasks/{task_id}/stream"]["get"]["x-sse-events"];
        let names: Vec<_> = events
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, ["end", "error", "metrics", "started", "token"]);
        for plane in PLANES {
            check_references(&document(plane));
        }
    }

    // spec: ORCH-2006, ORCH-2008
    #[test]
    fn closed_sets_are_documented_with_their_names_on_the_wire() {
        let tree = document(Plane::Data);
        let names = |set: &str| tree["components"]["schemas"][set]["enum"].clone();
        assert_eq!(
            names("EngineName"),
            json!(["llamacpp", "vllm", "tgi", "triton"])
        );
        assert_eq!(names("PriorityClass"), json!(["interactive", "batch"]));
        assert!(
            names("ErrorCode")
                .as_array()
                .unwrap()
                .contains(&json!("INVALID_PARAMS"))
        );
    }

    fn check_references(tree: &Value) {
        let mut open = vec![tree];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        let pointer = target.trim_start_matches('#');
                        assert!(tree.pointer(pointer).is_some(), "{target} leads nowhere");
                    }
                    open.extend(object.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }
}
