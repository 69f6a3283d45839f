//! The owner task: it holds all state, feeds the core and carries out what the core decides.
//!
//! ```text
//! commands  (API)      ─┐                        ┌─ replies, frames, snapshot
//! reports   (attempts) ─┼─▶ next_input ─▶ handle ┤
//! departures (readers) ─┘    select!     sync    └─ attempts spawned or stopped
//! ```
//!
//! # Invariants
//! - All state is in this one task, so no two decisions race.
//! - `select!` stands in [`Owner::next_input`] only; everything after it is synchronous.
//! - Each `Finished` of the core becomes one terminal frame. [ORCH-2002]
//! - A panic in here or in an attempt ends the task, and `main` ends the daemon.
//!
//! Not here: decisions (`orchestrator-core`), the life of one attempt ([`super::dispatch`]), what
//! tasks look like to clients ([`super::book`]).

mod actions;
mod reports;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::node::{NodeLease, NodeState};
use contracts_api_types::task::{AdmissionResponse, TaskStatus};
use orchestrator_core::action::Action;
use orchestrator_core::event::Event;
use orchestrator_core::fleet::SetKey;
use orchestrator_core::ids::{NodeId, TaskId};
use orchestrator_core::priority::Priority;
use orchestrator_core::scheduler::{Limits, Scheduler};
use orchestrator_core::time::MonoTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use crate::services::snapshot::Snapshot;

use crate::services::adapters::AdapterRegistry;
use crate::services::admission::CheckedTask;
use crate::services::book::{Book, Retention};
use crate::services::clock::Clock;
use crate::services::dispatch::Report;
use crate::services::fleet::Fleet;
use crate::services::nodes::PushError;
use crate::services::stream_log::Position;
use crate::services::tasks::{OpenStream, SubmitError, TaskError, TaskKey};
use crate::telemetry::metrics::{Metrics, PoolLabels};

/// How many commands and reports may wait. The owner needs microseconds for each, so a full
/// channel means that more is asked than this machine can do, and clients are told so.
const WAITING_MAX: usize = 1024;

/// What handles ask of the owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// The earlier admission of this key, if the body is the same.
    Recall {
        key: TaskKey,
        body_hash: [u8; 32],
        reply: oneshot::Sender<Result<Option<AdmissionResponse>, SubmitError>>,
    },
    /// Admit this task.
    Submit {
        task: Box<CheckedTask>,
        reply: oneshot::Sender<Result<AdmissionResponse, SubmitError>>,
    },
    /// How the task stands.
    Status {
        key: TaskKey,
        reply: oneshot::Sender<Result<TaskStatus, TaskError>>,
    },
    /// End the task if it has not ended.
    Cancel {
        key: TaskKey,
        reply: oneshot::Sender<Result<(), TaskError>>,
    },
    /// A reader comes.
    Open {
        key: TaskKey,
        resume: Option<Position>,
        reply: oneshot::Sender<Result<OpenStream, TaskError>>,
    },
    /// A node reports.
    Push {
        node: NodeId,
        state: Box<NodeState>,
        reply: oneshot::Sender<Result<NodeLease, PushError>>,
    },
}

/// What the owner waits for.
enum Input {
    Command(Command),
    Report(Report),
    Departure(TaskKey),
    AttemptGone(Result<(), JoinError>),
    Due,
    Halt,
}

impl Input {
    /// Whether it leaves it to the loop to publish what it changed. A command publishes before it
    /// replies, or changes nothing that a snapshot shows.
    fn is_published_after(&self) -> bool {
        !matches!(self, Self::Command(_))
    }
}

/// The bounds of the owner's work.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The core's.
    pub core: Limits,
    /// What is kept of ended tasks.
    pub retention: Retention,
    /// Bound of a task that names no deadline.
    pub default_deadline: Duration,
}

/// The channels into the owner.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// The owner of all state.
pub(crate) struct Owner {
    core: Scheduler,
    book: Book,
    fleet: Fleet,
    bounds: Bounds,
    clock: Clock,
    metrics: Arc<Metrics>,
    attempts: JoinSet<()>,
    /// Attempts that the core started on a worker that is already gone.
    unplaced: Vec<(TaskId, u32)>,
    commands: mpsc::Receiver<Command>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    departures: (
        mpsc::UnboundedSender<TaskKey>,
        mpsc::UnboundedReceiver<TaskKey>,
    ),
    snapshot: watch::Sender<Arc<Snapshot>>,
}

