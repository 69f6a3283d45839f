//! The examples in the OpenAPI documents: values of the real types, so none can go stale.

use std::collections::BTreeMap;

use contracts_api_types::API_VERSION;
use contracts_api_types::capability::{Capabilities, PoolCapability};
use contracts_api_types::error::{ErrorBody, ErrorCode, ErrorDetails};
use contracts_api_types::kind::{
    Determinism, DeviceClass, EngineName, FullQueuePolicy, OnDisconnect, PriorityClass, Workload,
};
use contracts_api_types::node::{
    DeviceStatus, NodeLease, NodeState, NodeSummary, PoolState, PoolTimeouts, QueueBounds,
    ReplicaState, WorkerEndpoint, WorkerPhase,
};
use contracts_api_types::pool::{PoolFigures, PoolHealth, PoolSummary, ReplicaSummary};
use contracts_api_types::stream::{EndEvent, MetricsEvent, StartedEvent, TokenEvent};
use contracts_api_types::task::{
    AdmissionResponse, FinishReason, SamplingRequest, TaskPlacement, TaskRequest, TaskState,
    TaskStatus,
};
use serde::Serialize;
use uuid::Uuid;

/// The id of the token in [`transcript`].
pub(crate) const TOKEN_ID: &str = "0-9-11ed5ad908254bd4";

const TASK: Uuid = Uuid::from_u128(0x6f0c_1f9e_58d4_4ac5_8d8f_0d8a_3b1f_2c4e);
const SESSION: Uuid = Uuid::from_u128(0x1d3b_7c52_0f6e_4b8a_9a51_6e2f_8c70_4d19);
const INCARNATION: Uuid = Uuid::from_u128(0x8a1e_63d4_2b7f_4c05_b3d9_51f0_7e6c_a284);
const CORRELATION: &str = "0b8f5e0e-7c5d-4f0a-9a64-5d7f7a3f7e11";
const DIGEST: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
const VERSION: &str = "b6123-0c1e570";
const GPU: &str = "GPU-5b2c9d0e-3f5a-4b1d-9c46-1f2e3d4c5b6a";
const POOL: &str = "haiku-gpu0";
const REPLICA: &str = "haiku-gpu0-0";
const NODE: &str = "workstation";
const MODEL: &str = "haiku-tiny-q8_0";
const AGENT: &str = "http://127.0.0.1:9200";

pub(crate) fn task_request() -> TaskRequest {
    TaskRequest {
        task_id: Some(TASK),
        session_id: None,
        workload: Workload::Completion,
        model_ref: MODEL.to_owned(),
        engine: EngineName::LlamaCpp,
        ctx: None,
        priority: PriorityClass::Interactive,
        seed: Some(7),
        determinism: Determinism::Strict,
        sampler_profile_version: None,
        prompt: Some("Write a haiku about the sea".to_owned()),
        inputs: None,
        max_tokens: Some(96),
        deadline_ms: Some(30_000),
        expected_tokens: None,
        on_disconnect: OnDisconnect::Keep,
        sampling: Some(SamplingRequest {
            temperature: Some(0.7),
            ..SamplingRequest::default()
        }),
        labels: BTreeMap::from([("purpose".to_owned(), "poem".to_owned())]),
    }
}

pub(crate) fn admission() -> AdmissionResponse {
    AdmissionResponse {
        task_id: TASK,
        session_id: SESSION,
        correlation_id: CORRELATION.to_owned(),
        queue_position: 1,
        predicted_start_ms: 420,
        backoff_ms: 0,
        on_time_probability: Some(0.97),
        stream_url: format!("/v1/tasks/{TASK}/stream"),
    }
}

pub(crate) fn task_status() -> TaskStatus {
    TaskStatus {
        task_id: TASK,
        session_id: SESSION,
        correlation_id: CORRELATION.to_owned(),
        state: TaskState::Done,
        engine: EngineName::LlamaCpp,
        model_ref: MODEL.to_owned(),
        priority: PriorityClass::Interactive,
        seed: 7,
        queue_position: None,
        predicted_start_ms: 420,
        admitted_unix_ms: 1_795_000_000_000,
        queue_time_ms: 388,
        first_token_ms: Some(431),
        decode_time_ms: Some(612),
        tokens_in: Some(14),
        tokens_out: Some(24),
        placement: Some(TaskPlacement {
            pool_id: POOL.to_owned(),
            replica_id: REPLICA.to_owned(),
            engine_version: VERSION.to_owned(),
            model_digest: DIGEST.to_owned(),
            device_class: DeviceClass::Nvidia,
            attempts: 1,
        }),
        finish_reason: Some(FinishReason::Stop),
        text_digest: Some(end().text_digest),
        error: None,
    }
}

