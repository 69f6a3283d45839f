//! The queue of one replica set: a bounded, ordered list of tasks for each priority class.
//!
//! Bounds are per set and per class: a class may hold as many tasks and bytes as the set's pools
//! add up to. ORCH-3004 asks for a bound per pool and priority, and a task waits for its set and
//! not for a pool, so the set's classes get the sum of what the pools would have had. Both classes
//! together hold at most twice that, also where shedding lends places of batch to interactive.
//!
//! Not here: which class is served first (`selection`).

mod ranked;
mod room;

pub(crate) use ranked::Ranked;
pub(crate) use room::{Bound, QueueIsFull, make_room};

use crate::ids::TaskId;
use crate::priority::{ByPriority, Priority};
use crate::task::TaskSpec;

/// What queued tasks add up to. Whole numbers, so that sums are exact in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// How many tasks.
    pub(crate) tasks: u64,
    /// The memory they hold.
    pub(crate) bytes: u64,
    /// Their prompt tokens, as estimated at submission.
    pub(crate) tokens_in: u64,
    /// The tokens their clients expect, where they said so.
    pub(crate) tokens_expected: u64,
    /// The most tokens the others may generate.
    pub(crate) tokens_limit: u64,
}

impl Load {
    /// The load of one task.
    pub(crate) fn of(spec: &TaskSpec) -> Self {
        let limit = u64::from(spec.max_tokens);
        let expected = spec.expected_tokens.map(|said| u64::from(said).min(limit));
        Self {
            tasks: 1,
            bytes: spec.bytes,
            tokens_in: u64::from(spec.tokens_in),
            tokens_expected: expected.unwrap_or(0),
            tokens_limit: if expected.is_some() { 0 } else { limit },
        }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            tasks: self.tasks + other.tasks,
            bytes: self.bytes.saturating_add(other.bytes),
            tokens_in: self.tokens_in + other.tokens_in,
            tokens_expected: self.tokens_expected + other.tokens_expected,
            tokens_limit: self.tokens_limit + other.tokens_limit,
        }
    }
}

/// The queued tasks of a set, by class and in order of admission.
// spec: OC-CORE-1001, OC-CORE-1003
#[derive(Clone, Debug, Default)]
pub(crate) struct SetQueue {
    classes: ByPriority<Ranked>,
}

impl SetQueue {
    /// One class of it.
    pub(crate) fn class(&self, priority: Priority) -> &Ranked {
        &self.classes[priority]
    }

    /// Puts a task in its place: `order` is its admission number, also on its way back.
    pub(crate) fn insert(&mut self, order: u64, spec: &TaskSpec) {
        self.classes[spec.priority].insert(order, spec.id, Load::of(spec));
    }

    /// Takes a task out and says whether it was there.
    pub(crate) fn remove(&mut self, priority: Priority, order: u64) -> bool {
        self.classes[priority].remove(order)
    }

    /// All queued tasks, the more urgent class first.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        Priority::ALL
            .into_iter()
            .flat_map(|priority| self.classes[priority].oldest_first())
    }

    /// What both classes add up to.
    pub(crate) fn total(&self) -> Load {
        self.classes
            .interactive
            .total()
            .plus(self.classes.batch.total())
    }
}
