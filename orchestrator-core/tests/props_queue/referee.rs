//! Plays a history on the scheduler and on the model and compares what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrator_core::action::Action;
use orchestrator_core::event::Event;
use orchestrator_core::fleet::SetId;
use orchestrator_core::ids::{SessionId, TenantId};
use orchestrator_core::priority::Priority;
use orchestrator_core::scheduler::{Limits, Scheduler};
use orchestrator_core::task::TaskSpec;
use orchestrator_core::time::MonoTime;

use crate::history::{News, Op, Ready, ReplicaReport, Report, Submission, Which};
use crate::model::{self, Model, Told};
use crate::translation::{
    how, last_digit, news_event, number, pool_id, set_key, stop, task_id, view, why,
};

const LIMITS: Limits = Limits {
    attempts: model::ATTEMPTS,
    slot_hold: Duration::from_millis(model::HOLD_MS),
    fault_rest: Duration::from_millis(model::REST_MS),
    fault_rest_max: Duration::from_millis(model::REST_MAX_MS),
    retry_hint: Duration::from_secs(1),
    sessions: 2,
};

/// Where a session's cache may be: pool, replica, incarnation and slot.
type Cache = (u8, u8, u64, u32);

pub(crate) struct Referee {
    scheduler: Scheduler,
    model: Model,
    /// The id that each set has or had.
    sets: BTreeMap<u8, SetId>,
    sessions: BTreeMap<u8, u8>,
    /// The last session in each slot, and the last slot of each session.
    caches: BTreeMap<Cache, Option<u8>>,
    last: BTreeMap<u8, Cache>,
    admitted: BTreeMap<u8, u32>,
    finished: BTreeMap<u8, u32>,
    record: Vec<Action>,
}

impl Referee {
    pub(crate) fn new() -> Self {
        Self {
            scheduler: Scheduler::new(LIMITS),
            model: Model::default(),
            sets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            caches: BTreeMap::new(),
            last: BTreeMap::new(),
            admitted: BTreeMap::new(),
            finished: BTreeMap::new(),
            record: Vec::new(),
        }
    }

    pub(crate) fn into_record(self) -> Vec<Action> {
        self.record
    }

    pub(crate) fn play(&mut self, op: &Op) {
        let (event, expected) = match op {
            Op::Submit(new) => {
                let Some(event) = self.submission(new) else {
                    return;
                };
                (event, self.model.submit(new))
            }
            Op::Cancel { task } => (
                Event::Cancelled {
                    task: task_id(*task),
                },
                self.model.cancel(*task),
            ),
            Op::Pool(report) => (Event::PoolChanged(view(report)), self.model.report(report)),
            Op::RemovePool { pool } => (
                Event::PoolRemoved(pool_id(*pool)),
                self.model.remove_pool(*pool),
            ),
            Op::Attempt { which, news } => {
                let Some((task, attempt)) = self.attempt(which) else {
                    return;
                };
                (
                    news_event(task, attempt, *news),
                    self.model.news(task, attempt, *news),
                )
            }
            Op::Advance { ms } => (Event::TimePassed, self.model.advance(*ms)),
        };
        self.judge(event, expected);
    }

    /// All faults end, every replica is there, and time goes on: then nothing may be left.
    pub(crate) fn heal_and_drain(&mut self) {
        let pools: Vec<(u8, u8)> = self
            .model
            .pools
            .iter()
            .map(|(id, p)| (*id, p.set))
            .collect();
        for (pool, set) in pools {
            let replica = ReplicaReport {
                replica: 0,
                incarnation: 9,
                slots: 1,
                readiness: Ready::Yes,
            };
            let policies = [Default::default(); 2];
            let replicas = vec![replica];
            self.play(&Op::Pool(Report {
                pool,
                set,
                capacity: 4,
                bytes: 30,
                policies,
                replicas,
            }));
        }
        for _ in 0..200 {
            if self.model.taken.is_empty() {
                break;
            }
            let which = Which::Known { index: 0 };
            self.play(&Op::Attempt {
                which,
                news: News::Completed { us: 10 },
            });
        }
        assert!(
            self.model.tasks.is_empty(),
            "left undone: {:?}",
            self.model.tasks
        );
        assert_eq!(self.admitted, self.finished, "one end for each admission");
        assert_eq!(self.scheduler.next_wakeup(), None, "a timer is left");
        assert!(self.scheduler.sets().all(|set| {
            let mut replicas = set.pools.iter().flat_map(|pool| &pool.replicas);
            replicas.all(|replica| replica.taken_slots == 0)
        }));
    }

