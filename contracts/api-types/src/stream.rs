//! The events of a task's stream. Each is one SSE frame with one line of JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorCode;
use crate::kind::{DeviceClass, EngineName};
use crate::task::FinishReason;

/// Names of the SSE events, in the order in which a stream may show them.
// spec: ORCH-2002, OC-CTRL-2020
pub const EVENT_NAMES: [&str; 5] = ["started", "token", "metrics", "end", "error"];

/// `started`: a replica has taken the task. At most once, never repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SSEStarted)]
pub struct StartedEvent {
    /// The position at admission.
    pub queue_position: u64,
    /// The start predicted at admission.
    pub predicted_start_ms: u64,
    /// The engine.
    pub engine: EngineName,
    /// Its version.
    pub engine_version: String,
    /// Digest of the model file.
    pub model_digest: String,
    /// The pool.
    pub pool_id: String,
    /// The replica.
    pub replica_id: String,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// Whether the session's cache is expected on this replica.
    pub kv_warmth: bool,
    /// The seed in use.
    pub seed: u32,
}

/// `token`: a piece of text. Its SSE `id` is opaque and serves to resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SSEToken)]
pub struct TokenEvent {
    /// The text: whole characters only.
    #[schema(example = "The pale ")]
    pub t: String,
    /// Index of this frame, from 0, without gaps.
    pub i: u64,
}

/// `metrics`: how the queue and the task stand. Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SSEMetrics)]
pub struct MetricsEvent {
    /// Tasks queued in the set.
    pub queue_depth: u64,
    /// The chance to end before the deadline; null without one.
    pub on_time_probability: Option<f64>,
    /// Whether the session's cache is expected on this replica.
    pub kv_warmth: bool,
}

/// `end`: the task ended without an error. Nothing follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SSEEnd)]
pub struct EndEvent {
    /// Prompt tokens.
    pub tokens_in: u32,
    /// Generated tokens.
    pub tokens_out: u32,
    /// Time the engine spent generating.
    pub decode_time_ms: u64,
    /// Time between admission and start.
    pub queue_time_ms: u64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// SHA-256 of the whole text, in hex.
    pub text_digest: String,
}

/// `error`: the task ended with an error. Nothing follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SSEError)]
pub struct ErrorEvent {
    /// The cause.
    pub code: ErrorCode,
    /// What happened and what to do about it.
    pub message: String,
    /// The engine, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// The pool, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// Whether the same task may succeed later.
    pub retriable: bool,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether text had been visible before.
    pub partial: bool,
}
