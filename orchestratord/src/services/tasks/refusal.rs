//! Why a task was not admitted, or cannot be read. The API gives each its status.

use std::time::Duration;

use contracts_api_types::error::ErrorCode;
use contracts_api_types::kind::FullQueuePolicy;
use contracts_api_types::task::TaskStatus;
use orchestrator_core::engine::Engine;
use uuid::Uuid;

use crate::services::stream_log::ForeignPosition;

/// Why a task was not admitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// INVALID_PARAMS.
    #[error("`{field}` {problem}")]
    BadField {
        /// The field's path.
        field: &'static str,
        /// What is wrong, with the numbers, and what to do.
        problem: String,
    },
    /// CONFLICT.
    #[error(
        "the task {task_id} exists with another body; use a new task_id, or repeat the same body"
    )]
    Conflict {
        /// The id.
        task_id: Uuid,
    },
    /// NOT_FOUND.
    #[error("no pool serves the model `{model_ref}` on {engine}; choose one of details.available")]
    UnknownModel {
        /// What was asked for.
        model_ref: String,
        /// On which engine.
        engine: Engine,
        /// What exists, each as `name (engine)`.
        available: Vec<String>,
    },
    /// ADMISSION_REJECT.
    #[error("the queue is full; try again in {} ms", retry_after.as_millis())]
    QueueFull {
        /// The engine.
        engine: Engine,
        /// The first pool of the set.
        pool_id: String,
        /// The policy that refused it.
        policy: FullQueuePolicy,
        /// When a place is expected to be free.
        retry_after: Duration,
    },
    /// POOL_UNREADY.
    #[error("the pool {pool_id} is not ready: {cause}")]
    PoolUnready {
        /// The engine.
        engine: Engine,
        /// The pool.
        pool_id: String,
        /// Why, in words to act on.
        cause: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// POOL_UNAVAILABLE.
    #[error("no pool can run this now: {cause}")]
    PoolUnavailable {
        /// The engine.
        engine: Engine,
        /// The pool that would run it.
        pool_id: String,
        /// Why it cannot, in words to act on.
        cause: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// DEADLINE_UNMET.
    #[error("the deadline cannot be met: at least {} ms are needed; allow more time", estimate.as_millis())]
    DeadlineUnmet {
        /// The engine.
        engine: Engine,
        /// The least time it needs.
        estimate: Duration,
    },
    /// ADMISSION_REJECT: more requests arrive than can be looked at.
    #[error("too many requests at once; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// POOL_UNAVAILABLE: a planned stop has begun.
    #[error("this server is stopping; try again in {} ms", retry_after.as_millis())]
    Stopping {
        /// When to try again.
        retry_after: Duration,
    },
}

impl SubmitError {
    /// The cause as clients see it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::BadField { .. } => ErrorCode::InvalidParams,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::UnknownModel { .. } => ErrorCode::NotFound,
            Self::QueueFull { .. } | Self::Overloaded { .. } => ErrorCode::AdmissionReject,
            Self::PoolUnready { .. } => ErrorCode::PoolUnready,
            Self::PoolUnavailable { .. } | Self::Stopping { .. } => ErrorCode::PoolUnavailable,
            Self::DeadlineUnmet { .. } => ErrorCode::DeadlineUnmet,
        }
    }
}

/// Why a task cannot be read or cancelled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// NOT_FOUND: never admitted, forgotten, or another tenant's.
    #[error("there is no task {task_id}; outcomes are kept for a while after the end only")]
    NotFound {
        /// The id.
        task_id: Uuid,
    },
    /// STREAM_EXPIRED, with the outcome.
    #[error("the tokens of the task {} are no longer kept; details.outcome says how it ended", outcome.task_id)]
    Expired {
        /// How it ended.
        outcome: Box<TaskStatus>,
    },
    /// INVALID_PARAMS: the place to resume from is not in this stream.
    #[error("`Last-Event-ID` cannot be resumed from: {0}")]
    BadResume(#[from] ForeignPosition),
    /// POOL_UNAVAILABLE: the daemon is going down.
    #[error("this server is stopping; try again later")]
    Stopping,
}
