//! Which queued task of a set starts next: the one place that knows the order across classes.
//!
//! Interactive work goes strictly first, and inside a class the earlier admission. Everything else
//! asks here: dispatch for the next task, predictions for what is ahead of one.

use crate::ids::TaskId;
use crate::priority::Priority;
use crate::queue::{Load, SetQueue};

/// The task that starts next.
// spec: OC-CORE-1004
pub(crate) fn next(queue: &SetQueue) -> Option<TaskId> {
    let (task, _) = Priority::ALL
        .into_iter()
        .find_map(|class| queue.class(class).nth(0))?;
    Some(task)
}

/// What starts before a task of this class with this admission number.
pub(crate) fn ahead_of(queue: &SetQueue, priority: Priority, order: u64) -> Load {
    let more_urgent = Priority::ALL.into_iter().filter(|class| *class < priority);
    more_urgent
        .map(|class| queue.class(class).total())
        .fold(queue.class(priority).ahead_of(order), Load::plus)
}