pub(crate) fn capabilities() -> Capabilities {
    let pool = PoolCapability {
        pool_id: POOL.to_owned(),
        engine: EngineName::LlamaCpp,
        engine_version: Some(VERSION.to_owned()),
        models: vec![MODEL.to_owned()],
        model_digest: Some(DIGEST.to_owned()),
        device_class: DeviceClass::Nvidia,
        ctx_max: 8192,
        max_tokens_out: 8192,
        concurrency: 2,
        workloads: vec![Workload::Completion],
        sampler_profile_version: "v1".to_owned(),
    };
    Capabilities {
        api_version: API_VERSION.to_owned(),
        pools: vec![pool],
    }
}

pub(crate) fn pool() -> PoolSummary {
    PoolSummary {
        id: POOL.to_owned(),
        node_id: NODE.to_owned(),
        engine: EngineName::LlamaCpp,
        engine_version: Some(VERSION.to_owned()),
        model_ref: format!("file:./models/{MODEL}.gguf"),
        model_digest: Some(DIGEST.to_owned()),
        device_class: DeviceClass::Nvidia,
        ctx: 8192,
        replicas: vec![ReplicaSummary {
            id: REPLICA.to_owned(),
            phase: WorkerPhase::Ready,
            cause: None,
            eta_ms: None,
            slots: 2,
            busy: 1,
            restarts: 0,
        }],
        queued_interactive: 0,
        queued_batch: 3,
    }
}

pub(crate) fn pool_health() -> PoolHealth {
    PoolHealth {
        live: true,
        ready: true,
        draining: false,
        device_class: DeviceClass::Nvidia,
        last_error: None,
        metrics: PoolFigures {
            slots: 2,
            busy: 1,
            queued: 3,
            restarts: 0,
        },
    }
}

pub(crate) fn node() -> NodeSummary {
    NodeSummary {
        id: NODE.to_owned(),
        incarnation: INCARNATION,
        version: "0.1.0".to_owned(),
        api_url: AGENT.to_owned(),
        live: true,
        last_seen_ms: 1_204,
        devices: vec![device()],
        pools: vec![POOL.to_owned()],
    }
}

pub(crate) fn lease() -> NodeLease {
    NodeLease {
        lease_ms: 10_000,
        renew_ms: 3_000,
    }
}

pub(crate) fn node_state() -> NodeState {
    NodeState {
        incarnation: INCARNATION,
        seq: 12,
        version: "0.1.0".to_owned(),
        api_url: AGENT.to_owned(),
        devices: vec![device()],
        pools: vec![pool_state()],
    }
}

fn pool_state() -> PoolState {
    PoolState {
        id: POOL.to_owned(),
        engine: EngineName::LlamaCpp,
        model_ref: format!("file:./models/{MODEL}.gguf"),
        aliases: vec![MODEL.to_owned()],
        model_digest: Some(DIGEST.to_owned()),
        engine_version: Some(VERSION.to_owned()),
        ctx: 8192,
        slots: 2,
        device_class: DeviceClass::Nvidia,
        sampler_profile_version: "v1".to_owned(),
        workloads: vec![Workload::Completion],
        queue: QueueBounds {
            capacity: 256,
            bytes: 64 << 20,
            interactive_full: FullQueuePolicy::Reject,
            batch_full: FullQueuePolicy::DropLru,
        },
        timeouts: PoolTimeouts {
            first_token_ms: 30_000,
            gap_ms: 30_000,
        },
        replicas: vec![ReplicaState {
            id: REPLICA.to_owned(),
            phase: WorkerPhase::Ready,
            start: 1,
            cause: None,
            eta_ms: None,
            endpoint: Some(WorkerEndpoint {
                url: "http://127.0.0.1:41873".to_owned(),
                api_key: Some("made-afresh-for-each-start".to_owned()),
            }),
            devices: vec![GPU.to_owned()],
            vram_free_bytes: 18 << 30,
            restarts: 0,
        }],
    }
}

fn device() -> DeviceStatus {
    DeviceStatus {
        index: 0,
        uuid: GPU.to_owned(),
        name: "NVIDIA GeForce RTX 3090".to_owned(),
        vram_total_bytes: 24 << 30,
        vram_free_bytes: 18 << 30,
    }
}

