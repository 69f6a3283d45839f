//! The OpenAPI document of this API, built from the handlers that serve it.
//!
//! # Invariants
//! - The same build prints the same bytes: everything is sorted.
//! - Every operation names its requirements (`x-req-id`), its refusals, the correlation header and
//!   an example of each answer, made from the types that the answers are made of.

use contracts_api_types::error::{ErrorBody, ErrorCode};
use contracts_api_types::kind::{DeviceClass, EngineName, FullQueuePolicy, Workload};
use contracts_api_types::node::{
    NodeState, PoolState, PoolTimeouts, QueueBounds, ReplicaState, WorkerEndpoint, WorkerPhase,
};
use contracts_api_types::pool::{PoolDetail, ReplicaLog};
use contracts_api_types::{API_VERSION, CORRELATION_HEADER};
use serde_json::{Map, Value, json};

use crate::api::error::{ApiError, REFUSALS};
use crate::api::{gated_routes, open_routes};

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(ErrorBody)))]
struct Components;

/// The refusals of each operation.
const REFUSED: [(&str, &[ErrorCode]); 3] = [
    ("node_read", &[ErrorCode::Unauthorized]),
    (
        "pool_read",
        &[
            ErrorCode::InvalidParams,
            ErrorCode::Unauthorized,
            ErrorCode::NotFound,
        ],
    ),
    ("readiness", &[ErrorCode::PoolUnready]),
];

/// The id in examples.
const EXAMPLE_ID: &str = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";

/// The document as YAML.
// spec: ORCH-3044, OC-CTRL-2069
#[must_use]
pub fn to_yaml() -> String {
    yaml_serde::to_string(&document()).expect("a document is plain data with string keys")
}

fn document() -> Value {
    use utoipa::OpenApi as _;
    let whole = Components::openapi()
        .merge_from(gated_routes().into_openapi())
        .merge_from(open_routes().into_openapi());
    let mut tree = serde_json::to_value(&whole).expect("a document is plain data");
    tree["info"] = json!({
        "title": "llama-orch pool-managerd",
        "description": "See what one host does. Loopback only.",
        "version": API_VERSION,
        "license": { "name": "MIT OR Apache-2.0" },
    });
    tree["components"]["securitySchemes"]["node_token"] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "The content of node.token in the data directory.",
    });
    tree["security"] = json!([{ "node_token": [] }]);
    let paths = tree["paths"].as_object_mut().expect("documents have paths");
    for operation in paths.values_mut().filter_map(|path| path.get_mut("get")) {
        complete(operation);
    }
    sorted(tree)
}

/// Adds refusals, examples and the correlation header.
fn complete(operation: &mut Value) {
    let id = operation["operationId"]
        .as_str()
        .expect("operations have ids")
        .to_owned();
    let refused = REFUSED
        .iter()
        .find(|(of, _)| *of == id)
        .map_or(&[][..], |(_, codes)| *codes);
    for code in refused {
        let (_, status) = REFUSALS
            .iter()
            .find(|(of, _)| of == code)
            .expect("it has a status");
        operation["responses"][status.as_str()] = refusal(*code);
    }
    let example = match id.as_str() {
        "node_read" => Some(serde_json::to_value(node_example())),
        "pool_read" => Some(serde_json::to_value(pool_example())),
        _ => None,
    };
    if let Some(example) = example {
        let content = &mut operation["responses"]["200"]["content"]["application/json"];
        content["example"] = example.expect("an example is plain data");
    }
    let responses = operation["responses"]
        .as_object_mut()
        .expect("operations have responses");
    for response in responses.values_mut() {
        response["headers"][CORRELATION_HEADER] = json!({
            "description": "The id in every log line of the request.",
            "schema": { "type": "string" },
        });
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

fn refusal(code: ErrorCode) -> Value {
    let error = match code {
        ErrorCode::InvalidParams => ApiError::BadPath { field: "pool_id" },
        ErrorCode::NotFound => ApiError::UnknownPool {
            pool: "haikus".into(),
            available: vec!["haiku".into()],
        },
        ErrorCode::PoolUnready => ApiError::NotReady {
            pool: "haiku".into(),
            cause: "loading the model".into(),
        },
        _ => ApiError::Unauthorized,
    };
    json!({
        "description": format!("`{code}`"),
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/ErrorBody" },
            "example": error.body(EXAMPLE_ID),
        } },
    })
}

fn node_example() -> NodeState {
    NodeState {
        incarnation: EXAMPLE_ID.parse().expect("a UUID"),
        seq: 7,
        version: "0.1.0".into(),
        api_url: "http://127.0.0.1:9200".into(),
        devices: Vec::new(),
        pools: vec![pool_example().state],
    }
}

fn pool_example() -> PoolDetail {
    let replica = ReplicaState {
        id: "haiku-0".into(),
        phase: WorkerPhase::Ready,
        start: 1,
        cause: None,
        eta_ms: None,
        endpoint: Some(WorkerEndpoint {
            url: "http://127.0.0.1:41234".into(),
            api_key: None,
        }),
        devices: Vec::new(),
        vram_free_bytes: 0,
        restarts: 0,
    };
    let state = PoolState {
        id: "haiku".into(),
        engine: EngineName::LlamaCpp,
        model_ref: "file:./haiku.gguf".into(),
        aliases: vec!["haiku".into()],
        model_digest: None,
        engine_version: Some("b336-0c1e57098".into()),
        ctx: 512,
        slots: 2,
        device_class: DeviceClass::CpuCi,
        sampler_profile_version: "v1".into(),
        workloads: vec![Workload::Completion],
        queue: QueueBounds {
            capacity: 256,
            bytes: 64 << 20,
            interactive_full: FullQueuePolicy::Reject,
            batch_full: FullQueuePolicy::Reject,
        },
        timeouts: PoolTimeouts {
            first_token_ms: 30_000,
            gap_ms: 30_000,
        },
        replicas: vec![replica],
    };
    let log = ReplicaLog {
        replica_id: "haiku-0".into(),
        lines: vec!["model loaded".into()],
    };
    PoolDetail {
        state,
        logs: vec![log],
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

    // spec: ORCH-3044, OC-CTRL-2069, OC-POOL-3115
    #[test]
    fn every_operation_is_complete_and_a_second_print_is_equal() {
        assert_eq!(to_yaml(), to_yaml());
        let tree = document();
        let paths = tree["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 5);
        for (path, item) in paths {
            let operation = &item["get"];
            assert!(
                !operation["x-req-id"].as_array().unwrap().is_empty(),
                "{path}"
            );
            let open = operation["security"] == json!([{}]);
            assert_eq!(open, !path.starts_with("/v1/"), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(
                responses.contains_key("401"),
                path.starts_with("/v1/"),
                "{path}"
            );
            for (status, response) in responses {
                assert!(
                    response["headers"][CORRELATION_HEADER].is_object(),
                    "{path} {status}"
                );
                for kind in response["content"].as_object().unwrap().values() {
                    assert!(
                        kind.get("example").is_some(),
                        "{path} {status} has no example"
                    );
                }
            }
        }
    }
}
