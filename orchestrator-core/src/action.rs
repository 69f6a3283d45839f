//! What the scheduler tells the driver to do.

use std::time::Duration;

use crate::fleet::FullPolicy;
use crate::ids::{PoolId, ReplicaId, TaskId};

/// An effect for the driver to carry out, in the order of the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The submitted task is admitted and will end in exactly one `Finished`.
    Admitted {
        /// The task.
        task: TaskId,
        /// What to tell the client.
        admission: Admission,
    },
    /// The submitted task is not admitted. Nothing else changed and nothing follows.
    Refused {
        /// The task.
        task: TaskId,
        /// Why.
        reason: Refusal,
    },
    /// Start the task on this replica.
    Dispatch {
        /// The task.
        task: TaskId,
        /// The attempt's number, from 1. It fences off events of earlier attempts.
        attempt: u32,
        /// The replica's pool.
        pool: PoolId,
        /// The replica.
        replica: ReplicaId,
        /// The process that is meant; a later one must not get this attempt.
        incarnation: u64,
        /// The engine's slot to use.
        slot: u32,
        /// Whether the session's last turn ran in this slot and nothing has since.
        kv_warm: bool,
    },
    /// Stop the attempt's stream, then report `SlotReleased` when the engine has let go.
    Abort {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Why.
        why: AbortReason,
    },
    /// The task has ended. Exactly one for each admitted task.
    // spec: ORCH-2002
    Finished {
        /// The task.
        task: TaskId,
        /// How.
        outcome: Outcome,
    },
}

/// What is promised to an admitted task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admission {
    /// How many queued tasks are expected to start earlier.
    pub queue_position: usize,
    /// When it is expected to start, counted from its admission.
    pub predicted_start: Duration,
    /// The chance to end by the deadline that the client asked for, if it asked for one.
    pub on_time_probability: Option<f64>,
}

/// Why a task was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its class of the queue is full and the policy found no room.
    #[error("the queue is full ({policy}); try again in {retry_after:?}")]
    QueueFull {
        /// The policy that was applied.
        policy: FullPolicy,
        /// When a place is expected to be free.
        retry_after: Duration,
    },
    /// No pool serves this set.
    #[error("no pool serves this replica set; choose a model that a pool serves")]
    UnknownSet,
    /// No replica of the set is Ready, and none is expected to be in time.
    #[error("no replica is ready in time; try again in {retry_after:?}")]
    NoReplica {
        /// When to try again.
        retry_after: Duration,
    },
    /// The deadline has passed, or is missed even at the best rate ever measured.
    #[error("the deadline cannot be met: at least {estimate:?} is needed; allow more time")]
    DeadlineUnmet {
        /// The least time it needs, from now.
        estimate: Duration,
    },
    /// The task alone needs more memory than its class of the queue may hold.
    #[error("the task needs {bytes} bytes and its queue may hold {bound}; make it smaller")]
    OverBytes {
        /// What it needs.
        bytes: u64,
        /// What the queue may hold.
        bound: u64,
    },
    /// A task of this id is queued or running, or still holds a slot.
    #[error("a task of this id is still there; use a new id")]
    DuplicateTask,
}

/// Why an attempt is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// The client cancelled the task.
    Canceled,
    /// The task's deadline has come.
    DeadlineUnmet,
    /// The process that ran it is gone; nothing of this attempt counts any more.
    ReplicaGone,
}

/// How an admitted task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The engine ended it.
    Completed,
    /// The client cancelled it.
    Canceled,
    /// It failed.
    Failed(FailReason),
}

/// Why an admitted task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// It gave way to a newer task in a full queue.
    #[error("dropped from a full queue ({policy})")]
    DroppedFromQueue {
        /// The policy that chose it.
        policy: FullPolicy,
    },
    /// Its deadline came first.
    #[error("the deadline passed before the task ended")]
    DeadlineUnmet,
    /// Its replica failed after a token was visible, or once too often.
    #[error("the worker failed while it ran the task")]
    WorkerReset,
    /// The engine stopped sending tokens after one was visible, or once too often.
    #[error("the worker sent no token in time")]
    Timeout,
    /// The engine refused the request.
    #[error("the worker refused the request")]
    RequestRejected,
    /// The last pool of its set is gone.
    #[error("no pool serves the task's model any more")]
    PoolUnavailable,
}
