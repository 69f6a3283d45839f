//! The error envelope, the same for every call and for `error` events.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::kind::{EngineName, FullQueuePolicy, names};

names! {
    /// A machine-readable cause. Stable: clients branch on it.
    // spec: ORCH-2006, OC-CTRL-2030
    ErrorCode {
        /// The request is malformed or out of range; `details.field` names what.
        InvalidParams = "INVALID_PARAMS",
        /// No key, or an unknown one.
        Unauthorized = "UNAUTHORIZED",
        /// The key does not carry the needed scope.
        Forbidden = "FORBIDDEN",
        /// Unknown task, pool, model or path.
        NotFound = "NOT_FOUND",
        /// The stream's tokens are no longer kept; `details.outcome` has the outcome.
        StreamExpired = "STREAM_EXPIRED",
        /// The store cannot take admissions now.
        StorageUnavailable = "STORAGE_UNAVAILABLE",
        /// The same id with another body, or a change that the present state does not allow.
        Conflict = "CONFLICT",
        /// The queue is full.
        AdmissionReject = "ADMISSION_REJECT",
        /// The task gave way to another in a full queue.
        QueueFullDropLru = "QUEUE_FULL_DROP_LRU",
        /// Too many requests of this client.
        RateLimited = "RATE_LIMITED",
        /// The tenant's quota is used up.
        QuotaExceeded = "QUOTA_EXCEEDED",
        /// The session's budget is used up.
        BudgetExhausted = "BUDGET_EXHAUSTED",
        /// The pool is known, and not ready.
        PoolUnready = "POOL_UNREADY",
        /// No pool can serve this.
        PoolUnavailable = "POOL_UNAVAILABLE",
        /// Every replica was tried.
        ReplicaExhausted = "REPLICA_EXHAUSTED",
        /// The deadline cannot be met, or has passed.
        DeadlineUnmet = "DEADLINE_UNMET",
        /// The model takes no new sessions.
        ModelDeprecated = "MODEL_DEPRECATED",
        /// The model's origin cannot be verified.
        UntrustedArtifact = "UNTRUSTED_ARTIFACT",
        /// The engine stopped producing.
        DecodeTimeout = "DECODE_TIMEOUT",
        /// The worker died or broke its stream.
        WorkerReset = "WORKER_RESET",
        /// A defect of this software.
        Internal = "INTERNAL",
    }
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retriable(self) -> bool {
        match self {
            Self::StorageUnavailable
            | Self::AdmissionReject
            | Self::QueueFullDropLru
            | Self::RateLimited
            | Self::QuotaExceeded
            | Self::PoolUnready
            | Self::PoolUnavailable
            | Self::ReplicaExhausted
            | Self::DecodeTimeout
            | Self::WorkerReset
            | Self::Internal => true,
            Self::InvalidParams
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::StreamExpired
            | Self::Conflict
            | Self::BudgetExhausted
            | Self::DeadlineUnmet
            | Self::ModelDeprecated
            | Self::UntrustedArtifact => false,
        }
    }
}

/// What an error is about, where that helps to mend it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetails {
    /// Path of the offending field, for instance `sampling.top_p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What exists instead, for instance the models that are served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available: Vec<String>,
    /// The outcome of a task whose stream has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<crate::task::TaskStatus>,
}

/// The body of every error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The cause.
    pub code: ErrorCode,
    /// What happened and what to do about it.
    #[schema(example = "`max_tokens` must be at least 1")]
    pub message: String,
    /// The engine, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// The pool, where one was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<String>,
    /// Whether the same request may succeed later.
    pub retriable: bool,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The full-queue policy that refused the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_label: Option<FullQueuePolicy>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<ErrorDetails>>,
    /// The id that stands in every log line of this request.
    pub correlation_id: String,
}
