//! Tasks: what a client asks for, how it was admitted, and how it stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::kind::{
    Determinism, DeviceClass, EngineName, OnDisconnect, PriorityClass, Workload, names,
};

/// The largest seed. Two engines keep 32 bits only, and one reads 4,294,967,295 as "random".
pub const SEED_MAX: u32 = 4_294_967_294;

fn default_priority() -> PriorityClass {
    PriorityClass::Interactive
}

fn default_determinism() -> Determinism {
    Determinism::Strict
}

fn default_on_disconnect() -> OnDisconnect {
    OnDisconnect::Keep
}

/// A task as a client posts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Chosen by the client so that a repeat is recognised; made by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// Groups the turns of one conversation; made by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
    /// What to compute.
    pub workload: Workload,
    /// Which model: an alias, a path, a catalog id or `sha256:…`.
    #[schema(example = "haiku-tiny-q8_0")]
    pub model_ref: String,
    /// Which engine.
    pub engine: EngineName,
    /// Context in tokens; the set's context when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub ctx: Option<u32>,
    /// How urgent it is.
    #[serde(default = "default_priority")]
    pub priority: PriorityClass,
    /// Sampler seed, 0 to 4,294,967,294; derived from the task id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 4_294_967_294_u64)]
    pub seed: Option<u64>,
    /// What is needed of repeatability.
    #[serde(default = "default_determinism")]
    pub determinism: Determinism,
    /// Sampler profile; `v1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler_profile_version: Option<String>,
    /// The prompt. Exactly one of `prompt` and `inputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Write a haiku about the sea")]
    pub prompt: Option<String>,
    /// Texts to embed or to rank. Exactly one of `prompt` and `inputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<String>>,
    /// The most tokens to generate; required for completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, example = 96)]
    pub max_tokens: Option<u32>,
    /// Time from admission to the end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub deadline_ms: Option<u64>,
    /// A hint for the prediction of the output length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub expected_tokens: Option<u32>,
    /// What happens when the last reader leaves.
    #[serde(default = "default_on_disconnect")]
    pub on_disconnect: OnDisconnect,
    /// Sampler fields laid over the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingRequest>,
    /// Free labels for the client's own book-keeping; they never become metric labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Sampler fields of a request. Absent fields keep the profile's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplingRequest {
    /// 0 to 2; 0 means greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// 0 to 1,000; 0 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub top_k: Option<u32>,
    /// Above 0, to 1; 1 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// 0 to 1; 0 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// 0.5 to 2; 1 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.5, maximum = 2)]
    pub repeat_penalty: Option<f64>,
    /// Up to 16 strings of 1 to 256 bytes that end the generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 16)]
    pub stop: Option<Vec<String>>,
}

/// The answer to an admitted task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdmissionResponse {
    /// The task.
    pub task_id: Uuid,
    /// Its session.
    pub session_id: Uuid,
    /// The id that stands in every log line of this request.
    pub correlation_id: String,
    /// How many tasks are expected to start earlier.
    pub queue_position: u64,
    /// When it is expected to start, from admission.
    pub predicted_start_ms: u64,
    /// How long a polite client waits before its next submission; 0 while there is room.
    pub backoff_ms: u64,
    /// The chance to end before the deadline; null without one.
    pub on_time_probability: Option<f64>,
    /// Where to read its tokens, relative to this server.
    #[schema(example = "/v1/tasks/6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e/stream")]
    pub stream_url: String,
}

names! {
    /// Where a task stands.
    TaskState {
        /// It waits for a slot.
        Queued = "queued",
        /// A replica works on it.
        Running = "running",
        /// It ended well.
        Done = "done",
        /// It ended with an error.
        Failed = "failed",
        /// It was canceled.
        Canceled = "canceled",
    }
}

names! {
    /// Why a task ended without an error.
    FinishReason {
        /// The model ended by itself, or a stop string came.
        Stop = "stop",
        /// `max_tokens` or the context was reached.
        Length = "length",
        /// It was canceled.
        Canceled = "canceled",
    }
}

/// Where a task runs or ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskPlacement {
    /// The pool.
    pub pool_id: String,
    /// The replica.
    pub replica_id: String,
    /// The engine's version.
    pub engine_version: String,
    /// Digest of the model file.
    pub model_digest: String,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// How often the task was started.
    pub attempts: u32,
}

/// The error that ended a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskFailure {
    /// The cause.
    pub code: ErrorCode,
    /// What happened and what to do about it.
    pub message: String,
    /// Whether text had been visible before.
    pub partial: bool,
}

/// A task's state, timings, counts and placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskStatus {
    /// The task.
    pub task_id: Uuid,
    /// Its session.
    pub session_id: Uuid,
    /// The id that stands in every log line of its admission.
    pub correlation_id: String,
    /// Where it stands.
    pub state: TaskState,
    /// The engine asked for.
    pub engine: EngineName,
    /// The model asked for.
    pub model_ref: String,
    /// Its class.
    pub priority: PriorityClass,
    /// The seed in use.
    pub seed: u32,
    /// Tasks ahead of it now, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// The start predicted at admission.
    pub predicted_start_ms: u64,
    /// Admission, in milliseconds since 1970.
    pub admitted_unix_ms: u64,
    /// Time in the queue; so far, while it waits.
    pub queue_time_ms: u64,
    /// Time from admission to the first text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// Time the engine spent generating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_time_ms: Option<u64>,
    /// Prompt tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u32>,
    /// Generated tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u32>,
    /// Where it runs or ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<TaskPlacement>,
    /// How it ended, when it ended without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// SHA-256 of the whole text, in hex, once it ended without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_digest: Option<String>,
    /// The error that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskFailure>,
}
