//! The rules of the queue, written the slow and obvious way: lists, scans and sorting.
//!
//! The model says what must be told at each event and which task must start next. It does not
//! choose replicas; it judges the choice.

mod admission;

use std::collections::BTreeMap;

use orchestrator_core::fleet::FullPolicy;

use crate::history::{News, Ready, Report};

pub(crate) const ATTEMPTS: u32 = 3;
pub(crate) const HOLD_MS: u64 = 60;
pub(crate) const REST_MS: u64 = 10;
pub(crate) const REST_MAX_MS: u64 = 25;
pub(crate) const DEFAULT_DEADLINE_MS: u64 = 100;

/// What the scheduler tells, without figures that the model does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Admitted { task: u8, behind: usize },
    Refused { task: u8, why: Why },
    Abort { task: u8, attempt: u32, why: Stop },
    Finished { task: u8, how: How },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Duplicate,
    UnknownSet,
    Bytes,
    Late,
    NoReplica,
    Full(FullPolicy),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    Canceled,
    Late,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    Completed,
    Canceled,
    Dropped(FullPolicy),
    Late,
    Reset,
    Timeout,
    Rejected,
    NoPool,
}

/// An admitted task that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) task: u8,
    pub(crate) batch: bool,
    pub(crate) set: u8,
    bytes: u64,
    order: usize,
    deadline: u64,
    pub(crate) attempts: u32,
    visible: bool,
    pub(crate) running: bool,
}

/// A slot that is taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) task: u8,
    pub(crate) attempt: u32,
    pub(crate) pool: u8,
    pub(crate) replica: u8,
    pub(crate) slot: u32,
    /// Set once the attempt is over.
    held_until: Option<u64>,
    released: bool,
    trial: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) incarnation: u64,
    pub(crate) slots: u32,
    readiness: Ready,
    reported: u64,
    faults: u32,
    rests_until: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) set: u8,
    capacity: usize,
    bytes: u64,
    policies: [FullPolicy; 2],
    pub(crate) replicas: BTreeMap<u8, Replica>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    admissions: usize,
    pub(crate) tasks: Vec<Task>,
    pub(crate) taken: Vec<Taken>,
    pub(crate) pools: BTreeMap<u8, Pool>,
}

impl Model {
    pub(crate) fn advance(&mut self, ms: u64) -> Vec<Told> {
        self.now += ms;
        let mut told = Vec::new();
        let late: Vec<u8> = self
            .tasks
            .iter()
            .filter(|t| t.deadline <= self.now)
            .map(|t| t.task)
            .collect();
        for task in late {
            told.extend(self.stop(task, Stop::Late, How::Late));
        }
        let now = self.now;
        self.taken
            .retain(|taken| taken.held_until.is_none_or(|until| until > now));
        told
    }

    fn queue(&self, set: u8) -> Vec<Task> {
        self.tasks
            .iter()
            .filter(|t| t.set == set && !t.running)
            .cloned()
            .collect()
    }

    pub(crate) fn cancel(&mut self, task: u8) -> Vec<Told> {
        self.stop(task, Stop::Canceled, How::Canceled)
    }

    fn stop(&mut self, task: u8, why: Stop, how: How) -> Vec<Told> {
        let Some(found) = self.tasks.iter().find(|t| t.task == task).cloned() else {
            return Vec::new();
        };
        let mut told = Vec::new();
        if found.running {
            told.push(Told::Abort {
                task,
                attempt: found.attempts,
                why,
            });
            self.let_go(task, found.attempts);
        }
        told.push(self.finish(task, how));
        told
    }

    fn finish(&mut self, task: u8, how: How) -> Told {
        self.tasks.retain(|t| t.task != task);
        Told::Finished { task, how }
    }

    /// The attempt is over; its slot is free if the engine said so before, else held.
    fn let_go(&mut self, task: u8, attempt: u32) {
        let until = self.now + HOLD_MS;
        for taken in self
            .taken
            .iter_mut()
            .filter(|t| t.task == task && t.attempt == attempt)
        {
            taken.held_until = Some(until);
            taken.trial = false;
        }
        self.taken
            .retain(|t| !(t.task == task && t.attempt == attempt && t.released));
    }

    pub(crate) fn news(&mut self, task: u8, attempt: u32, news: News) -> Vec<Told> {
        let mine = |t: &Taken| t.task == task && t.attempt == attempt;
        let Some(taken) = self.taken.iter().find(|t| mine(t)).cloned() else {
            return Vec::new();
        };
        let engine_is_done = matches!(
            news,
            News::Completed { .. } | News::Rejected | News::Released
        );
        if taken.held_until.is_some() {
            if engine_is_done {
                self.taken.retain(|t| !mine(t));
            }
            return Vec::new();
        }
        match news {
            News::Progressed { tokens: 0 } => Vec::new(),
            News::Started | News::Progressed { .. } => {
                self.task_mut(task).visible = true;
                self.proven(&taken);
                Vec::new()
            }
            News::Released => {
                let taken = self
                    .taken
                    .iter_mut()
                    .find(|t| t.task == task && t.attempt == attempt);
                taken.expect("it was just found").released = true;
                Vec::new()
            }
            News::Completed { .. } | News::Rejected => {
                self.proven(&taken);
                self.taken.retain(|t| !mine(t));
                let how = if news == News::Rejected {
                    How::Rejected
                } else {
                    How::Completed
                };
                vec![self.finish(task, how)]
            }
            News::ReplicaFault | News::Timeout => {
                self.fault(&taken);
                self.let_go(task, attempt);
                let how = if news == News::Timeout {
                    How::Timeout
                } else {
                    How::Reset
                };
                self.again_or(task, how)
            }
        }
    }

