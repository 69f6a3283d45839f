//! The invariants of the scheduler that its state shows, as code. S1 to S10 are listed above.
//!
//! S1, S3, S6 and S10 are about steps and not about states; the property tests check them against
//! a model of their own.

use std::collections::BTreeSet;

use super::{Scheduler, Timer};
use crate::live::{AttemptId, SlotRef};
use crate::priority::Priority;

/// Debug builds check after every call while there are at most this many tasks. The check is
/// linear, and a daemon built for debugging must stay usable with a long queue.
const CHEAP: usize = 64;

impl Scheduler {
    /// Checks all invariants that the state shows.
    ///
    /// # Panics
    /// When one does not hold, with its number and what breaks it.
    #[track_caller]
    pub fn check_invariants(&self) {
        self.order_follows_admission();
        self.slots_have_one_owner();
        self.trials_are_running();
        self.nothing_placeable_waits();
        self.timers_are_complete();
        self.sets_match_pools_and_tasks();
        assert!(
            self.sessions.len() <= self.limits.sessions,
            "more sessions than the limit"
        );
    }

    pub(super) fn check_invariants_if_cheap(&self) {
        if cfg!(debug_assertions) && self.tasks.len() + self.held.len() <= CHEAP {
            self.check_invariants();
        }
    }

    #[track_caller]
    fn order_follows_admission(&self) {
        for (id, set) in &self.sets {
            for class in Priority::ALL {
                let orders: Vec<u64> = set
                    .queue
                    .class(class)
                    .oldest_first()
                    .map(|t| self.tasks[&t].order)
                    .collect();
                assert!(
                    orders.is_sorted(),
                    "S2: {class} of {id} is out of order: {orders:?}"
                );
            }
        }
    }

    #[track_caller]
    fn slots_have_one_owner(&self) {
        let running = self.tasks.iter().filter_map(|(task, live)| {
            let slot = live.run.as_ref()?.slot.clone();
            Some((
                slot,
                AttemptId {
                    task: *task,
                    attempt: live.attempts,
                },
            ))
        });
        let held = self
            .held
            .iter()
            .map(|(attempt, held)| (held.slot.clone(), *attempt));
        let owners: BTreeSet<(SlotRef, AttemptId)> = running.chain(held).collect();
        assert_eq!(
            owners,
            self.taken_slots(),
            "S4: owners of slots and records of slots differ"
        );
    }

    fn taken_slots(&self) -> BTreeSet<(SlotRef, AttemptId)> {
        let mut records = BTreeSet::new();
        for (set, known) in &self.sets {
            for (pool, replica, known) in known.replicas() {
                records.extend(known.taken.iter().map(|(slot, attempt)| {
                    let (pool, replica) = (pool.clone(), replica.clone());
                    (
                        SlotRef {
                            set: *set,
                            pool,
                            replica,
                            slot: *slot,
                        },
                        *attempt,
                    )
                }));
            }
        }
        records
    }

    #[track_caller]
    fn trials_are_running(&self) {
        for (_, replica, known) in self.sets.values().flat_map(|set| set.replicas()) {
            if let Some(trial) = known.trust.trial {
                assert!(
                    self.running(trial).is_some(),
                    "S5: {replica} waits for a trial that is over"
                );
                assert!(
                    known.trust.faults > 0,
                    "S5: {replica} has a trial without a fault"
                );
            }
        }
    }

    #[track_caller]
    fn nothing_placeable_waits(&self) {
        for id in self.sets.keys() {
            let next = self.next_start(*id);
            assert!(next.is_none(), "S7: {id} could start {next:?}");
        }
    }

    #[track_caller]
    fn timers_are_complete(&self) {
        let deadlines = self
            .tasks
            .iter()
            .map(|(task, live)| (live.spec.must_end_by(), Timer::Deadline(*task)));
        let holds = self
            .held
            .iter()
            .map(|(attempt, held)| (held.until, Timer::Hold(*attempt)));
        let replicas = self.sets.values().flat_map(|set| set.replicas());
        let rests = replicas.filter_map(|(pool, replica, known)| {
            Some((
                known.trust.rests_until?,
                Timer::Rest(pool.clone(), replica.clone()),
            ))
        });
        let timers: BTreeSet<_> = deadlines.chain(holds).chain(rests).collect();
        assert_eq!(
            timers, self.timers,
            "S8: timers and what they are for differ"
        );
    }

    #[track_caller]
    fn sets_match_pools_and_tasks(&self) {
        let served = self
            .sets
            .iter()
            .flat_map(|(id, set)| set.pools.keys().map(move |p| (p, id)));
        let served: BTreeSet<_> = served.collect();
        assert_eq!(
            served,
            self.pools.iter().collect(),
            "S9: pools and sets differ"
        );
        assert_eq!(
            self.set_ids.len(),
            self.sets.len(),
            "S9: a set is missing or left over"
        );
        for (id, set) in &self.sets {
            assert!(!set.pools.is_empty(), "S9: nobody serves {id}");
            assert_eq!(
                self.set_ids.get(&set.key),
                Some(id),
                "S9: {id} is not found by its key"
            );
            let queued: BTreeSet<_> = set.queue.tasks().collect();
            let waiting = self
                .tasks
                .iter()
                .filter(|(_, t)| t.spec.set == *id && t.run.is_none());
            assert_eq!(
                queued,
                waiting.map(|(task, _)| *task).collect(),
                "S9: queue of {id}"
            );
        }
    }
}
