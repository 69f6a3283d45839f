//! A task as the scheduler needs it: who asks, how much work it is, and until when.
//!
//! Not here: the prompt, the sampling parameters and the seed; the driver keeps those and the
//! scheduler never needs them to decide.

use crate::fleet::SetId;
use crate::ids::{SessionId, TaskId, TenantId};
use crate::priority::Priority;
use crate::time::MonoTime;

/// What is known of a task when it is submitted. It does not change afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// The task's id, never used for two tasks.
    pub id: TaskId,
    /// Who submitted it.
    pub tenant: TenantId,
    /// The conversation it belongs to; the replica that served it last is warm for it.
    pub session: Option<SessionId>,
    /// Its class.
    pub priority: Priority,
    /// The replica set that may run it.
    pub set: SetId,
    /// Prompt tokens, estimated. What the engine counts at the end corrects later estimates.
    pub tokens_in: u32,
    /// The most tokens it may generate.
    pub max_tokens: u32,
    /// The tokens that the client expects it to generate, where it said so.
    pub expected_tokens: Option<u32>,
    /// The time by which the client asked it to have ended.
    pub deadline: Option<MonoTime>,
    /// The time by which it must have ended where the client asked for none.
    pub default_deadline: MonoTime,
    /// The memory it holds while it is queued.
    pub bytes: u64,
}

impl TaskSpec {
    /// The time at which the task ends, whatever happens: the client's deadline, else the default.
    #[must_use]
    pub fn must_end_by(&self) -> MonoTime {
        self.deadline.unwrap_or(self.default_deadline)
    }
}
