//! Admission: a submitted task is admitted with a promise or refused with a reason.
//!
//! All checks come before the first change, so a refusal changes nothing.
//! Not here: checks of the request itself, rate limits, quotas and budgets.

use std::time::Duration;

use super::{Scheduler, Step, Timer};
use crate::action::{Action, Admission, FailReason, Outcome, Refusal};
use crate::fleet::FullPolicy;
use crate::ids::TaskId;
use crate::live::{AttemptId, LiveTask, ReplicaSet};
use crate::prediction::span;
use crate::queue::{QueueIsFull, make_room};
use crate::selection;
use crate::task::TaskSpec;

/// A hint to come back in no time invites a storm of retries.
const SOONEST_RETRY: Duration = Duration::from_millis(100);
/// A hint beyond a minute is a guess, and clients that obey it find an idle queue.
const LATEST_RETRY: Duration = Duration::from_secs(60);

impl Scheduler {
    pub(super) fn submitted(&mut self, spec: TaskSpec, step: &mut Step<'_>) {
        let task = spec.id;
        match self.room_for(&spec) {
            Ok((policy, leaving)) => {
                leaving
                    .into_iter()
                    .for_each(|old| self.drop_queued(old, policy, step));
                self.admit(spec, step);
            }
            Err(reason) => step.push(Action::Refused { task, reason }),
        }
    }

    /// Whether the task may come in, and who has to give way for it by which policy.
    fn room_for(&self, spec: &TaskSpec) -> Result<(FullPolicy, Vec<TaskId>), Refusal> {
        if self.is_in_use(spec.id) {
            return Err(Refusal::DuplicateTask);
        }
        let set = self.sets.get(&spec.set).ok_or(Refusal::UnknownSet)?;
        let bound = set.bound();
        if spec.bytes > bound.bytes {
            return Err(Refusal::OverBytes {
                bytes: spec.bytes,
                bound: bound.bytes,
            });
        }
        self.check_deadline(set, spec)?;
        self.check_replicas(set, spec)?;
        let policy = set.full_policy()[spec.priority];
        let leaving = make_room(&set.queue, bound, policy, (spec.priority, spec.bytes));
        match leaving {
            Ok(leaving) => Ok((policy, leaving)),
            Err(QueueIsFull) => Err(Refusal::QueueFull {
                policy,
                retry_after: self.next_place_in(set),
            }),
        }
    }

    /// Whether the id belongs to a task, or to an ended one whose slot is still held: its late
    /// events could not be told from a new task's.
    // spec: ORCH-3024
    fn is_in_use(&self, task: TaskId) -> bool {
        let any_attempt = AttemptId { task, attempt: 0 }..=AttemptId {
            task,
            attempt: u32::MAX,
        };
        let holds_a_slot = self.held.range(any_attempt).next().is_some();
        holds_a_slot || self.tasks.contains_key(&task)
    }

    // spec: ORCH-3080, ORCH-3081
    fn check_deadline(&self, set: &ReplicaSet, spec: &TaskSpec) -> Result<(), Refusal> {
        let left = spec.must_end_by().since(self.now);
        let estimate = set.experience.least_time(spec).unwrap_or_default();
        if left.is_zero() || estimate > left {
            return Err(Refusal::DeadlineUnmet { estimate });
        }
        Ok(())
    }

    /// A set without a Ready replica still admits what a coming one can start in time.
    // spec: ORCH-3460
    fn check_replicas(&self, set: &ReplicaSet, spec: &TaskSpec) -> Result<(), Refusal> {
        let soonest = set
            .replicas()
            .filter_map(|(.., known)| known.available_from(self.now))
            .min();
        match soonest {
            Some(at) if at < spec.must_end_by() => Ok(()),
            Some(at) => Err(Refusal::NoReplica {
                retry_after: retry_after(at.since(self.now)),
            }),
            None => Err(Refusal::NoReplica {
                retry_after: self.limits.retry_hint,
            }),
        }
    }

    /// When the queue is expected to move up.
    fn next_place_in(&self, set: &ReplicaSet) -> Duration {
        let soonest = self.slots_free_in(set).into_iter().reduce(f64::min);
        retry_after(soonest.map_or(self.limits.retry_hint, span))
    }

    // spec: OC-CORE-1002, OC-CORE-1122
    fn drop_queued(&mut self, task: TaskId, policy: FullPolicy, step: &mut Step<'_>) {
        self.unqueue(task);
        self.finish(
            task,
            Outcome::Failed(FailReason::DroppedFromQueue { policy }),
            step,
        );
    }

    // spec: ORCH-2001, OC-CORE-1003
    fn admit(&mut self, spec: TaskSpec, step: &mut Step<'_>) {
        let order = self.admissions;
        self.admissions += 1;
        let admission = self.promise(&spec, order);
        step.push(Action::Admitted {
            task: spec.id,
            admission,
        });
        step.touch(spec.set);
        self.timers
            .insert((spec.must_end_by(), Timer::Deadline(spec.id)));
        let task = LiveTask {
            spec,
            order,
            attempts: 0,
            visible: false,
            run: None,
        };
        self.enqueue(task);
    }

    /// What the client is told.
    // spec: ORCH-3458, ORCH-3459, ORCH-3456, ORCH-3084, OC-CORE-1106
    fn promise(&self, spec: &TaskSpec, order: u64) -> Admission {
        let ahead = selection::ahead_of(&self.sets[&spec.set].queue, spec.priority, order);
        let forecast = self.forecast(spec, ahead);
        let start = forecast.map(|known| span(known.start.mean));
        let asked = spec.deadline.map(|deadline| deadline.since(self.now));
        Admission {
            queue_position: usize::try_from(ahead.tasks).unwrap_or(usize::MAX),
            predicted_start: start.unwrap_or_default(),
            on_time_probability: forecast
                .zip(asked)
                .map(|(forecast, left)| forecast.on_time_probability(left)),
        }
    }

    /// Puts a task into its set's queue, a retried one at its old place.
    pub(super) fn enqueue(&mut self, task: LiveTask) {
        let set = self
            .sets
            .get_mut(&task.spec.set)
            .expect("a live task's set has a pool");
        set.queue.insert(task.order, &task.spec);
        self.tasks.insert(task.spec.id, task);
    }

    /// Takes a queued task out of its queue. It still has to be finished or started.
    pub(super) fn unqueue(&mut self, task: TaskId) {
        let live = &self.tasks[&task];
        let set = self
            .sets
            .get_mut(&live.spec.set)
            .expect("a live task's set has a pool");
        let was_queued = set.queue.remove(live.spec.priority, live.order);
        debug_assert!(was_queued, "{task} was not queued");
    }
}

fn retry_after(expected: Duration) -> Duration {
    expected.clamp(SOONEST_RETRY, LATEST_RETRY)
}
