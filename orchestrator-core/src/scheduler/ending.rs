//! What happens to running attempts: progress, ends, aborts, retries and the release of slots.
//!
//! A task's end is told at once; its slot is free only when the engine is known to have let go.

use super::{Limits, Scheduler, Step, Timer};
use crate::action::{AbortReason, Action, FailReason, Outcome};
use crate::event::{AttemptResult, Fault};
use crate::ids::{PoolId, ReplicaId, TaskId};
use crate::live::{AttemptId, Held, LiveTask, Run, SlotRef};
use crate::prediction::Completion;

impl Scheduler {
    /// The task and the run of this attempt, if it is the one that is running.
    // spec: ORCH-3442
    pub(super) fn running(&self, attempt: AttemptId) -> Option<(&LiveTask, &Run)> {
        let task = self
            .tasks
            .get(&attempt.task)
            .filter(|task| task.attempts == attempt.attempt)?;
        Some((task, task.run.as_ref()?))
    }

    /// The first token came (`None`), or so many have come.
    pub(super) fn progressed(
        &mut self,
        attempt: AttemptId,
        tokens_out: Option<u32>,
        step: &mut Step<'_>,
    ) {
        if self.running(attempt).is_none() || tokens_out == Some(0) {
            return;
        }
        let task = self
            .tasks
            .get_mut(&attempt.task)
            .expect("its attempt is running");
        let run = task.run.as_mut().expect("its attempt is running");
        task.visible = true;
        let known = run.progress.map_or(0, |(tokens, _)| tokens);
        let tokens = tokens_out.unwrap_or(1);
        if tokens > known {
            run.progress = Some((tokens, self.now));
        }
        let slot = run.slot.clone();
        self.replica_proven(&slot, attempt, step);
    }

    pub(super) fn ended(&mut self, attempt: AttemptId, result: AttemptResult, step: &mut Step<'_>) {
        let Some((_, run)) = self.running(attempt) else {
            // The task has been told its end; this tells at least that the engine is done.
            if result.proves_slot_free() {
                self.slot_released(attempt, step);
            }
            return;
        };
        let slot = run.slot.clone();
        if result.proves_slot_free() {
            self.replica_proven(&slot, attempt, step);
            self.learn(attempt, result);
            self.free_slot(&slot, attempt, step);
        } else {
            self.replica_fault(&slot);
            self.leave_slot(attempt, step);
        }
        match result {
            AttemptResult::Completed { .. } => self.finish(attempt.task, Outcome::Completed, step),
            AttemptResult::Failed {
                fault: Fault::Request,
            } => {
                self.finish(
                    attempt.task,
                    Outcome::Failed(FailReason::RequestRejected),
                    step,
                );
            }
            AttemptResult::Failed {
                fault: Fault::Replica,
            } => {
                self.retry_or_fail(attempt.task, FailReason::WorkerReset, step);
            }
            AttemptResult::Failed {
                fault: Fault::Timeout,
            } => {
                self.retry_or_fail(attempt.task, FailReason::Timeout, step);
            }
        }
    }

    /// The engine let go of the slot. Reported ahead of the end, it is remembered until then.
    // spec: ORCH-3017, ORCH-3431
    pub(super) fn slot_released(&mut self, attempt: AttemptId, step: &mut Step<'_>) {
        if let Some(held) = self.held.remove(&attempt) {
            self.timers.remove(&(held.until, Timer::Hold(attempt)));
            self.free_slot(&held.slot, attempt, step);
        } else if self.running(attempt).is_some() {
            let task = self
                .tasks
                .get_mut(&attempt.task)
                .expect("its attempt is running");
            task.run.as_mut().expect("its attempt is running").released = true;
        }
    }

    // spec: ORCH-2003, ORCH-3026, OC-CORE-1005
    pub(super) fn cancelled(&mut self, task: TaskId, step: &mut Step<'_>) {
        if self.tasks.contains_key(&task) {
            self.stop(task, AbortReason::Canceled, Outcome::Canceled, step);
        }
    }

    // spec: ORCH-3016, ORCH-3455, ORCH-3456
    pub(super) fn deadline_passed(&mut self, task: TaskId, step: &mut Step<'_>) {
        let outcome = Outcome::Failed(FailReason::DeadlineUnmet);
        self.stop(task, AbortReason::DeadlineUnmet, outcome, step);
    }

    pub(super) fn hold_ended(&mut self, attempt: AttemptId, step: &mut Step<'_>) {
        if let Some(held) = self.held.remove(&attempt) {
            self.free_slot(&held.slot, attempt, step);
        }
    }

    pub(super) fn rest_ended(&mut self, pool: &PoolId, replica: &ReplicaId, step: &mut Step<'_>) {
        let Some(id) = self.pools.get(pool).copied() else {
            return;
        };
        let set = self.sets.get_mut(&id).expect("a pool's set exists");
        let known = set
            .pools
            .get_mut(pool)
            .and_then(|pool| pool.replicas.get_mut(replica));
        if let Some(known) = known {
            known.trust.rests_until = None;
            step.touch(id);
        }
    }

    /// The process of this attempt is gone, its slot with it; the task may have another try.
    // spec: ORCH-3442
    pub(super) fn attempt_lost(&mut self, attempt: AttemptId, step: &mut Step<'_>) {
        if let Some(held) = self.held.remove(&attempt) {
            self.timers.remove(&(held.until, Timer::Hold(attempt)));
            return;
        }
        let AttemptId { task, attempt } = attempt;
        step.push(Action::Abort {
            task,
            attempt,
            why: AbortReason::ReplicaGone,
        });
        self.retry_or_fail(task, FailReason::WorkerReset, step);
    }

