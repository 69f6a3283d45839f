//! The driver of one worker: feeds the state machine and carries out what it decides.
//!
//! Whatever takes time runs as a step beside it and reports back with the number of its attempt,
//! so a late report of an abandoned step changes nothing.
//!
//! Not here: what a step does (steps), and whether it is its time (state).

use std::sync::Arc;

use contracts_config_schema::PoolConfig;
use rustix::process::Pid;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use worker_adapters_adapter_api::WorkerAdapter;

use crate::gpu::placement::{Claim, Placement};
use crate::host::Host;
use crate::logs::{LogRing, Position};
use crate::metrics::UNKNOWN;
use crate::model::Model;
use crate::provision::ProvisionedEngine;
use crate::supervisor::process::Lifeline;
use crate::supervisor::state::{Action, Event, FailureKind, Machine, Outcome, Phase, Report};
use crate::supervisor::{Endpoint, WorkerView, selftest, steps};

/// What a step tells: the report for the machine, and what the driver keeps.
#[derive(Debug)]
pub(super) enum Found {
    Report(Report),
    Engine(ProvisionedEngine),
    Checked {
        model: Model,
        placed: Option<(Placement, Claim)>,
    },
}

/// What every step of one worker knows.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) replica: String,
    pub(super) pool: Arc<PoolConfig>,
    pub(super) host: Arc<Host>,
    pub(super) logs: LogRing,
    pub(super) reports: mpsc::Sender<(u64, Found)>,
    pub(super) kv: watch::Sender<Option<f64>>,
}

/// A process that runs.
pub(super) struct Running {
    pub(super) lifeline: Option<Lifeline>,
    pub(super) killed: CancellationToken,
    pub(super) guard: Option<Pid>,
    pub(super) endpoint: Endpoint,
    pub(super) adapter: Arc<dyn WorkerAdapter>,
}

/// The owner of one worker.
pub(super) struct Driver {
    worker: Arc<Worker>,
    machine: Machine,
    inbox: mpsc::Receiver<(u64, Found)>,
    view: watch::Sender<WorkerView>,
    engine: Option<ProvisionedEngine>,
    model: Option<Model>,
    placement: Option<Placement>,
    claim: Option<Claim>,
    running: Option<Running>,
    /// Cancels the steps of the present attempt.
    step: CancellationToken,
    log_from: Position,
    /// The last lines of a process that failed without ending by itself.
    last_words: Option<String>,
    /// The present attempt has started a process.
    launched: bool,
    /// Why the last process is no more.
    lost: Option<FailureKind>,
}

impl Driver {
    /// A driver of `machine`, which hears what comes in over `inbox`.
    pub(super) fn new(
        worker: Arc<Worker>,
        machine: Machine,
        inbox: mpsc::Receiver<(u64, Found)>,
    ) -> Self {
        Self {
            view: watch::Sender::new(WorkerView::of(&machine)),
            worker,
            machine,
            inbox,
            engine: None,
            model: None,
            placement: None,
            claim: None,
            running: None,
            step: CancellationToken::new(),
            log_from: Position::default(),
            last_words: None,
            launched: false,
            lost: None,
        }
    }

    /// What is known of the worker, from now on.
    pub(super) fn view(&self) -> watch::Receiver<WorkerView> {
        self.view.subscribe()
    }

    /// Carries out the first `actions`, and then what follows, until nothing of the worker is left
    /// after `stop`.
    pub(super) async fn run(mut self, actions: Vec<Action>, stop: CancellationToken) {
        self.perform(actions).await;
        while !self.machine.finished() {
            let event = self.next_event(&stop).await;
            let mut actions = Vec::new();
            self.machine
                .handle(self.worker.host.clock.now(), event, &mut actions);
            self.account();
            self.perform(actions).await;
            self.publish();
        }
        self.step.cancel();
    }

