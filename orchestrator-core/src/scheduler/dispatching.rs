//! Dispatch: free slots get the next tasks of their set.

use super::{Scheduler, Step};
use crate::action::Action;
use crate::fleet::SetId;
use crate::ids::{PoolId, ReplicaId, SessionId, TaskId};
use crate::live::{AttemptId, Replica, ReplicaSet, Run, SlotRef};
use crate::placement::{Candidate, Placement, place};
use crate::prediction::span;
use crate::queue::Load;
use crate::selection;
use crate::task::TaskSpec;

impl Scheduler {
    /// Starts tasks of the set until none is queued or none can be placed.
    // spec: OC-CORE-1105
    pub(super) fn fill_slots(&mut self, set: SetId, step: &mut Step<'_>) {
        while let Some((task, placement)) = self.next_start(set) {
            self.unqueue(task);
            self.start(task, placement, step);
        }
    }

    /// The set's next task and its place, if it has both.
    pub(super) fn next_start(&self, set: SetId) -> Option<(TaskId, Placement)> {
        let set = self.sets.get(&set)?;
        let task = selection::next(&set.queue)?;
        let spec = &self.tasks[&task].spec;
        let placement = place(set.replicas().map(|known| self.candidate(set, spec, known))).ok()?;
        Some((task, placement))
    }

    fn candidate<'a>(
        &self,
        set: &'a ReplicaSet,
        spec: &TaskSpec,
        (pool, replica, known): (&'a PoolId, &'a ReplicaId, &'a Replica),
    ) -> Candidate<'a> {
        let rates = set.experience.rates_for(&known.rates);
        let busy = u32::try_from(known.taken.len()).unwrap_or(u32::MAX);
        let service = set
            .experience
            .service(rates, Load::of(spec))
            .beside(busy, rates);
        let warm_slot = spec.session.and_then(|session| {
            let last = self.sessions.last(session)?;
            let here = last.pool == *pool && last.replica == *replica;
            (here && is_warm(known, last.slot, session)).then_some(last.slot)
        });
        Candidate {
            pool,
            replica,
            accepts: known.accepts(),
            free_slot: known.free_slot(),
            warm_slot,
            prefill: span(service.prefill.mean),
            decode: span(service.decode.mean),
            free_vram_bytes: known.free_vram_bytes,
        }
    }

    fn start(&mut self, task: TaskId, placement: Placement, step: &mut Step<'_>) {
        let Placement {
            pool,
            replica,
            slot,
            kv_warm,
        } = placement;
        let live = self.tasks.get_mut(&task).expect("a queued task is live");
        live.attempts += 1;
        let attempt = AttemptId {
            task,
            attempt: live.attempts,
        };
        let set = live.spec.set;
        let slot_ref = SlotRef {
            set,
            pool: pool.clone(),
            replica: replica.clone(),
            slot,
        };
        live.run = Some(Run {
            slot: slot_ref.clone(),
            dispatched: self.now,
            progress: None,
            kv_warm,
            released: false,
        });
        let session = live.spec.session;
        let incarnation = self.take_slot(&slot_ref, attempt, session);
        if let Some(session) = session {
            self.sessions.remember(session, slot_ref);
        }
        let attempt = attempt.attempt;
        step.push(Action::Dispatch {
            task,
            attempt,
            pool,
            replica,
            incarnation,
            slot,
            kv_warm,
        });
    }

    /// Writes the attempt down as the slot's taker and returns the process that it meets there.
    fn take_slot(&mut self, slot: &SlotRef, attempt: AttemptId, session: Option<SessionId>) -> u64 {
        let set = self
            .sets
            .get_mut(&slot.set)
            .expect("placement chose a replica of a known set");
        let replica = set
            .replica_mut(slot)
            .expect("placement chose a known replica");
        let earlier = replica.taken.insert(slot.slot, attempt);
        assert_eq!(earlier, None, "slot {} was taken already", slot.slot);
        match session {
            Some(session) => replica.resident.insert(slot.slot, session),
            None => replica.resident.remove(&slot.slot),
        };
        replica.trust.begin(attempt);
        replica.incarnation
    }
}

/// Whether the slot is free and the session was the last to run in it. A new process starts with
/// nobody in its slots.
// spec: ORCH-3009, OC-CORE-1013
fn is_warm(replica: &Replica, slot: u32, session: SessionId) -> bool {
    replica.resident.get(&slot) == Some(&session) && replica.is_free(slot)
}
