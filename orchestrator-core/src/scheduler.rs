//! The scheduler: events and the time in, actions out.
//!
//! ```text
//!             Refused               ┌─── retry: no token seen, tries left ───┐
//!                ▲                  ▼                                         │
//! Submitted ─────┴─ Admitted ──▶ queued ── Dispatch ──▶ running ── Ended, replica gone
//!                                   │                      │                  │
//!               cancel, deadline,   │   cancel, deadline:  │   done, refused, │
//!               dropped, pools gone │   Abort              │   seen, no tries │
//!                                   ▼                      ▼                  ▼
//!                                Finished               Finished           Finished
//!
//! slot:  free ── Dispatch ──▶ taken ── end proven by the engine ──▶ free
//!                               └── any other end ──▶ held ── SlotReleased, limit ──▶ free
//! ```
//!
//! In each call the time passes first, then the event counts, then free slots are filled. So a
//! deadline beats an end that is reported at the same moment.
//!
//! # Invariants
//! - S1 Admission never takes a class of a set's queue beyond its bound, but for places that
//!   shedding took from batch; nor both classes beyond twice the bound. [OC-CORE-1001]
//! - S2 Within a class, tasks are dispatched in order of admission; a retried task keeps its place,
//!   which is in front of all that came after it. [OC-CORE-1003, OC-CORE-1004]
//! - S3 Each admitted task ends in exactly one `Finished`, and no action names it afterwards.
//!   [ORCH-2002]
//! - S4 Each taken slot belongs to one attempt, and each attempt that runs or holds takes one slot.
//! - S5 A dispatch goes to a Ready replica, into a free slot within its slot count. [ORCH-3010]
//! - S6 Events of attempts that are over change no task. [ORCH-3442]
//! - S7 After a call no task is queued that could be placed.
//! - S8 Each task has its deadline among the timers, and each held slot and resting replica its
//!   end.
//! - S9 A set exists while a pool serves it, and queues exactly the tasks of it that do not run.
//! - S10 A `Refused` leaves everything as it was.
//!
//! Cost: O(log n) in queued tasks for every event, times the replicas and slots of the sets that
//! the event touches.
//!
//! Not here: the order across classes (`selection`), who gives way in a full queue
//! (`queue`), where a task runs ([`crate::placement`]), how long it takes
//! (`prediction`).

mod admission;
mod dispatching;
mod ending;
mod forecasting;
mod invariants;
mod membership;
mod snapshot;
#[cfg(test)]
mod tests;

pub use snapshot::{PoolSnapshot, ReplicaSnapshot, SetSnapshot};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::action::Action;
use crate::event::Event;
use crate::fleet::{SetId, SetKey};
use crate::ids::{PoolId, ReplicaId, TaskId};
use crate::live::{AttemptId, Held, LiveTask, ReplicaSet};
use crate::session::Sessions;
use crate::time::MonoTime;

/// The bounds that the scheduler keeps besides those of its pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often a task is dispatched at most.
    pub attempts: u32,
    /// How long an ended attempt holds its slot without proof that the engine let go.
    pub slot_hold: Duration,
    /// How long a replica takes no work after a fault; doubled with each fault in a row.
    pub fault_rest: Duration,
    /// Where that doubling ends.
    pub fault_rest_max: Duration,
    /// When to try again where no replica is expected at any known time.
    pub retry_hint: Duration,
    /// How many sessions' last slots are remembered.
    pub sessions: usize,
}

impl Limits {
    /// What the product ships with.
    pub const STANDARD: Self = Self {
        // A fault that survives two other attempts is most likely the task's own.
        attempts: 3,
        // Longer than any engine needs to notice an abort, shorter than a person's patience.
        slot_hold: Duration::from_secs(60),
        // The curve of the agent's own restarts, so that both try again in step.
        fault_rest: Duration::from_secs(1),
        fault_rest_max: Duration::from_secs(60),
        // A few lease renewals: long enough for a returning agent to report.
        retry_hint: Duration::from_secs(10),
        sessions: 4_096,
    };
}