    fn judge(&mut self, event: Event, mut expected: Vec<Told>) {
        let now = MonoTime(Duration::from_millis(self.model.now));
        let told_before = format!("{event:?}");
        let mut actions = Vec::new();
        self.scheduler.handle(event, now, &mut actions);
        self.scheduler.check_invariants();
        let mut told = Vec::new();
        for action in &actions {
            self.judge_action(action, &mut told);
        }
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "after {told_before}");
        self.nothing_placeable_waits();
        self.depths_agree();
        self.record.extend(actions);
    }

    fn judge_action(&mut self, action: &Action, told: &mut Vec<Told>) {
        match action {
            Action::Admitted { task, admission } => {
                let task = number(*task);
                assert_eq!(
                    self.admitted.get(&task),
                    self.finished.get(&task),
                    "{task} is live"
                );
                *self.admitted.entry(task).or_default() += 1;
                told.push(Told::Admitted {
                    task,
                    behind: admission.queue_position,
                });
            }
            Action::Refused { task, reason } => {
                told.push(Told::Refused {
                    task: number(*task),
                    why: why(reason),
                });
            }
            Action::Abort { task, attempt, why } => {
                let task = number(*task);
                assert_ne!(
                    self.admitted.get(&task),
                    self.finished.get(&task),
                    "{task} has ended"
                );
                told.push(Told::Abort {
                    task,
                    attempt: *attempt,
                    why: stop(*why),
                });
            }
            Action::Finished { task, outcome } => {
                let task = number(*task);
                *self.finished.entry(task).or_default() += 1;
                assert_eq!(
                    self.admitted.get(&task),
                    self.finished.get(&task),
                    "{task} ends once"
                );
                told.push(Told::Finished {
                    task,
                    how: how(*outcome),
                });
            }
            Action::Dispatch { .. } => self.judge_dispatch(action),
        }
    }

    fn judge_dispatch(&mut self, action: &Action) {
        let Action::Dispatch {
            task,
            attempt,
            pool,
            replica,
            incarnation,
            slot,
            kv_warm,
        } = action
        else {
            unreachable!("only dispatches come here");
        };
        let (task, pool) = (number(*task), last_digit(pool.as_str()));
        let replica = last_digit(replica.as_str());
        let found = self.model.tasks.iter().find(|t| t.task == task).cloned();
        let found = found.unwrap_or_else(|| panic!("{task} is not there"));
        assert_eq!(self.model.next(found.set), Some(task), "not the next one");
        assert_eq!(
            self.model.pools[&pool].set, found.set,
            "another set's replica"
        );
        assert!(self.model.may_take(pool, replica, *slot), "{action:?}");
        assert_eq!(
            self.model.pools[&pool].replicas[&replica].incarnation,
            *incarnation
        );
        assert_eq!(found.attempts + 1, *attempt);
        let cache = (pool, replica, *incarnation, *slot);
        let session = self.sessions.get(&task).copied();
        if *kv_warm {
            assert_eq!(
                self.caches.get(&cache),
                Some(&session),
                "another session's cache"
            );
            assert_eq!(
                session.map(|s| self.last[&s]),
                Some(cache),
                "not the session's last slot"
            );
        } else {
            let lower = (0..*slot).find(|slot| self.model.may_take(pool, replica, *slot));
            assert_eq!(lower, None, "not the lowest free slot");
        }
        self.caches.insert(cache, session);
        self.last.extend(session.map(|session| (session, cache)));
        self.model.dispatch(task, pool, replica, *slot);
    }

    fn nothing_placeable_waits(&self) {
        for (id, pool) in &self.model.pools {
            for (replica, known) in &pool.replicas {
                let free = (0..known.slots).find(|slot| self.model.may_take(*id, *replica, *slot));
                let next = self.model.next(pool.set);
                assert!(
                    free.is_none() || next.is_none(),
                    "{next:?} could take {free:?}"
                );
            }
        }
    }

    fn depths_agree(&self) {
        for set in 0..2 {
            let Some(id) = self.scheduler.set_id(&set_key(set)) else {
                continue;
            };
            for priority in Priority::ALL {
                let batch = priority == Priority::Batch;
                let queued = |t: &&model::Task| t.set == set && t.batch == batch && !t.running;
                let depth = self.model.tasks.iter().filter(queued).count();
                assert_eq!(self.scheduler.queue_depth(id, priority), depth);
            }
        }
    }

    fn submission(&mut self, new: &Submission) -> Option<Event> {
        let current = self.scheduler.set_id(&set_key(new.set));
        self.sets.extend(current.map(|id| (new.set, id)));
        let set = *self.sets.get(&new.set)?;
        let live = self.model.tasks.iter().any(|t| t.task == new.task);
        if !live {
            self.sessions.remove(&new.task);
            self.sessions
                .extend(new.session.map(|session| (new.task, session)));
        }
        let after = |ms| MonoTime(Duration::from_millis(self.model.now + ms));
        Some(Event::Submitted(TaskSpec {
            id: task_id(new.task),
            tenant: TenantId::parse("home").expect("a short id"),
            session: new.session.map(|session| SessionId(u128::from(session))),
            priority: if new.batch {
                Priority::Batch
            } else {
                Priority::Interactive
            },
            set,
            tokens_in: 10,
            max_tokens: 20,
            expected_tokens: None,
            deadline: new.deadline_ms.map(after),
            default_deadline: after(model::DEFAULT_DEADLINE_MS),
            bytes: new.bytes,
        }))
    }

    fn attempt(&self, which: &Which) -> Option<(u8, u32)> {
        match which {
            Which::Any { task, attempt } => Some((*task, *attempt)),
            Which::Known { index } => {
                let index = index.checked_rem(self.model.taken.len())?;
                Some((
                    self.model.taken[index].task,
                    self.model.taken[index].attempt,
                ))
            }
        }
    }
}
