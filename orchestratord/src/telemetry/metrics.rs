//! The daemon's series: one method for each fact, so that names, labels and units are written once.
//!
//! # Invariants
//! - Names, types and labels are those of the metrics table in the specs.
//! - No unbounded value becomes a label: engines, priorities, policies and reasons are closed sets,
//!   and versions, pools and replicas are folded to `other` past [`VALUES_MAX`] of each.
//!
//! Not here: GPU, preload and restart series, which pool-managerd exports.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contracts_api_types::error::ErrorCode;
use orchestrator_core::engine::Engine;
use orchestrator_core::fleet::FullPolicy;
use orchestrator_core::priority::Priority;
use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The most values of one open label. Pools and replicas come from configs, so a healthy
/// installation stays far below; a broken agent must not be able to fill the memory.
pub const VALUES_MAX: usize = 1024;

/// The value past the bound.
const OTHER: &str = "other";

/// `replica_id` of a task that has no replica yet.
const UNPLACED: &str = "none";

/// Upper bounds in milliseconds: from a warm token to a long generation, under twenty series each.
const LATENCY_MS: [f64; 16] = [
    5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0,
    60_000.0, 120_000.0, 300_000.0, 600_000.0,
];

const PRIORITY: &str = "priority";
const SET_E: [&str; 1] = ["engine"];
const SET_P: [&str; 3] = ["engine", "engine_version", "pool_id"];
const SET_R: [&str; 4] = ["engine", "engine_version", "pool_id", "replica_id"];

/// Which pool a series is about.
#[derive(Clone, Copy, Debug)]
pub struct PoolLabels<'a> {
    /// Its engine.
    pub engine: Engine,
    /// The engine's version; empty while it is unknown.
    pub engine_version: &'a str,
    /// The pool. On queued work the first pool of the set.
    pub pool_id: &'a str,
}

/// Which replica a series is about.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaLabels<'a> {
    /// Its pool.
    pub pool: PoolLabels<'a>,
    /// The replica; `None` until the task is placed.
    pub replica_id: Option<&'a str>,
}

/// Why a task was canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The client asked for it.
    Client,
    /// Its last reader left and it was submitted with `on_disconnect: cancel`.
    Disconnect,
}

impl CancelReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Disconnect => "disconnect",
        }
    }
}

