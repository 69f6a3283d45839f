//! The steps of an attempt: what takes time, runs beside the driver and reports back.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts_api_types::kind::DeviceClass;
use rustix::process::Pid;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_adapter_api::adapter::Health;

use crate::engines;
use crate::gpu::placement::{self, Claim, Placement};
use crate::gpu::{self, Gpu, GpuProblem};
use crate::logs::Position;
use crate::model::{self, Model};
use crate::provision::{self, Progress};
use crate::supervisor::driver::{Found, Worker};
use crate::supervisor::process::{self, Guarded};
use crate::supervisor::selftest::{self, Expected};
use crate::supervisor::state::{FailureKind, Report};

/// How fast a model is read and loaded at the least, for limits and estimates.
const LOAD_BYTES_PER_SEC: f64 = 200e6;
/// What a start costs without any model.
const LOAD_BASE: Duration = Duration::from_secs(5);
/// The shortest limit for a start: even a small model may meet a busy machine.
const PRELOAD_MIN: Duration = Duration::from_secs(60);

/// How often a starting engine is asked: often at first, since a small model loads in an instant.
const ASK_FIRST: Duration = Duration::from_millis(25);
const ASK_MOST: Duration = Duration::from_millis(500);
/// How often a ready engine is probed, and how long an answer may take.
const PROBE_EVERY: Duration = Duration::from_secs(3);
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// Metrics are read with every so many probes: they cost the engine a place in its own queue.
const METRICS_EVERY: u32 = 4;
/// A process that used less than this many clock ticks between two probes did nothing. An idle
/// one wakes up now and then.
const PROGRESS_TICKS: u64 = 10;
/// The longest text of a progress line.
const PROGRESS_MAX: usize = 200;

/// How long loading a model of `size` bytes takes at the most, by estimate.
#[must_use]
pub(crate) fn load_estimate(size: u64) -> Duration {
    LOAD_BASE + Duration::from_secs_f64(size as f64 / LOAD_BYTES_PER_SEC)
}

/// The limit from the start of a process to Ready.
// spec: OC-POOL-3124
pub(super) fn preload_limit(size: u64) -> Duration {
    (load_estimate(size) * 3).max(PRELOAD_MIN)
}

/// Which attempt a step belongs to, and when it is given up.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) stop: CancellationToken,
}

impl Worker {
    /// Reports to the driver. A driver that has ended needs no reports.
    pub(super) async fn report(&self, attempt: u64, found: Found) {
        let _ = self.reports.send((attempt, found)).await;
    }

    async fn fail(&self, attempt: u64, kind: FailureKind, cause: String) {
        self.report(attempt, Found::Report(Report::Failed(kind, cause)))
            .await;
    }

    /// What the process that logs since `from` said last.
    pub(super) fn explain(&self, from: Position) -> Option<String> {
        engines::explain(self.pool.engine, &self.logs.since(from))
    }
}

/// Gets the engine. What can be refused at once, is, before a long build begins.
// spec: OC-POOL-3165, ORCH-1102
pub(super) async fn provision(worker: Arc<Worker>, attempt: Attempt) {
    let number = attempt.number;
    if let Err(cause) = first_look(&worker).await {
        return worker.fail(number, FailureKind::Preflight, cause).await;
    }
    // One build at a time is fastest, and replicas of one pool share its result.
    let turn = worker.host.provisioning.lock();
    let Some(_turn) = attempt.stop.run_until_cancelled(turn).await else {
        return;
    };
    let request = worker.host.engines.request(&worker.pool);
    let progress = progress_reports(&worker, number);
    match provision::provision(&request, &progress, &attempt.stop).await {
        Ok(engine) => worker.report(number, Found::Engine(engine)).await,
        Err(error) => {
            let cause = chain(&error);
            worker.fail(number, FailureKind::Provisioning, cause).await;
        }
    }
}

