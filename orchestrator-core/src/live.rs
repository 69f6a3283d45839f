//! The scheduler's own record of tasks, sets and replicas.
//!
//! Counts of load are never kept: a slot is taken because a record says by whom, so a lost or
//! doubled report cannot drive a count below zero or let it drift.
//!
//! Not here: transitions; the modules below `scheduler` make them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fleet::{FullPolicy, Readiness, ReplicaView, SetId, SetKey};
use crate::ids::{PoolId, ReplicaId, SessionId, TaskId};
use crate::prediction::{Experience, Rates};
use crate::priority::ByPriority;
use crate::queue::{Bound, SetQueue};
use crate::task::TaskSpec;
use crate::time::MonoTime;

/// A slot of a replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotRef {
    pub(crate) set: SetId,
    pub(crate) pool: PoolId,
    pub(crate) replica: ReplicaId,
    pub(crate) slot: u32,
}

/// One attempt at a task: what slots, fences and events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttemptId {
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
}

/// An admitted task that has not ended. It is queued while it has no run.
#[derive(Clone, Debug)]
pub(crate) struct LiveTask {
    pub(crate) spec: TaskSpec,
    /// Its admission number: its place in the queue, also after a retry.
    pub(crate) order: u64,
    /// Attempts dispatched so far.
    pub(crate) attempts: u32,
    /// Whether a token was seen; from then on it is not retried.
    pub(crate) visible: bool,
    pub(crate) run: Option<Run>,
}

/// The attempt that is running.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) slot: SlotRef,
    pub(crate) dispatched: MonoTime,
    /// The last known count of generated tokens, and when it was known.
    pub(crate) progress: Option<(u32, MonoTime)>,
    pub(crate) kv_warm: bool,
    /// Whether the engine's release of the slot was reported ahead of the end.
    pub(crate) released: bool,
}

/// A slot that an ended attempt still takes, and until when at most.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) slot: SlotRef,
    pub(crate) until: MonoTime,
}

/// A replica set: its queue, its pools, and what was learned of it.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaSet {
    pub(crate) key: SetKey,
    pub(crate) queue: SetQueue,
    pub(crate) pools: BTreeMap<PoolId, Pool>,
    pub(crate) experience: Experience,
}

impl ReplicaSet {
    pub(crate) fn new(key: SetKey) -> Self {
        Self {
            key,
            queue: SetQueue::default(),
            pools: BTreeMap::new(),
            experience: Experience::NONE,
        }
    }

    /// What each class of the queue may hold: the pools' capacities added up.
    // spec: ORCH-3004, OC-CORE-1104
    pub(crate) fn bound(&self) -> Bound {
        self.pools
            .values()
            .fold(Bound::default(), |sum, pool| Bound {
                tasks: sum.tasks.saturating_add(pool.capacity as u64),
                bytes: sum.bytes.saturating_add(pool.bytes),
            })
    }

    /// The full-queue policies: those of the first pool by id.
    pub(crate) fn full_policy(&self) -> ByPriority<FullPolicy> {
        self.pools
            .values()
            .next()
            .map(|pool| pool.full_policy)
            .unwrap_or_default()
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = (&PoolId, &ReplicaId, &Replica)> {
        self.pools.iter().flat_map(|(pool, known)| {
            known
                .replicas
                .iter()
                .map(move |(replica, known)| (pool, replica, known))
        })
    }

    pub(crate) fn replica_mut(&mut self, slot: &SlotRef) -> Option<&mut Replica> {
        self.pools
            .get_mut(&slot.pool)?
            .replicas
            .get_mut(&slot.replica)
    }
}

/// A pool's part of a set.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) capacity: usize,
    pub(crate) bytes: u64,
    pub(crate) full_policy: ByPriority<FullPolicy>,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
}

/// Whether a replica takes work, with times on the scheduler's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    Ready,
    Starting { ready_at: MonoTime },
    Unavailable,
}

impl Availability {
    fn since(now: MonoTime, readiness: Readiness) -> Self {
        match readiness {
            Readiness::Ready => Self::Ready,
            Readiness::Starting { eta } => Self::Starting {
                ready_at: now.after(eta),
            },
            Readiness::Unavailable => Self::Unavailable,
        }
    }
}

