//! Room for a newcomer: the one place where a full-queue policy is consulted.
//!
//! Pure: it says who gives way and changes nothing, so a refusal leaves the queue as it was.

use super::{Load, Ranked, SetQueue};
use crate::fleet::FullPolicy;
use crate::ids::TaskId;
use crate::priority::Priority;

/// What each class of a set's queue may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Tasks.
    pub(crate) tasks: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// The class is full and the policy found nobody to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueIsFull;

/// What a newcomer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shortage {
    tasks: u64,
    bytes: u64,
}

/// Finds room for one more task of `bytes` and returns who has to give way, in order of going.
///
/// One in, one out: a class that is above its bound because a pool left or a failed attempt came
/// back is not cut down to size; it just does not grow.
// spec: ORCH-3004, ORCH-3005, OC-CORE-1001, OC-CORE-1002
pub(crate) fn make_room(
    queue: &SetQueue,
    bound: Bound,
    policy: FullPolicy,
    (priority, bytes): (Priority, u64),
) -> Result<Vec<TaskId>, QueueIsFull> {
    let short = shortage(queue.class(priority).total(), queue.total(), bound, bytes);
    if short == (Shortage { tasks: 0, bytes: 0 }) {
        return Ok(Vec::new());
    }
    match (policy, priority) {
        (FullPolicy::DropLru, _) => give_way(queue.class(priority), short, Oldest),
        (FullPolicy::ShedLowPriority, Priority::Interactive) => {
            give_way(queue.class(Priority::Batch), short, Newest)
        }
        (FullPolicy::ShedLowPriority, Priority::Batch) | (FullPolicy::Reject, _) => {
            Err(QueueIsFull)
        }
    }
}

fn shortage(class: Load, both: Load, bound: Bound, bytes: u64) -> Shortage {
    let over = |held: u64, newcomer: u64, bound: u64| {
        held.saturating_add(newcomer)
            .saturating_sub(bound)
            .min(newcomer)
    };
    let in_tasks = |held: Load, times: u64| over(held.tasks, 1, bound.tasks.saturating_mul(times));
    let in_bytes =
        |held: Load, times: u64| over(held.bytes, bytes, bound.bytes.saturating_mul(times));
    Shortage {
        tasks: in_tasks(class, 1).max(in_tasks(both, 2)),
        bytes: in_bytes(class, 1).max(in_bytes(both, 2)),
    }
}

/// Which end of a class gives way first.
enum End {
    Oldest,
    Newest,
}
use End::{Newest, Oldest};

fn give_way(class: &Ranked, short: Shortage, end: End) -> Result<Vec<TaskId>, QueueIsFull> {
    let mut leaving = Vec::new();
    let mut freed = Load::default();
    while freed.tasks < short.tasks || freed.bytes < short.bytes {
        let rank = match end {
            Oldest => Some(leaving.len()),
            Newest => class.len().checked_sub(leaving.len() + 1),
        };
        let (task, load) = rank.and_then(|rank| class.nth(rank)).ok_or(QueueIsFull)?;
        leaving.push(task);
        freed = freed.plus(load);
    }
    Ok(leaving)
}
