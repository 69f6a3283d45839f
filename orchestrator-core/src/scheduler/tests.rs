//! Named examples for each rule of the scheduler, all through one bench.
//!
//! Not here: the property tests against a model, which see the public API only
//! (`tests/props_queue`).

mod admission;
mod dispatching;
mod ending;
mod full_queue;
mod interleavings;
mod membership;
mod predictions;
mod retries;

use std::time::Duration;

use super::{Limits, Scheduler};
use crate::action::{AbortReason, Action, Outcome, Refusal};
use crate::engine::Engine;
use crate::event::{AttemptResult, Event, Fault};
use crate::fleet::{FullPolicy, PoolView, Readiness, ReplicaView, SetId, SetKey};
use crate::ids::{PoolId, ReplicaId, TaskId, TenantId};
use crate::priority::{ByPriority, Priority};
use crate::task::TaskSpec;
use crate::time::MonoTime;

const LIMITS: Limits = Limits {
    sessions: 4,
    ..Limits::STANDARD
};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn at(count: u64) -> MonoTime {
    MonoTime(ms(count))
}

/// A scheduler with its clock, and what its actions say in short words.
struct Bench {
    scheduler: Scheduler,
    now: MonoTime,
}

impl Bench {
    fn empty() -> Self {
        Self {
            scheduler: Scheduler::new(LIMITS),
            now: MonoTime::ZERO,
        }
    }

    /// A bench with one pool, `p`.
    fn with(view: PoolView) -> Self {
        let mut bench = Self::empty();
        bench.act(Event::PoolChanged(view));
        bench
    }

    /// A bench with one pool of one Ready replica.
    fn with_slots(slots: u32) -> Self {
        Self::with(pool("p", vec![ready("r", 1, slots)]))
    }

    fn act(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.scheduler.handle(event, self.now, &mut actions);
        self.scheduler.check_invariants();
        actions
    }

    #[track_caller]
    fn check(&mut self, event: Event, expected: &[&str]) {
        let said: Vec<String> = self.act(event).iter().map(in_words).collect();
        assert_eq!(said, expected);
    }

    #[track_caller]
    fn check_at(&mut self, now_ms: u64, event: Event, expected: &[&str]) {
        self.now = at(now_ms);
        self.check(event, expected);
    }

    fn set(&self) -> SetId {
        self.scheduler
            .set_id(&set_key("m"))
            .expect("the bench's pool serves it")
    }

    fn task(&self, number: u128) -> TaskSpec {
        task_of(self.set(), number)
    }

    fn submit(&self, number: u128) -> Event {
        Event::Submitted(self.task(number))
    }

    fn submit_batch(&self, number: u128) -> Event {
        Event::Submitted(TaskSpec {
            priority: Priority::Batch,
            ..self.task(number)
        })
    }

    fn taken_slots(&self) -> usize {
        let pools = self.scheduler.sets().flat_map(|set| set.pools);
        pools
            .flat_map(|pool| pool.replicas)
            .map(|replica| replica.taken_slots)
            .sum()
    }
}

fn set_key(model: &str) -> SetKey {
    SetKey {
        engine: Engine::LlamaCpp,
        model_digest: model.into(),
        ctx: 512,
        engine_version: "b1".into(),
        sampler_profile: "v1".into(),
        quant: "q8_0".into(),
    }
}

fn pool(id: &str, replicas: Vec<ReplicaView>) -> PoolView {
    PoolView {
        pool: PoolId::parse(id).unwrap(),
        set: set_key("m"),
        capacity: 8,
        bytes: 1_000,
        full_policy: ByPriority::default(),
        replicas,
    }
}

/// The pool `p` with no free slot: one slot, which task 100 takes, and a queue of two.
fn busy_bench(interactive: FullPolicy, batch: FullPolicy) -> Bench {
    let full_policy = ByPriority { interactive, batch };
    let view = PoolView {
        capacity: 2,
        full_policy,
        ..pool("p", vec![ready("r", 1, 1)])
    };
    let mut bench = Bench::with(view);
    bench.act(bench.submit(100));
    bench
}

