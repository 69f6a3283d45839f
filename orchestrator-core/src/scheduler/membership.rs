//! Pools and replicas coming, changing and going, and the life of the sets they form.

use std::collections::BTreeMap;

use super::{Scheduler, Step, Timer};
use crate::action::{FailReason, Outcome};
use crate::fleet::{PoolView, ReplicaView, SetId, SetKey};
use crate::ids::{PoolId, ReplicaId, TaskId};
use crate::live::{AttemptId, Pool, Replica, ReplicaSet};

/// A process that is gone, with what it leaves behind.
type Gone = (ReplicaId, Replica);

impl Scheduler {
    // spec: ORCH-3007
    pub(super) fn pool_changed(&mut self, view: PoolView, step: &mut Step<'_>) {
        let earlier = self.pools.get(&view.pool).map(|set| &self.sets[set].key);
        if earlier.is_some_and(|key| *key != view.set) {
            self.pool_removed(&view.pool, step);
        }
        let PoolView {
            pool,
            set,
            capacity,
            bytes,
            full_policy,
            replicas,
        } = view;
        let id = self.set_for(set);
        self.pools.insert(pool.clone(), id);
        let set = self
            .sets
            .get_mut(&id)
            .expect("the set was just found or made");
        let known = set
            .pools
            .remove(&pool)
            .map(|pool| pool.replicas)
            .unwrap_or_default();
        let (replicas, gone) = self.renewed(known, &replicas);
        let set = self
            .sets
            .get_mut(&id)
            .expect("the set was just found or made");
        set.pools.insert(
            pool.clone(),
            Pool {
                capacity,
                bytes,
                full_policy,
                replicas,
            },
        );
        step.touch(id);
        self.replicas_gone(&pool, gone, step);
    }

    pub(super) fn pool_removed(&mut self, pool: &PoolId, step: &mut Step<'_>) {
        let Some(id) = self.pools.remove(pool) else {
            return;
        };
        let set = self.sets.get_mut(&id).expect("a pool's set exists");
        let known = set.pools.remove(pool).expect("a pool is known to its set");
        step.touch(id);
        self.replicas_gone(pool, known.replicas.into_iter().collect(), step);
    }

    /// Ends a set that no pool serves any more, and what is queued for it.
    // spec: ORCH-3018
    pub(super) fn close_set(&mut self, id: SetId, step: &mut Step<'_>) {
        let queued: Vec<TaskId> = self.sets[&id].queue.tasks().collect();
        for task in queued {
            self.unqueue(task);
            self.finish(task, Outcome::Failed(FailReason::PoolUnavailable), step);
        }
        let set = self.sets.remove(&id).expect("the set was just read");
        self.set_ids.remove(&set.key);
    }

    /// The set of that key, made now if it is new.
    fn set_for(&mut self, key: SetKey) -> SetId {
        if let Some(id) = self.set_ids.get(&key) {
            return *id;
        }
        let id = SetId(self.sets_made);
        self.sets_made += 1;
        self.set_ids.insert(key.clone(), id);
        self.sets.insert(id, ReplicaSet::new(key));
        id
    }

    /// The pool's replicas after a report, and those of before whose process is gone.
    ///
    /// A new process of a replica keeps what was learned of its speed: same device, same model.
    fn renewed(
        &self,
        mut known: BTreeMap<ReplicaId, Replica>,
        views: &[ReplicaView],
    ) -> (BTreeMap<ReplicaId, Replica>, Vec<Gone>) {
        let views: BTreeMap<_, _> = views.iter().map(|view| (&view.replica, view)).collect();
        let mut replicas = BTreeMap::new();
        let mut gone = Vec::new();
        for (id, view) in views {
            let replica = match known.remove(id) {
                Some(mut same) if same.incarnation == view.incarnation => {
                    same.refresh(view, self.now);
                    same
                }
                Some(earlier) => {
                    let rates = earlier.rates;
                    gone.push((id.clone(), earlier));
                    Replica {
                        rates,
                        ..Replica::new(view, self.now)
                    }
                }
                None => Replica::new(view, self.now),
            };
            replicas.insert(id.clone(), replica);
        }
        gone.extend(known);
        (replicas, gone)
    }

    fn replicas_gone(&mut self, pool: &PoolId, gone: Vec<Gone>, step: &mut Step<'_>) {
        for (id, replica) in gone {
            if let Some(until) = replica.trust.rests_until {
                self.timers.remove(&(until, Timer::Rest(pool.clone(), id)));
            }
            let attempts: Vec<AttemptId> = replica.taken.into_values().collect();
            attempts
                .into_iter()
                .for_each(|attempt| self.attempt_lost(attempt, step));
        }
    }
}