    async fn next_event(&mut self, stop: &CancellationToken) -> Event {
        let clock = self.worker.host.clock;
        let wakeup = self.machine.next_wakeup().map(|at| clock.instant(at));
        let time = async {
            match wakeup {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled(), if !self.machine.stopping() => Event::Stop,
            Some((attempt, found)) = self.inbox.recv() => self.take(attempt, found),
            () = time => Event::Tick,
        }
    }

    /// Keeps what a step found and passes its report on.
    fn take(&mut self, attempt: u64, found: Found) -> Event {
        let current = attempt == self.machine.attempt();
        let report = match found {
            Found::Report(report) => {
                if matches!(report, Report::Gone(_)) && current {
                    self.running = None;
                    self.claim = None;
                }
                report
            }
            Found::Engine(engine) => {
                self.engine = Some(engine);
                Report::Provisioned
            }
            Found::Checked { model, placed } => {
                let preload = self
                    .worker
                    .pool
                    .timeouts
                    .preload
                    .unwrap_or(steps::preload_limit(model.size));
                // A claim that comes too late is dropped, and with it what it holds.
                if current && self.machine.phase() == Phase::Preflight {
                    self.model = Some(model);
                    (self.placement, self.claim) = placed.unzip();
                }
                Report::Checked { preload }
            }
        };
        Event::Attempt(attempt, report)
    }

    /// Counts what became of attempts, and keeps the last words of a process that is about to be
    /// killed.
    fn account(&mut self) {
        for outcome in self.machine.take_outcomes() {
            let (pool, version) = (&self.worker.pool, self.engine_version());
            self.worker.host.counters.outcome(pool, &version, outcome);
            let failed = match outcome {
                Outcome::Ready => None,
                Outcome::NotReady(kind) | Outcome::Lost(kind) => Some(kind),
            };
            if failed.is_some() && std::mem::take(&mut self.launched) {
                self.lost = failed;
            }
            self.last_words = failed.and_then(|kind| self.said(kind));
            self.log(failed, &version);
        }
    }

    // spec: ORCH-3027, ORCH-1102
    fn log(&self, failed: Option<FailureKind>, engine_version: &str) {
        let Worker { replica, pool, .. } = self.worker.as_ref();
        let model = self.model.as_ref().map(|model| model.digest.as_str());
        match failed {
            None => tracing::info!(
                pool_id = pool.id,
                replica_id = replica,
                engine = %pool.engine,
                engine_version,
                model_id = model,
                ctx = pool.ctx,
                device_class = %pool.device_class,
                start = self.machine.start(),
                "worker is ready"
            ),
            Some(kind) => tracing::warn!(
                pool_id = pool.id,
                replica_id = replica,
                engine = %pool.engine,
                engine_version,
                model_id = model,
                ctx = pool.ctx,
                reason = kind.as_str(),
                cause = self.cause(),
                "worker failed"
            ),
        }
    }

    /// Why the worker is not ready, with the last words of a process that did not end by itself.
    fn cause(&self) -> Option<String> {
        let cause = self.machine.cause()?;
        Some(match &self.last_words {
            Some(words) => format!("{cause}; {words}"),
            None => cause.to_owned(),
        })
    }

    /// A process that ended by itself is explained in its `Gone`; one that is killed for a
    /// timeout, a hang or its self-test is explained here.
    fn said(&self, kind: FailureKind) -> Option<String> {
        use FailureKind::{Hang, SelfTest, Timeout};
        let killed = matches!(kind, Timeout | Hang | SelfTest) && self.running.is_some();
        if killed {
            self.worker.explain(self.log_from)
        } else {
            None
        }
    }

    fn engine_version(&self) -> String {
        self.engine
            .as_ref()
            .map_or(UNKNOWN, |engine| &engine.engine_version)
            .to_owned()
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Provision => {
                    self.step = CancellationToken::new();
                    self.spawn(steps::provision);
                }
                Action::Check => self.spawn(steps::check),
                Action::Launch => self.launch(),
                Action::Test => self.test(),
                Action::Watch => self.watch(),
                Action::Abandon => self.step.cancel(),
                Action::Terminate => {
                    if let Some(Running {
                        lifeline: Some(lifeline),
                        ..
                    }) = &mut self.running
                    {
                        lifeline.terminate().await;
                    }
                }
                Action::Kill => {
                    if let Some(running) = &mut self.running {
                        running.lifeline = None;
                        running.killed.cancel();
                    }
                }
            }
        }
    }

    /// Runs a step that reports by itself.
    fn spawn<F>(&self, step: impl FnOnce(Arc<Worker>, steps::Attempt) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let attempt = steps::Attempt {
            number: self.machine.attempt(),
            stop: self.step.clone(),
        };
        self.worker
            .host
            .tracker
            .spawn(step(Arc::clone(&self.worker), attempt));
    }

    // spec: OC-POOL-3114
    fn launch(&mut self) {
        self.log_from = self.worker.logs.end();
        self.launched = true;
        if let Some(why) = self.lost.take() {
            let version = self.engine_version();
            let (pool, replica) = (&self.worker.pool, &self.worker.replica);
            self.worker
                .host
                .counters
                .restarted(pool, &version, replica, why);
        }
        let (Some(engine), Some(model)) = (&self.engine, &self.model) else {
            unreachable!("a launch follows provisioning and checks")
        };
        let launched = self.worker.launch(engine, model, self.placement.as_ref());
        match launched {
            Ok((running, guarded)) => {
                let killed = running.killed.clone();
                let (adapter, from) = (Arc::clone(&running.adapter), self.log_from);
                self.running = Some(running);
                self.spawn(|worker, attempt| {
                    steps::await_end(worker, attempt, guarded, killed, from)
                });
                self.spawn(|worker, attempt| steps::await_loaded(worker, attempt, adapter));
            }
            Err(error) => {
                let gone = Report::Gone(error.to_string());
                self.spawn(|worker, attempt| async move {
                    worker.report(attempt.number, Found::Report(gone)).await;
                });
            }
        }
    }

    fn test(&self) {
        let Some(running) = &self.running else { return };
        let expected = selftest::Expected {
            slots: self.worker.pool.slots,
            ctx: self.worker.pool.ctx,
            engine_version: self.engine_version(),
        };
        let (adapter, guard) = (Arc::clone(&running.adapter), running.guard);
        let placement = self.placement.clone();
        self.spawn(|worker, attempt| async move {
            let sits = (placement, guard);
            steps::test(worker, attempt, adapter, expected, sits).await;
        });
    }

    fn watch(&mut self) {
        // NVML shows the worker's memory from here on.
        self.claim = None;
        let Some(running) = &self.running else { return };
        let (adapter, guard) = (Arc::clone(&running.adapter), running.guard);
        self.spawn(|worker, attempt| steps::watch(worker, attempt, adapter, guard));
    }

    fn publish(&mut self) {
        let phase = self.machine.phase();
        if phase == Phase::Starting || phase == Phase::Ready {
            self.last_words = None;
        }
        let reachable = matches!(phase, Phase::Ready | Phase::Draining);
        let running = self.running.as_ref().filter(|_| reachable);
        let placed = self.placement.as_ref();
        let view = WorkerView {
            phase,
            cause: self.cause(),
            start: self.machine.start(),
            restarts: self.machine.restarts(),
            ready_at: self.machine.ready_at(),
            endpoint: running.map(|running| running.endpoint.clone()),
            devices: placed
                .map(|placement| placement.uuids.clone())
                .unwrap_or_default(),
            engine_version: self
                .engine
                .as_ref()
                .map(|engine| engine.engine_version.clone()),
            model: self.model.clone(),
        };
        let changed = self.view.send_if_modified(|seen| {
            let changed = *seen != view;
            *seen = view;
            changed
        });
        if changed {
            self.worker.host.changed.notify_one();
        }
        if phase != Phase::Ready {
            self.worker.kv.send_replace(None);
        }
    }
}
