//! Read-only views for display and metrics. Nothing here is needed to decide.

use std::time::Duration;

use super::Scheduler;
use crate::fleet::{Readiness, SetId, SetKey};
use crate::ids::{PoolId, ReplicaId, TaskId};
use crate::live::{Availability, Pool, Replica, ReplicaSet};
use crate::prediction::{Forecast, span};
use crate::priority::{ByPriority, Priority};
use crate::selection;

/// A replica set as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct SetSnapshot {
    /// Its id.
    pub set: SetId,
    /// What its replicas have in common.
    pub key: SetKey,
    /// How many tasks each class may queue.
    pub capacity: u64,
    /// How many bytes each class may queue.
    pub bytes: u64,
    /// How many tasks are queued.
    pub queue_depth: ByPriority<usize>,
    /// When a new, average task of each class would start, if any slot is in sight.
    pub predicted_start: ByPriority<Option<Duration>>,
    /// The pools that serve it, by id.
    pub pools: Vec<PoolSnapshot>,
}

/// A pool of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSnapshot {
    /// Its id.
    pub pool: PoolId,
    /// Its replicas, by id.
    pub replicas: Vec<ReplicaSnapshot>,
}

/// A replica of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSnapshot {
    /// Its id.
    pub replica: ReplicaId,
    /// Which process it is.
    pub incarnation: u64,
    /// Whether it takes work; a rest after a fault shows as starting.
    pub readiness: Readiness,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Slots that are taken, by running tasks or by ended ones whose release is not proven yet.
    pub taken_slots: usize,
    /// Free memory on its devices.
    pub free_vram_bytes: u64,
    /// Generated tokens a second of one task, where measured.
    pub tokens_per_s: Option<f64>,
}

impl Scheduler {
    /// The set of that key, while a pool serves it.
    #[must_use]
    pub fn set_id(&self, key: &SetKey) -> Option<SetId> {
        self.set_ids.get(key).copied()
    }

    /// How many tasks of the class are queued in the set.
    #[must_use]
    pub fn queue_depth(&self, set: SetId, priority: Priority) -> usize {
        self.sets
            .get(&set)
            .map_or(0, |set| set.queue.class(priority).len())
    }

    /// How many tasks are expected to start before this one; `None` unless it is queued.
    // spec: ORCH-3459
    #[must_use]
    pub fn position(&self, task: TaskId) -> Option<usize> {
        let live = self.tasks.get(&task).filter(|live| live.run.is_none())?;
        let queue = &self.sets.get(&live.spec.set)?.queue;
        let ahead = selection::ahead_of(queue, live.spec.priority, live.order);
        usize::try_from(ahead.tasks).ok()
    }

    /// How long from now until a queued task starts; `None` where no slot is in sight.
    #[must_use]
    pub fn predicted_start(&self, task: TaskId) -> Option<Duration> {
        self.forecast_queued(task)
            .map(|forecast| span(forecast.start.mean))
    }

    /// A queued task's chance to end by the deadline that its client asked for.
    // spec: ORCH-3084, ORCH-3100
    #[must_use]
    pub fn on_time_probability(&self, task: TaskId) -> Option<f64> {
        let deadline = self.tasks.get(&task)?.spec.deadline?;
        let forecast = self.forecast_queued(task)?;
        Some(forecast.on_time_probability(deadline.since(self.now)))
    }

    /// All sets, by id.
    // spec: ORCH-2104
    pub fn sets(&self) -> impl Iterator<Item = SetSnapshot> + '_ {
        self.sets
            .iter()
            .map(|(id, set)| self.set_snapshot(*id, set))
    }

    fn forecast_queued(&self, task: TaskId) -> Option<Forecast> {
        let live = self.tasks.get(&task).filter(|live| live.run.is_none())?;
        let queue = &self.sets.get(&live.spec.set)?.queue;
        let ahead = selection::ahead_of(queue, live.spec.priority, live.order);
        self.forecast(&live.spec, ahead)
    }

    fn set_snapshot(&self, id: SetId, set: &ReplicaSet) -> SetSnapshot {
        let bound = set.bound();
        let depth = |class| set.queue.class(class).len();
        let start = |class| self.start_of_newcomer(set, class);
        SetSnapshot {
            set: id,
            key: set.key.clone(),
            capacity: bound.tasks,
            bytes: bound.bytes,
            queue_depth: ByPriority {
                interactive: depth(Priority::Interactive),
                batch: depth(Priority::Batch),
            },
            predicted_start: ByPriority {
                interactive: start(Priority::Interactive),
                batch: start(Priority::Batch),
            },
            pools: set
                .pools
                .iter()
                .map(|(pool, known)| self.pool_snapshot(pool, known))
                .collect(),
        }
    }

    fn start_of_newcomer(&self, set: &ReplicaSet, priority: Priority) -> Option<Duration> {
        let ahead = selection::ahead_of(&set.queue, priority, self.admissions);
        let each = set.experience.service(set.experience.rates(), ahead);
        let forecast = Forecast::of(&self.slots_free_in(set), ahead.tasks, each, each)?;
        Some(span(forecast.start.mean))
    }

    fn pool_snapshot(&self, pool: &PoolId, known: &Pool) -> PoolSnapshot {
        let replicas = known.replicas.iter().map(|(id, replica)| ReplicaSnapshot {
            replica: id.clone(),
            incarnation: replica.incarnation,
            readiness: self.readiness(replica),
            slots: replica.slots,
            taken_slots: replica.taken.len(),
            free_vram_bytes: replica.free_vram_bytes,
            tokens_per_s: replica
                .rates
                .filter(|rates| rates.are_measured())
                .map(|rates| rates.decode().mean.recip()),
        });
        PoolSnapshot {
            pool: pool.clone(),
            replicas: replicas.collect(),
        }
    }

    fn readiness(&self, replica: &Replica) -> Readiness {
        let until = match (replica.availability, replica.trust.rests_until) {
            (Availability::Unavailable, _) => return Readiness::Unavailable,
            (Availability::Ready, None) => return Readiness::Ready,
            (Availability::Ready, Some(rested)) => rested,
            (Availability::Starting { ready_at }, _) => ready_at,
        };
        Readiness::Starting {
            eta: until.since(self.now),
        }
    }
}