/// All series of the daemon. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    known: [Mutex<BTreeSet<String>>; 3],
    tasks_enqueued: IntCounterVec,
    tasks_started: IntCounterVec,
    tasks_canceled: IntCounterVec,
    tasks_rejected: IntCounterVec,
    tokens_in: IntCounterVec,
    tokens_out: IntCounterVec,
    queue_depth: IntGaugeVec,
    latency_first_token: HistogramVec,
    latency_decode: HistogramVec,
    backpressure: IntCounterVec,
    cancel_to_slot_free: HistogramVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every family, at zero series.
    // spec: ORCH-3028, OC-CTRL-2051, OC-METRICS-7101
    #[must_use]
    pub fn new() -> Self {
        let families = Families(Registry::new());
        Self {
            tasks_enqueued: families.counter(
                "tasks_enqueued_total",
                "Tasks admitted.",
                &r(PRIORITY),
            ),
            tasks_started: families.counter("tasks_started_total", "Tasks begun.", &r(PRIORITY)),
            tasks_canceled: families.counter(
                "tasks_canceled_total",
                "Tasks canceled.",
                &r("reason"),
            ),
            tasks_rejected: families.counter(
                "tasks_rejected_total",
                "Tasks refused at admission.",
                &[SET_E[0], "reason"],
            ),
            tokens_in: families.counter("tokens_in_total", "Prompt tokens.", &SET_R),
            tokens_out: families.counter("tokens_out_total", "Generated tokens.", &SET_R),
            queue_depth: families.gauge("queue_depth", "Tasks waiting.", &p(PRIORITY)),
            latency_first_token: families.histogram(
                "latency_first_token_ms",
                "Admission to first token, in milliseconds.",
                &p(PRIORITY),
            ),
            latency_decode: families.histogram(
                "latency_decode_ms",
                "First token to end, in milliseconds.",
                &p(PRIORITY),
            ),
            backpressure: families.counter(
                "admission_backpressure_events_total",
                "Answers with status 429.",
                &[SET_E[0], "policy"],
            ),
            cancel_to_slot_free: families.histogram(
                "cancel_to_slot_free_ms",
                "Cancel to a free slot, in milliseconds.",
                &SET_R,
            ),
            known: Default::default(),
            registry: families.0,
        }
    }

    /// The exposition in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("families that were registered are valid, and a Vec takes every byte");
        String::from_utf8(text).expect("the text format is UTF-8")
    }

    /// A task was admitted. It has no replica yet.
    pub fn task_enqueued(&self, pool: PoolLabels<'_>, priority: Priority) {
        let at = ReplicaLabels {
            pool,
            replica_id: None,
        };
        self.count_replica(&self.tasks_enqueued, at, Some(priority.as_str()), 1);
    }

    /// A task's first attempt was begun on a replica.
    pub fn task_started(&self, at: ReplicaLabels<'_>, priority: Priority) {
        self.count_replica(&self.tasks_started, at, Some(priority.as_str()), 1);
    }

    /// A task was canceled, placed or not.
    pub fn task_canceled(&self, at: ReplicaLabels<'_>, reason: CancelReason) {
        self.count_replica(&self.tasks_canceled, at, Some(reason.as_str()), 1);
    }

    /// A task was refused at admission.
    pub fn task_rejected(&self, engine: Engine, reason: ErrorCode) {
        self.tasks_rejected
            .with_label_values(&[engine.as_str(), reason.as_str()])
            .inc();
    }

    /// The engine's account of a task that ran.
    pub fn tokens(&self, at: ReplicaLabels<'_>, tokens_in: u32, tokens_out: u32) {
        self.count_replica(&self.tokens_in, at, None, tokens_in.into());
        self.count_replica(&self.tokens_out, at, None, tokens_out.into());
    }

    /// So many tasks of a class wait.
    pub fn queue_depth(&self, pool: PoolLabels<'_>, priority: Priority, depth: usize) {
        let labels = self.pool_values(pool, priority);
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        self.queue_depth.with_label_values(&labels).set(depth);
    }

    /// The first text of a task came so long after its admission.
    pub fn first_token(&self, pool: PoolLabels<'_>, priority: Priority, after: Duration) {
        let labels = self.pool_values(pool, priority);
        self.latency_first_token
            .with_label_values(&labels)
            .observe(millis(after));
    }

    /// A task ended so long after its first text.
    pub fn decode(&self, pool: PoolLabels<'_>, priority: Priority, took: Duration) {
        let labels = self.pool_values(pool, priority);
        self.latency_decode
            .with_label_values(&labels)
            .observe(millis(took));
    }

    /// A submission was answered with 429.
    pub fn backpressure(&self, engine: Engine, policy: FullPolicy) {
        self.backpressure
            .with_label_values(&[engine.as_str(), policy.as_str()])
            .inc();
    }

    /// The engine freed the slot of a canceled task after this time.
    pub fn slot_freed_after_cancel(&self, at: ReplicaLabels<'_>, after: Duration) {
        let labels = self.replica_values(at);
        self.cancel_to_slot_free
            .with_label_values(&labels)
            .observe(millis(after));
    }

    fn count_replica(
        &self,
        family: &IntCounterVec,
        at: ReplicaLabels<'_>,
        last: Option<&'static str>,
        by: u64,
    ) {
        let mut labels = self.replica_values(at).to_vec();
        labels.extend(last.map(Cow::Borrowed));
        family.with_label_values(&labels).inc_by(by);
    }

    fn pool_values<'a>(&self, pool: PoolLabels<'a>, priority: Priority) -> [Cow<'a, str>; 4] {
        let [engine, version, pool_id, _] = self.replica_values(ReplicaLabels {
            pool,
            replica_id: None,
        });
        [engine, version, pool_id, Cow::Borrowed(priority.as_str())]
    }

    fn replica_values<'a>(&self, at: ReplicaLabels<'a>) -> [Cow<'a, str>; 4] {
        [
            Cow::Borrowed(at.pool.engine.as_str()),
            self.bounded(0, at.pool.engine_version),
            self.bounded(1, at.pool.pool_id),
            at.replica_id
                .map_or(Cow::Borrowed(UNPLACED), |replica| self.bounded(2, replica)),
        ]
    }

    /// The value itself while there is room for it, `other` afterwards.
    // spec: OC-METRICS-7122
    fn bounded<'a>(&self, label: usize, value: &'a str) -> Cow<'a, str> {
        let mut known = self.known[label]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.contains(value) {
            return Cow::Borrowed(value);
        }
        if known.len() >= VALUES_MAX {
            return Cow::Borrowed(OTHER);
        }
        known.insert(value.to_owned());
        Cow::Borrowed(value)
    }
}

