//! Written by `openapi-client` from `contracts/openapi`: change the daemons and generate anew.
//!
//! The types that several documents have.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The kind of device that a pool runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum DeviceClass {
    /// `nvidia`
    #[serde(rename = "nvidia")]
    Nvidia,
    /// `cpu-ci`
    #[serde(rename = "cpu-ci")]
    CpuCi,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceStatus {
    /// Index in NVML's order.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// UUID; what configs are resolved to.
    pub uuid: String,
    /// Memory free now.
    pub vram_free_bytes: u64,
    /// Memory in all.
    pub vram_total_bytes: u64,
}

/// An inference engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum EngineName {
    /// `llamacpp`
    #[serde(rename = "llamacpp")]
    Llamacpp,
    /// `vllm`
    #[serde(rename = "vllm")]
    Vllm,
    /// `tgi`
    #[serde(rename = "tgi")]
    Tgi,
    /// `triton`
    #[serde(rename = "triton")]
    Triton,
}

/// The body of every error answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ErrorBody {
    /// The cause.
    pub code: ErrorCode,
    /// The id that stands in every log line of this request.
    pub correlation_id: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<ErrorDetails>,
    /// The engine, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// What happened and what to do about it.
    pub message: String,
    /// The full-queue policy that refused the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_label: Option<FullQueuePolicy>,
    /// The pool, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// Whether the same request may succeed later.
    pub retriable: bool,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A machine-readable cause. Stable: clients branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ErrorCode {
    /// `INVALID_PARAMS`
    #[serde(rename = "INVALID_PARAMS")]
    InvalidParams,
    /// `UNAUTHORIZED`
    #[serde(rename = "UNAUTHORIZED")]
    Unauthorized,
    /// `FORBIDDEN`
    #[serde(rename = "FORBIDDEN")]
    Forbidden,
    /// `NOT_FOUND`
    #[serde(rename = "NOT_FOUND")]
    NotFound,
    /// `STREAM_EXPIRED`
    #[serde(rename = "STREAM_EXPIRED")]
    StreamExpired,
    /// `STORAGE_UNAVAILABLE`
    #[serde(rename = "STORAGE_UNAVAILABLE")]
    StorageUnavailable,
    /// `CONFLICT`
    #[serde(rename = "CONFLICT")]
    Conflict,
    /// `ADMISSION_REJECT`
    #[serde(rename = "ADMISSION_REJECT")]
    AdmissionReject,
    /// `QUEUE_FULL_DROP_LRU`
    #[serde(rename = "QUEUE_FULL_DROP_LRU")]
    QueueFullDropLru,
    /// `RATE_LIMITED`
    #[serde(rename = "RATE_LIMITED")]
    RateLimited,
    /// `QUOTA_EXCEEDED`
    #[serde(rename = "QUOTA_EXCEEDED")]
    QuotaExceeded,
    /// `BUDGET_EXHAUSTED`
    #[serde(rename = "BUDGET_EXHAUSTED")]
    BudgetExhausted,
    /// `POOL_UNREADY`
    #[serde(rename = "POOL_UNREADY")]
    PoolUnready,
    /// `POOL_UNAVAILABLE`
    #[serde(rename = "POOL_UNAVAILABLE")]
    PoolUnavailable,
    /// `REPLICA_EXHAUSTED`
    #[serde(rename = "REPLICA_EXHAUSTED")]
    ReplicaExhausted,
    /// `DEADLINE_UNMET`
    #[serde(rename = "DEADLINE_UNMET")]
    DeadlineUnmet,
    /// `MODEL_DEPRECATED`
    #[serde(rename = "MODEL_DEPRECATED")]
    ModelDeprecated,
    /// `UNTRUSTED_ARTIFACT`
    #[serde(rename = "UNTRUSTED_ARTIFACT")]
    UntrustedArtifact,
    /// `DECODE_TIMEOUT`
    #[serde(rename = "DECODE_TIMEOUT")]
    DecodeTimeout,
    /// `WORKER_RESET`
    #[serde(rename = "WORKER_RESET")]
    WorkerReset,
    /// `INTERNAL`
    #[serde(rename = "INTERNAL")]
    Internal,
}

/// What an error is about, where that helps to mend it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ErrorDetails {
    /// What exists instead, for instance the models that are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<Vec<String>>,
    /// Path of the offending field, for instance `sampling.top_p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The outcome of a task whose stream has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TaskStatus>,
}

/// Why a task ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum FinishReason {
    /// `stop`
    #[serde(rename = "stop")]
    Stop,
    /// `length`
    #[serde(rename = "length")]
    Length,
    /// `canceled`
    #[serde(rename = "canceled")]
    Canceled,
}

/// What a full queue does with the next task of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum FullQueuePolicy {
    /// `reject`
    #[serde(rename = "reject")]
    Reject,
    /// `drop-lru`
    #[serde(rename = "drop-lru")]
    DropLru,
    /// `shed-low-priority`
    #[serde(rename = "shed-low-priority")]
    ShedLowPriority,
}

/// The whole state of one host.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// Where the agent's own API listens.
    pub api_url: String,
    /// The GPUs of this host.
    pub devices: Vec<DeviceStatus>,
    /// Made afresh at every start of the agent.
    pub incarnation: Uuid,
    /// Its pools.
    pub pools: Vec<PoolState>,
    /// Grows with every push of one incarnation; an older one is ignored.
    pub seq: u64,
    /// Version of the agent.
    pub version: String,
}