    /// Tells the task's end. The caller has taken it out of the queue or off its slot.
    // spec: ORCH-2002
    pub(super) fn finish(&mut self, task: TaskId, outcome: Outcome, step: &mut Step<'_>) {
        let live = self
            .tasks
            .remove(&task)
            .expect("only a live task can finish");
        self.timers
            .remove(&(live.spec.must_end_by(), Timer::Deadline(task)));
        step.push(Action::Finished { task, outcome });
    }

    /// Ends a task wherever it is. What runs is aborted and its slot held until the proof.
    fn stop(&mut self, task: TaskId, why: AbortReason, outcome: Outcome, step: &mut Step<'_>) {
        let live = &self.tasks[&task];
        let attempt = AttemptId {
            task,
            attempt: live.attempts,
        };
        if live.run.is_some() {
            step.push(Action::Abort {
                task,
                attempt: attempt.attempt,
                why,
            });
            self.leave_slot(attempt, step);
        } else {
            self.unqueue(task);
        }
        self.finish(task, outcome, step);
    }

    /// Queues a task again after a fault, or fails it when a token was seen or its tries are used.
    // spec: ORCH-3415, ORCH-3416, OC-CORE-1145
    fn retry_or_fail(&mut self, task: TaskId, reason: FailReason, step: &mut Step<'_>) {
        let live = &self.tasks[&task];
        if live.visible || live.attempts >= self.limits.attempts {
            self.finish(task, Outcome::Failed(reason), step);
            return;
        }
        let again = LiveTask {
            run: None,
            ..live.clone()
        };
        step.touch(again.spec.set);
        self.enqueue(again);
    }

    /// Parts an attempt that is over from its slot, which is held unless its release is known.
    fn leave_slot(&mut self, attempt: AttemptId, step: &mut Step<'_>) {
        let (_, run) = self
            .running(attempt)
            .expect("only a running attempt leaves its slot");
        let (slot, released) = (run.slot.clone(), run.released);
        if released {
            self.free_slot(&slot, attempt, step);
            return;
        }
        let until = self.now.after(self.limits.slot_hold);
        self.timers.insert((until, Timer::Hold(attempt)));
        let set = self
            .sets
            .get_mut(&slot.set)
            .expect("a running attempt's set has a pool");
        set.replica_mut(&slot)
            .expect("a running attempt's replica is known")
            .trust
            .end(attempt);
        self.held.insert(attempt, Held { slot, until });
        step.touch(self.held[&attempt].slot.set);
    }

    fn free_slot(&mut self, slot: &SlotRef, attempt: AttemptId, step: &mut Step<'_>) {
        let set = self
            .sets
            .get_mut(&slot.set)
            .expect("a taken slot's set has a pool");
        let replica = set
            .replica_mut(slot)
            .expect("a taken slot's replica is known");
        let taker = replica.taken.remove(&slot.slot);
        assert_eq!(
            taker,
            Some(attempt),
            "slot {} was not the attempt's",
            slot.slot
        );
        replica.trust.end(attempt);
        step.touch(slot.set);
    }

    fn replica_proven(&mut self, slot: &SlotRef, attempt: AttemptId, step: &mut Step<'_>) {
        let set = self
            .sets
            .get_mut(&slot.set)
            .expect("a running attempt's set has a pool");
        let replica = set
            .replica_mut(slot)
            .expect("a running attempt's replica is known");
        let rested_until = replica.trust.rests_until;
        replica.trust.proven_by(attempt);
        if replica.trust.rests_until.is_none()
            && let Some(until) = rested_until
        {
            let rest = Timer::Rest(slot.pool.clone(), slot.replica.clone());
            self.timers.remove(&(until, rest));
        }
        step.touch(slot.set);
    }

    fn replica_fault(&mut self, slot: &SlotRef) {
        let set = self
            .sets
            .get_mut(&slot.set)
            .expect("a running attempt's set has a pool");
        let replica = set
            .replica_mut(slot)
            .expect("a running attempt's replica is known");
        let Limits {
            fault_rest,
            fault_rest_max,
            ..
        } = self.limits;
        replica.trust.fault(self.now, fault_rest, fault_rest_max);
        if let Some(until) = replica.trust.rests_until {
            self.timers
                .insert((until, Timer::Rest(slot.pool.clone(), slot.replica.clone())));
        }
    }

    fn learn(&mut self, attempt: AttemptId, result: AttemptResult) {
        let AttemptResult::Completed {
            tokens_in,
            tokens_out,
            prefill,
            decode,
        } = result
        else {
            return;
        };
        let task = &self.tasks[&attempt.task];
        let run = task.run.as_ref().expect("its attempt is running");
        let set = self
            .sets
            .get_mut(&run.slot.set)
            .expect("a running attempt's set has a pool");
        let mut experience = set.experience;
        let replica = set
            .replica_mut(&run.slot)
            .expect("a running attempt's replica is known");
        let done = Completion {
            tokens_in,
            tokens_out,
            prefill,
            decode,
            kv_warm: run.kv_warm,
            taken_slots: u32::try_from(replica.taken.len()).unwrap_or(u32::MAX),
        };
        experience.learn(&task.spec, &done, &mut replica.rates);
        set.experience = experience;
    }
}