fn r(last: &'static str) -> [&'static str; 5] {
    let [engine, version, pool, replica] = SET_R;
    [engine, version, pool, replica, last]
}

fn p(last: &'static str) -> [&'static str; 4] {
    let [engine, version, pool] = SET_P;
    [engine, version, pool, last]
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// Makes and registers families. Names are literals above, so neither step can fail.
struct Families(Registry);

impl Families {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(LATENCY_MS.to_vec());
        self.registered(HistogramVec::new(opts, labels))
    }

    fn registered<F: Collector + Clone + 'static>(&self, family: prometheus::Result<F>) -> F {
        let family = family.expect("names and labels are valid literals");
        self.0
            .register(Box::new(family.clone()))
            .expect("each name is registered once");
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: PoolLabels<'_> = PoolLabels {
        engine: Engine::LlamaCpp,
        engine_version: "b1",
        pool_id: "p0",
    };
    const AT: ReplicaLabels<'_> = ReplicaLabels {
        pool: POOL,
        replica_id: Some("p0-0"),
    };

    fn every_fact(metrics: &Metrics) {
        metrics.task_enqueued(POOL, Priority::Interactive);
        metrics.task_started(AT, Priority::Batch);
        metrics.task_canceled(AT, CancelReason::Client);
        metrics.task_canceled(AT, CancelReason::Disconnect);
        metrics.task_rejected(Engine::Vllm, ErrorCode::AdmissionReject);
        metrics.tokens(AT, 3, 4);
        metrics.queue_depth(POOL, Priority::Interactive, 7);
        metrics.first_token(POOL, Priority::Interactive, Duration::from_millis(30));
        metrics.decode(POOL, Priority::Interactive, Duration::from_millis(900));
        metrics.backpressure(Engine::LlamaCpp, FullPolicy::DropLru);
        metrics.slot_freed_after_cancel(AT, Duration::from_micros(1_500));
    }

    // spec: OC-METRICS-7101, OC-METRICS-7120, OC-METRICS-7121
    #[test]
    fn names_types_and_labels_are_those_of_the_contract() {
        let metrics = Metrics::new();
        every_fact(&metrics);
        let bucket = |line: &&str| !line.contains("_bucket{") || line.contains("+Inf");
        let text: Vec<_> = metrics.render().lines().map(str::to_owned).collect();
        let shown: Vec<_> = text.iter().map(String::as_str).filter(bucket).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn a_latency_is_counted_in_milliseconds() {
        let metrics = Metrics::new();
        metrics.first_token(POOL, Priority::Interactive, Duration::from_millis(30));
        let text = metrics.render();
        assert!(
            text.contains(r#"priority="interactive",le="25"} 0"#),
            "{text}"
        );
        assert!(
            text.contains(r#"priority="interactive",le="50"} 1"#),
            "{text}"
        );
    }

    // spec: OC-METRICS-7122
    #[test]
    fn values_past_the_bound_are_folded_into_one() {
        let metrics = Metrics::new();
        for index in 0..VALUES_MAX + 5 {
            let pool_id = format!("p{index}");
            metrics.tokens(
                ReplicaLabels {
                    pool: PoolLabels {
                        pool_id: &pool_id,
                        ..POOL
                    },
                    ..AT
                },
                1,
                0,
            );
        }
        let text = metrics.render();
        assert!(text.contains(r#"tokens_in_total{engine="llamacpp",engine_version="b1",pool_id="other",replica_id="p0-0"} 5"#));
        assert_eq!(text.matches("tokens_in_total{").count(), VALUES_MAX + 1);
    }
}
