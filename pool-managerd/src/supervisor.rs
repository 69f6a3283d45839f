//! One worker: its state machine (`state`), the driver that carries out what the machine decides
//! (`driver`), and the steps that take time (`steps`, `launch`, `selftest`).
//!
//! # Invariants
//! - One task owns one worker.
//! - Decisions that start or stop a process are taken in the machine only.
//! - A step that holds a process is never dropped in mid-flight: it ends when the process is gone.
//!
//! Not here: which workers there are (agent), and what is told about them (node, api).

pub mod backoff;
mod driver;
pub mod events;
mod launch;
pub mod process;
pub mod selftest;
pub mod state;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use contracts_config_schema::PoolConfig;
use contracts_config_schema::agent::RestartConfig;
use orchestrator_core::time::MonoTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::logs::LogRing;
use crate::model::Model;
use backoff::RetryPolicy;
use driver::{Driver, Worker};
use state::{Machine, Phase, Policy};

pub(crate) use steps::load_estimate;

/// A build from source on a slow machine, twice over.
const PROVISIONING: Duration = Duration::from_secs(2 * 3600);
/// Reading a very large model from a slow disk.
const PREFLIGHT: Duration = Duration::from_secs(3600);
/// From SIGTERM to SIGKILL: an engine has nothing to save.
const DRAIN: Duration = Duration::from_secs(10);
/// Probes without an answer that make a hang, and those that do so even while the CPU is busy.
const SILENT_PROBES: u32 = 3;
const SILENT_PROBES_MAX: u32 = 20;
/// Reports that may wait for the driver; steps wait when it is behind.
const REPORTS: usize = 64;

/// What is known of a worker, for everybody who asks.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    /// Where it stands.
    pub phase: Phase,
    /// Why it is not ready.
    pub cause: Option<String>,
    /// Processes started so far.
    pub start: u64,
    /// Restarts so far.
    pub restarts: u64,
    /// When it is expected to be ready.
    pub ready_at: Option<MonoTime>,
    /// How to reach it, while it is ready or draining.
    pub endpoint: Option<Endpoint>,
    /// UUIDs of its devices.
    pub devices: Vec<String>,
    /// Version of its engine, once it is known.
    pub engine_version: Option<String>,
    /// Its model, once it was read.
    pub model: Option<Model>,
}

impl WorkerView {
    /// Of a worker that has just begun.
    fn of(machine: &Machine) -> Self {
        Self {
            phase: machine.phase(),
            cause: machine.cause().map(str::to_owned),
            start: 0,
            restarts: 0,
            ready_at: None,
            endpoint: None,
            devices: Vec::new(),
            engine_version: None,
            model: None,
        }
    }
}

/// Address and key of a worker's process.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Base URL on loopback.
    pub url: String,
    /// The key of this start.
    pub key: String,
}

impl std::fmt::Debug for Endpoint {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A worker as the rest of the agent holds it.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    /// The replica's id.
    pub replica: String,
    /// What is known of it.
    pub view: watch::Receiver<WorkerView>,
    /// Share of its KV cache in use, where the engine tells.
    pub kv: watch::Receiver<Option<f64>>,
    /// Its last lines.
    pub logs: LogRing,
}

/// Starts the worker `replica` of `pool`. Its task ends some time after `stop`, when nothing of the
/// worker is left.
pub fn start(
    replica: String,
    pool: Arc<PoolConfig>,
    host: Arc<Host>,
    stop: CancellationToken,
) -> (WorkerHandle, JoinHandle<()>) {
    let (reports, inbox) = mpsc::channel(REPORTS);
    let (kv, kv_seen) = watch::channel(None);
    let logs = LogRing::default();
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let mut actions = Vec::new();
    let machine = Machine::new(policy(&pool.restart), seed, host.clock.now(), &mut actions);
    let worker = Arc::new(Worker {
        replica: replica.clone(),
        pool,
        host,
        logs: logs.clone(),
        reports,
        kv,
    });
    let driver = Driver::new(Arc::clone(&worker), machine, inbox);
    let handle = WorkerHandle {
        replica,
        view: driver.view(),
        kv: kv_seen,
        logs,
    };
    let task = worker.host.tracker.spawn(driver.run(actions, stop));
    (handle, task)
}

fn policy(config: &RestartConfig) -> Policy {
    Policy {
        provisioning: PROVISIONING,
        preflight: PREFLIGHT,
        drain: DRAIN,
        silent_probes: SILENT_PROBES,
        silent_probes_max: SILENT_PROBES_MAX,
        retry: RetryPolicy {
            min: config.backoff.min.0,
            max: config.backoff.max.0,
            jitter: config.backoff.jitter,
            reset_after: config.backoff.reset_after.0,
            breaker: config.breaker,
            start_failures: config.start_failures.count,
            start_window: config.start_failures.window.0,
        },
    }
}