impl Owner {
    /// An owner that knows nothing yet, and the doors to it.
    pub(crate) fn new(
        bounds: Bounds,
        registry: AdapterRegistry,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> (Self, Doors) {
        let (commands_in, commands) = mpsc::channel(WAITING_MAX);
        let (snapshot, snapshot_out) = watch::channel(Arc::default());
        let owner = Self {
            core: Scheduler::new(bounds.core),
            book: Book::new(bounds.retention),
            fleet: Fleet::new(registry),
            bounds,
            clock,
            metrics,
            attempts: JoinSet::new(),
            unplaced: Vec::new(),
            commands,
            reports: mpsc::channel(WAITING_MAX),
            // Each reader sends one at its end, so what waits is bounded by the connections.
            departures: mpsc::unbounded_channel(),
            snapshot,
        };
        (
            owner,
            Doors {
                commands: commands_in,
                snapshot: snapshot_out,
            },
        )
    }

    /// Works until `halt`. What runs then is cancelled and not ended: its clients come back.
    // spec: ORCH-3438
    pub(crate) async fn run(mut self, halt: CancellationToken) {
        loop {
            let input = self.next_input(&halt).await;
            if matches!(input, Input::Halt) {
                break;
            }
            let now = self.clock.now();
            let changes =
                input.is_published_after() || self.next_due().is_some_and(|due| due <= now);
            self.pass(now);
            self.handle(input, now);
            if changes {
                self.publish();
            }
        }
        self.attempts.shutdown().await;
    }

    async fn next_input(&mut self, halt: &CancellationToken) -> Input {
        let due = self.next_due().map(|at| self.clock.instant(at));
        tokio::select! {
            biased;
            () = halt.cancelled() => Input::Halt,
            Some(report) = self.reports.1.recv() => Input::Report(report),
            Some(done) = self.attempts.join_next() => Input::AttemptGone(done),
            Some(key) = self.departures.1.recv() => Input::Departure(key),
            Some(command) = self.commands.recv() => Input::Command(command),
            () = sleep_until(due) => Input::Due,
        }
    }

    fn next_due(&self) -> Option<MonoTime> {
        let dues = [
            self.core.next_wakeup(),
            self.fleet.next_due(),
            self.book.next_due(),
        ];
        dues.into_iter().flatten().min()
    }

    fn handle(&mut self, input: Input, now: MonoTime) {
        match input {
            Input::Command(command) => self.command(command, now),
            Input::Report(report) => self.report(report, now),
            Input::Departure(key) => self.departed(&key, now),
            Input::AttemptGone(done) => check_attempt(done),
            Input::Due | Input::Halt => {}
        }
    }

    /// Lets time pass: for leases, for what is kept, and for the core.
    fn pass(&mut self, now: MonoTime) {
        let events = if self.fleet.next_due().is_some_and(|due| due <= now) {
            let sets: Vec<_> = self.core.sets().collect();
            self.fleet.pass(now, |pool| {
                let pools = sets.iter().flat_map(|set| &set.pools);
                let mut replicas = pools
                    .filter(|known| known.pool == *pool)
                    .flat_map(|known| &known.replicas);
                replicas.any(|replica| replica.taken_slots > 0)
            })
        } else {
            Vec::new()
        };
        self.tell_all(events, now);
        if self.core.next_wakeup().is_some_and(|due| due <= now) {
            self.tell(Event::TimePassed, now);
        }
        self.book.sweep(now);
    }

    /// Tells the core and does what it says.
    fn tell(&mut self, event: Event, now: MonoTime) {
        let mut actions = Vec::new();
        self.core.handle(event, now, &mut actions);
        self.perform_all(actions, now);
    }

    fn tell_all(&mut self, events: Vec<Event>, now: MonoTime) {
        for event in events {
            self.tell(event, now);
        }
        self.give_back_unplaced(now);
    }

    fn perform_all(&mut self, actions: Vec<Action>, now: MonoTime) {
        for action in actions {
            self.perform(action, now);
        }
    }

    /// Publishes the state, and the depth of every queue.
    fn publish(&mut self) {
        let sets: BTreeMap<_, _> = self.core.sets().map(|set| (set.key.clone(), set)).collect();
        let before = Arc::clone(&self.snapshot.borrow());
        for key in before.sets.keys().chain(sets.keys()) {
            let pools = sets
                .get(key)
                .or_else(|| before.sets.get(key))
                .map(|set| &set.pools);
            let Some(first) = pools.and_then(|pools| pools.first()) else {
                continue;
            };
            for priority in Priority::ALL {
                let depth = sets.get(key).map_or(0, |set| set.queue_depth[priority]);
                self.metrics
                    .queue_depth(pool_labels(key, first.pool.as_str()), priority, depth);
            }
        }
        let fleet = Arc::clone(self.fleet.view());
        let live_tasks = self.book.live();
        self.snapshot.send_replace(Arc::new(Snapshot {
            fleet,
            sets,
            live_tasks,
        }));
    }
}

fn pool_labels<'a>(set: &'a SetKey, pool_id: &'a str) -> PoolLabels<'a> {
    PoolLabels {
        engine: set.engine,
        engine_version: &set.engine_version,
        pool_id,
    }
}

/// An attempt that was told to end is as good as one that ended; a panic is passed on.
fn check_attempt(done: Result<(), JoinError>) {
    if let Err(why) = done
        && why.is_panic()
    {
        std::panic::resume_unwind(why.into_panic());
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