/// All queues, slots and promises of one orchestratord. See the module for its rules.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    now: MonoTime,
    /// Admissions so far: the next task's place in the order.
    admissions: u64,
    /// Sets so far: the next set's id.
    sets_made: u32,
    set_ids: BTreeMap<SetKey, SetId>,
    sets: BTreeMap<SetId, ReplicaSet>,
    /// The set that each pool serves.
    pools: BTreeMap<PoolId, SetId>,
    tasks: BTreeMap<TaskId, LiveTask>,
    held: BTreeMap<AttemptId, Held>,
    timers: BTreeSet<(MonoTime, Timer)>,
    sessions: Sessions,
}

/// What happens when time passes. Also the order among timers of the same moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A task ends.
    Deadline(TaskId),
    /// An ended attempt's slot is taken back.
    Hold(AttemptId),
    /// A replica has rested after a fault.
    Rest(PoolId, ReplicaId),
}

/// One call's effects: the actions, and the sets in which a slot or a task may be free now.
struct Step<'a> {
    actions: &'a mut Vec<Action>,
    touched: BTreeSet<SetId>,
}

impl Step<'_> {
    fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn touch(&mut self, set: SetId) {
        self.touched.insert(set);
    }
}

impl Scheduler {
    /// A scheduler that knows no pool and no task.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: MonoTime::ZERO,
            admissions: 0,
            sets_made: 0,
            set_ids: BTreeMap::new(),
            sets: BTreeMap::new(),
            pools: BTreeMap::new(),
            tasks: BTreeMap::new(),
            held: BTreeMap::new(),
            timers: BTreeSet::new(),
            sessions: Sessions::new(limits.sessions),
        }
    }

    /// Takes in an event and appends what is to be done about it, in order.
    ///
    /// `now` must not run backwards; an earlier time counts as the latest one seen.
    pub fn handle(&mut self, event: Event, now: MonoTime, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        let mut step = Step {
            actions,
            touched: BTreeSet::new(),
        };
        self.let_time_pass(&mut step);
        self.take_in(event, &mut step);
        self.settle(step);
        self.check_invariants_if_cheap();
    }

    /// When to call [`Self::handle`] with `TimePassed` at the latest, if nothing happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn let_time_pass(&mut self, step: &mut Step<'_>) {
        while let Some((at, _)) = self.timers.first()
            && *at <= self.now
        {
            let (_, timer) = self
                .timers
                .pop_first()
                .expect("a first timer was just seen");
            match timer {
                Timer::Deadline(task) => self.deadline_passed(task, step),
                Timer::Hold(attempt) => self.hold_ended(attempt, step),
                Timer::Rest(pool, replica) => self.rest_ended(&pool, &replica, step),
            }
        }
    }

    fn take_in(&mut self, event: Event, step: &mut Step<'_>) {
        match event {
            Event::Submitted(spec) => self.submitted(spec, step),
            Event::PoolChanged(view) => self.pool_changed(view, step),
            Event::PoolRemoved(pool) => self.pool_removed(&pool, step),
            Event::Started { task, attempt } => {
                self.progressed(AttemptId { task, attempt }, None, step);
            }
            Event::Progressed {
                task,
                attempt,
                tokens_out,
            } => {
                self.progressed(AttemptId { task, attempt }, Some(tokens_out), step);
            }
            Event::Ended {
                task,
                attempt,
                result,
            } => {
                self.ended(AttemptId { task, attempt }, result, step);
            }
            Event::SlotReleased { task, attempt } => {
                self.slot_released(AttemptId { task, attempt }, step);
            }
            Event::Cancelled { task } => self.cancelled(task, step),
            Event::TimePassed => {}
        }
    }

    /// Ends the sets that nobody serves any more and fills the free slots of the others.
    fn settle(&mut self, step: Step<'_>) {
        let Step { actions, touched } = step;
        let mut step = Step {
            actions,
            touched: BTreeSet::new(),
        };
        for set in touched {
            if self
                .sets
                .get(&set)
                .is_some_and(|known| known.pools.is_empty())
            {
                self.close_set(set, &mut step);
            } else {
                self.fill_slots(set, &mut step);
            }
        }
        debug_assert!(
            step.touched.is_empty(),
            "settling frees no slot and queues no task"
        );
    }
}
