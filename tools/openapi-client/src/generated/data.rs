//! Written by `openapi-client` from `contracts/openapi`: change the daemons and generate anew.
//!
//! Submit tasks and follow their tokens.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::call::{Answer, CallError, Connection, Operation};
use crate::generated::shared::{
    DeviceClass, EngineName, ErrorCode, FinishReason, PriorityClass, TaskStatus, Workload,
};

/// The answer to an admitted task.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AdmissionResponse {
    /// How long a polite client waits before its next submission; 0 while there is room.
    pub backoff_ms: u64,
    /// The id that stands in every log line of this request.
    pub correlation_id: String,
    /// The chance to end before the deadline; null without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_time_probability: Option<f64>,
    /// When it is expected to start, from admission.
    pub predicted_start_ms: u64,
    /// How many tasks are expected to start earlier.
    pub queue_position: u64,
    /// Its session.
    pub session_id: Uuid,
    /// Where to read its tokens, relative to this server.
    pub stream_url: String,
    /// The task.
    pub task_id: Uuid,
}

/// What a task needs of repeatability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Determinism {
    /// `strict`
    #[serde(rename = "strict")]
    Strict,
    /// `best_effort`
    #[serde(rename = "best_effort")]
    BestEffort,
}

/// What happens to a task whose client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum OnDisconnect {
    /// `keep`
    #[serde(rename = "keep")]
    Keep,
    /// `cancel`
    #[serde(rename = "cancel")]
    Cancel,
}

/// `end`: the task ended without an error. Nothing follows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SSEEnd {
    /// Time the engine spent generating.
    pub decode_time_ms: u64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Time between admission and start.
    pub queue_time_ms: u64,
    /// SHA-256 of the whole text, in hex.
    pub text_digest: String,
    /// Prompt tokens.
    pub tokens_in: u32,
    /// Generated tokens.
    pub tokens_out: u32,
}

/// `error`: the task ended with an error. Nothing follows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SSEError {
    /// The cause.
    pub code: ErrorCode,
    /// The engine, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// What happened and what to do about it.
    pub message: String,
    /// Whether text had been visible before.
    pub partial: bool,
    /// The pool, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// Whether the same task may succeed later.
    pub retriable: bool,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// `metrics`: how the queue and the task stand. Fields may be added.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SSEMetrics {
    /// Whether the session's cache is expected on this replica.
    pub kv_warmth: bool,
    /// The chance to end before the deadline; null without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_time_probability: Option<f64>,
    /// Tasks queued in the set.
    pub queue_depth: u64,
}

/// `started`: a replica has taken the task. At most once, never repeated.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SSEStarted {
    /// The kind of device.
    pub device_class: DeviceClass,
    /// The engine.
    pub engine: EngineName,
    /// Its version.
    pub engine_version: String,
    /// Whether the session's cache is expected on this replica.
    pub kv_warmth: bool,
    /// Digest of the model file.
    pub model_digest: String,
    /// The pool.
    pub pool_id: String,
    /// The start predicted at admission.
    pub predicted_start_ms: u64,
    /// The position at admission.
    pub queue_position: u64,
    /// The replica.
    pub replica_id: String,
    /// The seed in use.
    pub seed: u32,
}

/// `token`: a piece of text. Its SSE `id` is opaque and serves to resume.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SSEToken {
    /// Index of this frame, from 0, without gaps.
    pub i: u64,
    /// The text: whole characters only.
    pub t: String,
}

/// Sampler fields of a request. Absent fields keep the profile's values.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingRequest {
    /// 0 to 1; 0 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// 0.5 to 2; 1 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f64>,
    /// Up to 16 strings of 1 to 256 bytes that end the generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    /// 0 to 2; 0 means greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1,000; 0 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Above 0, to 1; 1 means off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
}

