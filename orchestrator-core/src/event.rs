//! What the driver tells the scheduler.

use std::time::Duration;

use crate::fleet::PoolView;
use crate::ids::{PoolId, TaskId};
use crate::task::TaskSpec;

/// Something that happened. Events about an attempt that is over are stale and change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task asks for admission. Answered by `Admitted` or `Refused` in the same call.
    Submitted(TaskSpec),
    /// A pool is as described, whatever was known before.
    PoolChanged(PoolView),
    /// A pool is gone with all its replicas.
    PoolRemoved(PoolId),
    /// The attempt's first token was seen now; from here on the task is not retried.
    Started {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
    },
    /// The attempt goes on. Optional; it sharpens predictions.
    Progressed {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Tokens generated so far.
        tokens_out: u32,
    },
    /// The attempt is over.
    Ended {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// How.
        result: AttemptResult,
    },
    /// The engine is known to have freed the attempt's slot.
    ///
    /// Owed after an `Abort` and after a replica or timeout fault; elsewhere the end itself is the
    /// proof.
    SlotReleased {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
    },
    /// The client cancels the task.
    Cancelled {
        /// The task.
        task: TaskId,
    },
    /// Nothing but the time. Due by [`crate::scheduler::Scheduler::next_wakeup`].
    TimePassed,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The adapter saw the engine's own end, so the slot is free.
    Completed {
        /// Prompt tokens, as the engine counted them.
        tokens_in: u32,
        /// Generated tokens.
        tokens_out: u32,
        /// How long the prompt took, up to the first token.
        prefill: Duration,
        /// How long the generated tokens took.
        decode: Duration,
    },
    /// It failed.
    Failed {
        /// Whose fault it was.
        fault: Fault,
    },
}

impl AttemptResult {
    /// Whether the result itself proves that the engine is done with the slot.
    #[must_use]
    pub const fn proves_slot_free(self) -> bool {
        matches!(
            self,
            Self::Completed { .. }
                | Self::Failed {
                    fault: Fault::Request
                }
        )
    }
}

/// Whose fault a failed attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The replica died, broke the connection or answered nonsense.
    Replica,
    /// No first token, or no further token, within the adapter's limits.
    Timeout,
    /// The engine refused this request; another replica would too.
    Request,
}