/// One pool: a model, an engine, devices, and the replicas that serve it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PoolState {
    /// Other names under which the model can be asked for.
    pub aliases: Vec<String>,
    /// Context of one task, in tokens.
    pub ctx: u32,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// Its engine.
    pub engine: EngineName,
    /// The engine's version, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The pool; unique over all nodes.
    pub id: String,
    /// `sha256:…` of the model file, once it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// The model as the config names it.
    pub model_ref: String,
    /// How its queue is bounded.
    pub queue: QueueBounds,
    /// Its workers.
    pub replicas: Vec<ReplicaState>,
    /// The sampler profile.
    pub sampler_profile_version: String,
    /// Generations at once, per replica.
    pub slots: u32,
    /// The longest waits on its engine.
    pub timeouts: PoolTimeouts,
    /// What it computes.
    pub workloads: Vec<Workload>,
}

/// The longest waits on an engine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PoolTimeouts {
    /// From the request to the first text.
    pub first_token_ms: u64,
    /// Between two pieces of text.
    pub gap_ms: u64,
}

/// How urgent a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum PriorityClass {
    /// `interactive`
    #[serde(rename = "interactive")]
    Interactive,
    /// `batch`
    #[serde(rename = "batch")]
    Batch,
}

/// Bounds of a pool's queue.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueueBounds {
    /// What a full batch queue does.
    pub batch_full: FullQueuePolicy,
    /// Bytes of requests per priority class.
    pub bytes: u64,
    /// Tasks per priority class.
    pub capacity: u32,
    /// What a full interactive queue does.
    pub interactive_full: FullQueuePolicy,
}

/// One worker process.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaState {
    /// Why it is not ready, in words that a person can act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// UUIDs of its devices; empty on a CPU.
    pub devices: Vec<String>,
    /// How to reach it, while it is ready or draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<WorkerEndpoint>,
    /// Expected time until it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
    /// The replica.
    pub id: String,
    /// Where it stands.
    pub phase: WorkerPhase,
    /// Restarts since the agent started.
    pub restarts: u64,
    /// Grows with every start of its process: a new number means that the old process is gone.
    pub start: u64,
    /// Memory free on its devices; 0 on a CPU.
    pub vram_free_bytes: u64,
}

/// The error that ended a task.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TaskFailure {
    /// The cause.
    pub code: ErrorCode,
    /// What happened and what to do about it.
    pub message: String,
    /// Whether text had been visible before.
    pub partial: bool,
}

/// Where a task runs or ran.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TaskPlacement {
    /// How often the task was started.
    pub attempts: u32,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// The engine's version.
    pub engine_version: String,
    /// Digest of the model file.
    pub model_digest: String,
    /// The pool.
    pub pool_id: String,
    /// The replica.
    pub replica_id: String,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum TaskState {
    /// `queued`
    #[serde(rename = "queued")]
    Queued,
    /// `running`
    #[serde(rename = "running")]
    Running,
    /// `done`
    #[serde(rename = "done")]
    Done,
    /// `failed`
    #[serde(rename = "failed")]
    Failed,
    /// `canceled`
    #[serde(rename = "canceled")]
    Canceled,
}

/// A task's state, timings, counts and placement.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TaskStatus {
    /// Admission, in milliseconds since 1970.
    pub admitted_unix_ms: u64,
    /// The id that stands in every log line of its admission.
    pub correlation_id: String,
    /// Time the engine spent generating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_time_ms: Option<u64>,
    /// The engine asked for.
    pub engine: EngineName,
    /// The error that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskFailure>,
    /// How it ended, when it ended without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// Time from admission to the first text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// The model asked for.
    pub model_ref: String,
    /// Where it runs or ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<TaskPlacement>,
    /// The start predicted at admission.
    pub predicted_start_ms: u64,
    /// Its class.
    pub priority: PriorityClass,
    /// Tasks ahead of it now, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// Time in the queue; so far, while it waits.
    pub queue_time_ms: u64,
    /// The seed in use.
    pub seed: u32,
    /// Its session.
    pub session_id: Uuid,
    /// Where it stands.
    pub state: TaskState,
    /// The task.
    pub task_id: Uuid,
    /// SHA-256 of the whole text, in hex, once it ended without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_digest: Option<String>,
    /// Prompt tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u32>,
    /// Generated tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u32>,
}

/// Address and key of a worker. The key is made afresh for each start and never shown to
/// clients.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerEndpoint {
    /// Bearer key, where the engine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// Base URL on the loopback interface.
    pub url: String,
}

impl WorkerEndpoint {
    /// With what must be there, and nothing else.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self { api_key: None, url }
    }
}

/// Where a worker stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum WorkerPhase {
    /// `provisioning`
    #[serde(rename = "provisioning")]
    Provisioning,
    /// `preflight`
    #[serde(rename = "preflight")]
    Preflight,
    /// `starting`
    #[serde(rename = "starting")]
    Starting,
    /// `preloading`
    #[serde(rename = "preloading")]
    Preloading,
    /// `self-test`
    #[serde(rename = "self-test")]
    SelfTest,
    /// `ready`
    #[serde(rename = "ready")]
    Ready,
    /// `draining`
    #[serde(rename = "draining")]
    Draining,
    /// `backing-off`
    #[serde(rename = "backing-off")]
    BackingOff,
    /// `broken`
    #[serde(rename = "broken")]
    Broken,
}

/// What a task computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Workload {
    /// `completion`
    #[serde(rename = "completion")]
    Completion,
    /// `embedding`
    #[serde(rename = "embedding")]
    Embedding,
    /// `rerank`
    #[serde(rename = "rerank")]
    Rerank,
}