/// One process of a replica.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) incarnation: u64,
    pub(crate) slots: u32,
    pub(crate) availability: Availability,
    pub(crate) free_vram_bytes: u64,
    /// Who takes which slot, ended attempts that still hold one included.
    // spec: OC-CORE-1140, OC-CORE-1141, OC-CORE-1142
    pub(crate) taken: BTreeMap<u32, AttemptId>,
    /// The session whose cache is in a slot: the last one that ran there.
    pub(crate) resident: BTreeMap<u32, SessionId>,
    /// Its own rates, once a task has ended on it.
    pub(crate) rates: Option<Rates>,
    pub(crate) trust: Trust,
}

impl Replica {
    pub(crate) fn new(view: &ReplicaView, now: MonoTime) -> Self {
        Self {
            incarnation: view.incarnation,
            slots: view.slots,
            availability: Availability::since(now, view.readiness),
            free_vram_bytes: view.free_vram_bytes,
            taken: BTreeMap::new(),
            resident: BTreeMap::new(),
            rates: None,
            trust: Trust::default(),
        }
    }

    /// Takes over what a newer report says of the same process.
    pub(crate) fn refresh(&mut self, view: &ReplicaView, now: MonoTime) {
        self.slots = view.slots;
        self.availability = Availability::since(now, view.readiness);
        self.free_vram_bytes = view.free_vram_bytes;
    }

    /// The lowest free slot, if there is one.
    pub(crate) fn free_slot(&self) -> Option<u32> {
        let mut lowest = 0;
        for slot in self.taken.keys() {
            if *slot != lowest {
                break;
            }
            lowest += 1;
        }
        (lowest < self.slots).then_some(lowest)
    }

    pub(crate) fn is_free(&self, slot: u32) -> bool {
        slot < self.slots && !self.taken.contains_key(&slot)
    }

    /// Whether it takes a new attempt now, a free slot given.
    // spec: ORCH-3010, OC-CORE-1010
    pub(crate) fn accepts(&self) -> bool {
        self.availability == Availability::Ready && self.trust.allows_an_attempt()
    }

    /// When it is expected to take work, if anybody knows.
    pub(crate) fn available_from(&self, now: MonoTime) -> Option<MonoTime> {
        if self.slots == 0 {
            return None;
        }
        match self.availability {
            Availability::Ready => Some(self.trust.rests_until.map_or(now, |end| end.max(now))),
            Availability::Starting { ready_at } => Some(ready_at.max(now)),
            Availability::Unavailable => None,
        }
    }
}

/// How far a process is trusted after faults.
///
/// A replica that has died is reported so by its agent, but later than its streams break. Without
/// a rest, every retry would meet the dead process and use up a task's attempts at once. After the
/// rest a single attempt is the trial; when it shows a token, all is well again.
// spec: OC-CORE-1145
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Rests in a row without a good trial between them.
    pub(crate) faults: u32,
    pub(crate) rests_until: Option<MonoTime>,
    pub(crate) trial: Option<AttemptId>,
}

impl Trust {
    /// Notes a fault. One that comes while it rests tells nothing new.
    pub(crate) fn fault(&mut self, now: MonoTime, shortest: Duration, longest: Duration) {
        if self.rests_until.is_none() {
            let doubled = 2_u32.saturating_pow(self.faults);
            self.faults = self.faults.saturating_add(1);
            self.rests_until = Some(now.after(shortest.saturating_mul(doubled).min(longest)));
        }
    }

    pub(crate) fn allows_an_attempt(&self) -> bool {
        self.rests_until.is_none() && self.trial.is_none()
    }

    /// Notes an attempt on the replica.
    pub(crate) fn begin(&mut self, attempt: AttemptId) {
        if self.faults > 0 {
            self.trial = Some(attempt);
        }
    }

    /// Notes that the replica did real work for this attempt.
    pub(crate) fn proven_by(&mut self, attempt: AttemptId) {
        if self.trial == Some(attempt) {
            *self = Self::default();
        }
    }

    /// Notes that the attempt is over.
    pub(crate) fn end(&mut self, attempt: AttemptId) {
        self.trial = self.trial.filter(|trial| *trial != attempt);
    }
}