async fn first_look(worker: &Worker) -> Result<(), String> {
    model::locate(&worker.pool.model, &worker.host.engines.base_dir)
        .map_err(|error| error.to_string())?;
    if worker.pool.device_class == DeviceClass::Nvidia {
        gpus(worker).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Tells the driver each new step and each new percent, not each line.
fn progress_reports(worker: &Arc<Worker>, attempt: u64) -> impl Fn(Progress) + Send + Sync + use<> {
    let (reports, last) = (worker.reports.clone(), Mutex::new(String::new()));
    move |progress| {
        let mut text = match progress.fraction {
            Some(done) => format!("{}: {:.0} %", progress.step, done * 100.0),
            None => progress.step,
        };
        if text.len() > PROGRESS_MAX {
            text.truncate(text.floor_char_boundary(PROGRESS_MAX));
        }
        let mut last = last.lock().expect("nothing panics while it holds the text");
        if *last != text {
            last.clone_from(&text);
            // A driver that is behind loses nothing that the next report does not replace.
            let _ = reports.try_send((attempt, Found::Report(Report::Progress(text))));
        }
    }
}

/// An error with all its sources, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Reads and checks the model, and finds devices and memory for it.
// spec: OC-POOL-3002, ORCH-3003
pub(super) async fn check(worker: Arc<Worker>, attempt: Attempt) {
    let model = {
        let (worker, stop) = (Arc::clone(&worker), attempt.stop.clone());
        spawn_blocking(move || {
            let path = model::locate(&worker.pool.model, &worker.host.engines.base_dir)?;
            worker.host.digests.read(&path, &stop)
        })
        .await
    };
    let found = match model {
        Ok(Ok(model)) => place(&worker, &model)
            .await
            .map(|placed| Found::Checked { model, placed }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("reading the model failed: {error}")),
    };
    match found {
        Ok(found) => worker.report(attempt.number, found).await,
        Err(cause) => {
            worker
                .fail(attempt.number, FailureKind::Preflight, cause)
                .await
        }
    }
}

async fn place(worker: &Worker, model: &Model) -> Result<Option<(Placement, Claim)>, String> {
    let pool = &worker.pool;
    if pool.device_class == DeviceClass::CpuCi {
        return enough_ram(model.size, available_ram()).map(|()| None);
    }
    let gpus = gpus(worker).await.map_err(|error| error.to_string())?;
    let split = pool.tensor_split.as_deref();
    let placed = worker.host.ledger.place(&gpus, split, model.size);
    placed.map(Some).map_err(|error| error.to_string())
}

/// The GPUs of the pool, as they are now.
async fn gpus(worker: &Worker) -> Result<Vec<Gpu>, GpuProblem> {
    let picture = worker.host.gpus.fresh().await?;
    gpu::resolve(&picture, worker.pool.devices.as_deref())
}

fn enough_ram(need: u64, available: Option<u64>) -> Result<(), String> {
    match available {
        Some(available) if available < need => {
            let (need, available) = (need >> 20, available >> 20);
            Err(format!(
                "the model needs {need} MiB of memory, but {available} MiB are available: stop \
                 something, or use a smaller model"
            ))
        }
        _ => Ok(()),
    }
}

/// Memory that a new process can have, where the kernel tells.
fn available_ram() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Waits until nothing of the process lives any more. It is never abandoned.
pub(super) async fn await_end(
    worker: Arc<Worker>,
    attempt: Attempt,
    guarded: Guarded,
    killed: CancellationToken,
    log_from: Position,
) {
    let how = guarded.gone(killed).await;
    let why = match worker.explain(log_from) {
        Some(words) => format!("{how}; {words}"),
        None => how,
    };
    worker
        .report(attempt.number, Found::Report(Report::Gone(why)))
        .await;
}

/// Asks a starting engine until its model is loaded.
pub(super) async fn await_loaded(
    worker: Arc<Worker>,
    attempt: Attempt,
    adapter: Arc<dyn WorkerAdapter>,
) {
    let mut pause = ASK_FIRST;
    let asking = async {
        loop {
            match adapter.health().await {
                Ok(Health::Ready) => return,
                Ok(Health::Loading) => {
                    worker
                        .report(attempt.number, Found::Report(Report::Loading))
                        .await;
                }
                // Until it listens there is nothing to hear; its end is seen by its guard.
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(ASK_MOST);
        }
    };
    if attempt.stop.run_until_cancelled(asking).await.is_some() {
        worker
            .report(attempt.number, Found::Report(Report::Loaded))
            .await;
    }
}

/// Tests a loaded worker.
// spec: ORCH-3049, OC-POOL-3153
pub(super) async fn test(
    worker: Arc<Worker>,
    attempt: Attempt,
    adapter: Arc<dyn WorkerAdapter>,
    expected: Expected,
    sits: (Option<Placement>, Option<Pid>),
) {
    let testing = async {
        selftest::run(adapter.as_ref(), &expected)
            .await
            .map_err(|error| error.to_string())?;
        let (Some(placement), Some(guard)) = sits else {
            return Ok(());
        };
        let picture = worker
            .host
            .gpus
            .fresh()
            .await
            .map_err(|error| error.to_string())?;
        placement::check(&placement, &picture, &process::pids(guard))
            .map_err(|error| error.to_string())
    };
    match attempt.stop.run_until_cancelled(testing).await {
        Some(Ok(())) => {
            worker
                .report(attempt.number, Found::Report(Report::Tested))
                .await
        }
        Some(Err(cause)) => {
            worker
                .fail(attempt.number, FailureKind::SelfTest, cause)
                .await
        }
        None => {}
    }
}

/// Probes a ready worker until the attempt ends.
pub(super) async fn watch(
    worker: Arc<Worker>,
    attempt: Attempt,
    adapter: Arc<dyn WorkerAdapter>,
    guard: Option<Pid>,
) {
    let watching = async {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut worked, mut count) = (0, 0u32);
        loop {
            ticks.tick().await;
            let answered = matches!(timeout(PROBE_LIMIT, adapter.health()).await, Ok(Ok(_)));
            let now = guard.map_or(0, process::cpu_ticks);
            let progress = now.saturating_sub(worked) >= PROGRESS_TICKS;
            worked = now;
            let report = if answered {
                Report::Answered
            } else {
                Report::Silent { progress }
            };
            worker.report(attempt.number, Found::Report(report)).await;
            if answered && count % METRICS_EVERY == 0 {
                read_metrics(&worker, adapter.as_ref()).await;
            }
            count = count.wrapping_add(1);
        }
    };
    attempt.stop.run_until_cancelled(watching).await;
}

/// Metrics are for display; health is asked elsewhere, so a failure here is only noted.
async fn read_metrics(worker: &Worker, adapter: &dyn WorkerAdapter) {
    match timeout(PROBE_LIMIT, adapter.metrics()).await {
        Ok(Ok(metrics)) => {
            worker.kv.send_replace(metrics.kv_cache_usage_ratio);
        }
        Ok(Err(error)) => tracing::debug!(%error, "metrics cannot be read"),
        Err(_) => tracing::debug!(waited = ?PROBE_LIMIT, "metrics did not come"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-POOL-3124
    #[test]
    fn the_limit_of_a_start_grows_with_the_model() {
        assert_eq!(preload_limit(1_500_000), Duration::from_secs(60));
        assert_eq!(preload_limit(40_000_000_000), Duration::from_secs(3 * 205));
    }

    // spec: OC-POOL-3002, ORCH-3003
    #[test]
    fn a_model_larger_than_the_memory_is_refused_at_once() {
        assert!(enough_ram(1 << 30, Some(1 << 30)).is_ok());
        assert!(enough_ram(1 << 30, None).is_ok());
        let refusal = enough_ram(2 << 30, Some(1 << 30)).unwrap_err();
        assert!(
            refusal.contains("2048 MiB") && refusal.contains("1024 MiB"),
            "{refusal}"
        );
        assert!(available_ram().is_some_and(|bytes| bytes > 0));
    }
}