fn ready(id: &str, incarnation: u64, slots: u32) -> ReplicaView {
    ReplicaView {
        replica: ReplicaId::parse(id).unwrap(),
        incarnation,
        slots,
        readiness: Readiness::Ready,
        free_vram_bytes: 1_000,
    }
}

fn starting(id: &str, incarnation: u64, eta_ms: u64) -> ReplicaView {
    ReplicaView {
        readiness: Readiness::Starting { eta: ms(eta_ms) },
        ..ready(id, incarnation, 1)
    }
}

fn unavailable(id: &str, incarnation: u64) -> ReplicaView {
    ReplicaView {
        readiness: Readiness::Unavailable,
        ..ready(id, incarnation, 1)
    }
}

fn task_of(set: SetId, number: u128) -> TaskSpec {
    TaskSpec {
        id: TaskId(number),
        tenant: TenantId::parse("home").unwrap(),
        session: None,
        priority: Priority::Interactive,
        set,
        tokens_in: 10,
        max_tokens: 100,
        expected_tokens: None,
        deadline: None,
        default_deadline: at(600_000),
        bytes: 10,
    }
}

fn started(task: u128, attempt: u32) -> Event {
    Event::Started {
        task: TaskId(task),
        attempt,
    }
}

fn completed(task: u128, attempt: u32) -> Event {
    let result = AttemptResult::Completed {
        tokens_in: 10,
        tokens_out: 50,
        prefill: ms(100),
        decode: ms(1_000),
    };
    Event::Ended {
        task: TaskId(task),
        attempt,
        result,
    }
}

fn failed(task: u128, attempt: u32, fault: Fault) -> Event {
    Event::Ended {
        task: TaskId(task),
        attempt,
        result: AttemptResult::Failed { fault },
    }
}

fn released(task: u128, attempt: u32) -> Event {
    Event::SlotReleased {
        task: TaskId(task),
        attempt,
    }
}

fn cancel(task: u128) -> Event {
    Event::Cancelled { task: TaskId(task) }
}

/// An action in a few words, without what most rules are not about.
fn in_words(action: &Action) -> String {
    match action {
        Action::Admitted { task, admission } => {
            format!("admitted {} behind {}", task.0, admission.queue_position)
        }
        Action::Refused { task, reason } => format!("refused {} {}", task.0, refusal(reason)),
        Action::Dispatch {
            task,
            attempt,
            pool,
            replica,
            incarnation,
            slot,
            kv_warm,
        } => format!(
            "dispatch {}#{attempt} to {pool}/{replica}@{incarnation}:{slot}{}",
            task.0,
            if *kv_warm { " warm" } else { "" }
        ),
        Action::Abort { task, attempt, why } => {
            let why = match why {
                AbortReason::Canceled => "canceled",
                AbortReason::DeadlineUnmet => "late",
                AbortReason::ReplicaGone => "gone",
            };
            format!("abort {}#{attempt} {why}", task.0)
        }
        Action::Finished { task, outcome } => match outcome {
            Outcome::Completed => format!("finished {}", task.0),
            Outcome::Canceled => format!("canceled {}", task.0),
            Outcome::Failed(reason) => format!("failed {} {reason:?}", task.0),
        },
    }
}

fn refusal(reason: &Refusal) -> String {
    match reason {
        Refusal::QueueFull { policy, .. } => format!("full {policy}"),
        Refusal::NoReplica { retry_after } => format!("no replica, retry in {retry_after:?}"),
        Refusal::DeadlineUnmet { estimate } => format!("late, needs {estimate:?}"),
        Refusal::UnknownSet => "unknown set".into(),
        Refusal::OverBytes { bytes, bound } => format!("{bytes} bytes of {bound}"),
        Refusal::DuplicateTask => "duplicate".into(),
    }
}