fn started() -> StartedEvent {
    StartedEvent {
        queue_position: 1,
        predicted_start_ms: 420,
        engine: EngineName::LlamaCpp,
        engine_version: VERSION.to_owned(),
        model_digest: DIGEST.to_owned(),
        pool_id: POOL.to_owned(),
        replica_id: REPLICA.to_owned(),
        device_class: DeviceClass::Nvidia,
        kv_warmth: false,
        seed: 7,
    }
}

fn end() -> EndEvent {
    EndEvent {
        tokens_in: 14,
        tokens_out: 24,
        decode_time_ms: 612,
        queue_time_ms: 388,
        finish_reason: FinishReason::Stop,
        text_digest: "11ed5ad908254bd4c848d0abaaade81d475f370b8cbf8fd3026e713687f410df".to_owned(),
    }
}

/// A short stream, frame by frame.
pub(crate) fn transcript() -> String {
    let metrics = MetricsEvent {
        queue_depth: 3,
        on_time_probability: Some(0.97),
        kv_warmth: false,
    };
    let token = TokenEvent {
        t: "The pale ".to_owned(),
        i: 0,
    };
    let mut bytes = Vec::new();
    let mut frame =
        |name, id, data: String| contracts_sse::encode(&mut bytes, Some(name), id, &data);
    frame("started", None, json(&started()));
    frame("metrics", None, json(&metrics));
    frame("token", Some(TOKEN_ID), json(&token));
    frame("end", None, json(&end()));
    String::from_utf8(bytes).expect("frames of text are text")
}

fn json(event: &impl Serialize) -> String {
    serde_json::to_string(event).expect("events have string keys and plain values")
}

/// An envelope with this code.
pub(crate) fn error_body(code: ErrorCode) -> ErrorBody {
    let waits = matches!(
        code,
        ErrorCode::AdmissionReject | ErrorCode::PoolUnready | ErrorCode::PoolUnavailable
    );
    let policy = (code == ErrorCode::AdmissionReject).then_some(FullQueuePolicy::Reject);
    ErrorBody {
        code,
        message: message(code).to_owned(),
        engine: waits.then_some(EngineName::LlamaCpp),
        pool_id: waits.then(|| POOL.to_owned()),
        retriable: code.retriable(),
        retry_after_ms: waits.then_some(1_250),
        policy_label: policy,
        details: details(code).map(Box::new),
        correlation_id: CORRELATION.to_owned(),
    }
}

fn message(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidParams => "`max_tokens` must be at least 1",
        ErrorCode::Unauthorized => "this server needs a key: send `Authorization: Bearer KEY`",
        ErrorCode::Forbidden => {
            "the key `dev` lacks the scope `control`; use another, or add the scope in the config"
        }
        ErrorCode::NotFound => {
            "no pool serves the model `haiku` on llamacpp; choose one of details.available"
        }
        ErrorCode::StreamExpired => {
            "the tokens of the task are no longer kept; details.outcome says how it ended"
        }
        ErrorCode::Conflict => {
            "the task exists with another body; use a new task_id, or repeat the same body"
        }
        ErrorCode::AdmissionReject => "the queue is full; try again in 1250 ms",
        ErrorCode::PoolUnready => {
            "the pool haiku-gpu0 is not ready: its worker is loading the model"
        }
        ErrorCode::PoolUnavailable => "this server is stopping; try again in 1250 ms",
        ErrorCode::DeadlineUnmet => {
            "the deadline cannot be met: at least 900 ms are needed; allow more time"
        }
        _ => "this server met a defect of its own; report it with the correlation id",
    }
}

fn details(code: ErrorCode) -> Option<ErrorDetails> {
    let none = ErrorDetails::default();
    match code {
        ErrorCode::InvalidParams => Some(ErrorDetails {
            field: Some("max_tokens".to_owned()),
            ..none
        }),
        ErrorCode::NotFound => Some(ErrorDetails {
            available: vec![format!("{MODEL} (llamacpp)")],
            ..none
        }),
        ErrorCode::StreamExpired => Some(ErrorDetails {
            outcome: Some(task_status()),
            ..none
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    // spec: OC-CTRL-2069
    #[test]
    fn the_transcript_is_one_that_this_server_could_send() {
        let digest = Sha256::digest("The pale ");
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(end().text_digest, hex);
        assert_eq!(TOKEN_ID, format!("0-9-{}", &hex[..16]));
    }
}