/// A task as a client posts it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Context in tokens; the set's context when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx: Option<u32>,
    /// Time from admission to the end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// What is needed of repeatability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determinism: Option<Determinism>,
    /// Which engine.
    pub engine: EngineName,
    /// A hint for the prediction of the output length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_tokens: Option<u32>,
    /// Texts to embed or to rank. Exactly one of `prompt` and `inputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<String>>,
    /// Free labels for the client's own book-keeping; they never become metric labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The most tokens to generate; required for completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Which model: an alias, a path, a catalog id or `sha256:…`.
    pub model_ref: String,
    /// What happens when the last reader leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disconnect: Option<OnDisconnect>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityClass>,
    /// The prompt. Exactly one of `prompt` and `inputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Sampler profile; `v1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler_profile_version: Option<String>,
    /// Sampler fields laid over the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingRequest>,
    /// Sampler seed, 0 to 4,294,967,294; derived from the task id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Groups the turns of one conversation; made by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
    /// Chosen by the client so that a repeat is recognised; made by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    /// What to compute.
    pub workload: Workload,
}

impl TaskRequest {
    /// With what must be there, and nothing else.
    #[must_use]
    pub fn new(engine: EngineName, model_ref: String, workload: Workload) -> Self {
        Self {
            ctx: None,
            deadline_ms: None,
            determinism: None,
            engine,
            expected_tokens: None,
            inputs: None,
            labels: None,
            max_tokens: None,
            model_ref,
            on_disconnect: None,
            priority: None,
            prompt: None,
            sampler_profile_version: None,
            sampling: None,
            seed: None,
            session_id: None,
            task_id: None,
            workload,
        }
    }
}

/// The operation `task_submit`.
pub const TASK_SUBMIT: Operation = Operation {
    id: "task_submit",
    method: Method::POST,
    path: "/v1/tasks",
    success: 202,
    refusals: &[400, 401, 403, 404, 409, 413, 415, 429, 500, 503],
    bare: &[408],
};

/// Submit a task.
///
/// Answers as soon as the task is admitted. Send a `task_id` of your own to be able to repeat
/// the call safely: an equal repeat gets the same answer, another body with the same id gets a
/// 409.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn task_submit(
    connection: &Connection,
    x_correlation_id: Option<&str>,
    body: &TaskRequest,
) -> Result<Answer<AdmissionResponse>, CallError> {
    connection
        .call(&TASK_SUBMIT, &[])
        .header("x-correlation-id", x_correlation_id)
        .body(body)
        .json()
        .await
}

/// The operation `task_read`.
pub const TASK_READ: Operation = Operation {
    id: "task_read",
    method: Method::GET,
    path: "/v1/tasks/{task_id}",
    success: 200,
    refusals: &[400, 401, 403, 404, 500, 503],
    bare: &[],
};

/// Read how a task stands.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn task_read(
    connection: &Connection,
    task_id: Uuid,
    x_correlation_id: Option<&str>,
) -> Result<Answer<TaskStatus>, CallError> {
    connection
        .call(&TASK_READ, &[&task_id.to_string()])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}

/// The operation `task_cancel`.
pub const TASK_CANCEL: Operation = Operation {
    id: "task_cancel",
    method: Method::POST,
    path: "/v1/tasks/{task_id}/cancel",
    success: 204,
    refusals: &[400, 401, 403, 404, 500, 503],
    bare: &[],
};

/// Cancel a task.
///
/// Also right for a task that has ended. After the answer nothing but `end` is added to its
/// stream.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn task_cancel(
    connection: &Connection,
    task_id: Uuid,
    x_correlation_id: Option<&str>,
) -> Result<Answer<()>, CallError> {
    connection
        .call(&TASK_CANCEL, &[&task_id.to_string()])
        .header("x-correlation-id", x_correlation_id)
        .nothing()
        .await
}

/// The operation `task_stream`.
pub const TASK_STREAM: Operation = Operation {
    id: "task_stream",
    method: Method::GET,
    path: "/v1/tasks/{task_id}/stream",
    success: 200,
    refusals: &[400, 401, 403, 404, 410, 500, 503],
    bare: &[],
};

/// Follow a task.
///
/// Server-sent events until exactly one `end` or `error`. Any number of readers may follow one
/// task, now or until its stream expires. To go on after a lost connection, send the `id` of
/// the last `token` event as `Last-Event-ID`. While nothing else is sent, a comment line comes
/// every 15 seconds.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn task_stream(
    connection: &Connection,
    task_id: Uuid,
    last_event_id: Option<&str>,
    x_correlation_id: Option<&str>,
) -> Result<reqwest::Response, CallError> {
    connection
        .call(&TASK_STREAM, &[&task_id.to_string()])
        .header("last-event-id", last_event_id)
        .header("x-correlation-id", x_correlation_id)
        .stream()
        .await
}