    fn again_or(&mut self, task: u8, how: How) -> Vec<Told> {
        let found = self.task_mut(task);
        found.running = false;
        if found.visible || found.attempts == ATTEMPTS {
            vec![self.finish(task, how)]
        } else {
            vec![]
        }
    }

    fn task_mut(&mut self, task: u8) -> &mut Task {
        self.tasks
            .iter_mut()
            .find(|t| t.task == task)
            .expect("a running task is there")
    }

    fn replica_mut(&mut self, taken: &Taken) -> &mut Replica {
        let pool = self.pools.get_mut(&taken.pool).expect("its pool is there");
        pool.replicas
            .get_mut(&taken.replica)
            .expect("its replica is there")
    }

    fn proven(&mut self, taken: &Taken) {
        if taken.trial {
            let replica = self.replica_mut(taken);
            (replica.faults, replica.rests_until) = (0, 0);
            for other in &mut self.taken {
                other.trial &= (other.pool, other.replica) != (taken.pool, taken.replica);
            }
        }
    }

    fn fault(&mut self, taken: &Taken) {
        let now = self.now;
        let replica = self.replica_mut(taken);
        if replica.rests_until <= now {
            let rest = (REST_MS << replica.faults.min(10)).min(REST_MAX_MS);
            replica.faults += 1;
            replica.rests_until = now + rest;
        }
    }

    pub(crate) fn report(&mut self, report: &Report) -> Vec<Told> {
        let mut told = Vec::new();
        let mut earlier = BTreeMap::new();
        if let Some(pool) = self.pools.remove(&report.pool) {
            earlier = pool.replicas;
            if pool.set != report.set {
                told.extend(self.lose(report.pool, &earlier.keys().copied().collect::<Vec<_>>()));
                earlier.clear();
            }
        }
        let mut replicas = BTreeMap::new();
        for new in &report.replicas {
            let same = earlier
                .get(&new.replica)
                .filter(|r| r.incarnation == new.incarnation);
            let (faults, rests_until) = same.map_or((0, 0), |r| (r.faults, r.rests_until));
            let (incarnation, slots, readiness) = (new.incarnation, new.slots, new.readiness);
            let replica = Replica {
                incarnation,
                slots,
                readiness,
                reported: self.now,
                faults,
                rests_until,
            };
            replicas.insert(new.replica, replica);
        }
        let stays = |id: &u8, r: &Replica| {
            replicas
                .get(id)
                .is_some_and(|new: &Replica| new.incarnation == r.incarnation)
        };
        let gone: Vec<u8> = earlier
            .iter()
            .filter(|(id, r)| !stays(id, r))
            .map(|(id, _)| *id)
            .collect();
        let Report {
            set,
            capacity,
            bytes,
            policies,
            ..
        } = *report;
        self.pools.insert(
            report.pool,
            Pool {
                set,
                capacity,
                bytes,
                policies,
                replicas,
            },
        );
        told.extend(self.lose(report.pool, &gone));
        told.extend(self.close_sets());
        told
    }

    pub(crate) fn remove_pool(&mut self, pool: u8) -> Vec<Told> {
        let Some(known) = self.pools.remove(&pool) else {
            return Vec::new();
        };
        let mut told = self.lose(pool, &known.replicas.keys().copied().collect::<Vec<_>>());
        told.extend(self.close_sets());
        told
    }

    /// The processes are gone, and with them every slot.
    fn lose(&mut self, pool: u8, replicas: &[u8]) -> Vec<Told> {
        let gone = |t: &Taken| t.pool == pool && replicas.contains(&t.replica);
        let lost: Vec<Taken> = self.taken.iter().filter(|t| gone(t)).cloned().collect();
        self.taken.retain(|t| !gone(t));
        let mut told = Vec::new();
        for Taken { task, attempt, .. } in lost.into_iter().filter(|t| t.held_until.is_none()) {
            told.push(Told::Abort {
                task,
                attempt,
                why: Stop::Gone,
            });
            told.extend(self.again_or(task, How::Reset));
        }
        told
    }

    fn close_sets(&mut self) -> Vec<Told> {
        let served: Vec<u8> = self.pools.values().map(|p| p.set).collect();
        let orphans = self
            .tasks
            .iter()
            .filter(|t| !served.contains(&t.set) && !t.running);
        let orphans: Vec<u8> = orphans.map(|t| t.task).collect();
        orphans
            .into_iter()
            .map(|task| self.finish(task, How::NoPool))
            .collect()
    }

    /// The task that must start next in the set.
    pub(crate) fn next(&self, set: u8) -> Option<u8> {
        self.queue(set)
            .iter()
            .min_by_key(|t| (t.batch, t.order))
            .map(|t| t.task)
    }

    /// Whether a new attempt may go to this slot now.
    pub(crate) fn may_take(&self, pool: u8, replica: u8, slot: u32) -> bool {
        let Some(known) = self.pools.get(&pool).and_then(|p| p.replicas.get(&replica)) else {
            return false;
        };
        let mut here = self
            .taken
            .iter()
            .filter(|t| t.pool == pool && t.replica == replica);
        known.readiness == Ready::Yes
            && slot < known.slots
            && known.rests_until <= self.now
            && here.all(|t| t.slot != slot && !t.trial)
    }

    pub(crate) fn dispatch(&mut self, task: u8, pool: u8, replica: u8, slot: u32) {
        let found = self.task_mut(task);
        found.attempts += 1;
        found.running = true;
        let attempt = found.attempts;
        let trial = self.pools[&pool].replicas[&replica].faults > 0;
        let (held_until, released) = (None, false);
        let taken = Taken {
            task,
            attempt,
            pool,
            replica,
            slot,
            held_until,
            released,
            trial,
        };
        self.taken.push(taken);
    }
}
