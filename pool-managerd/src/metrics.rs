//! The agent's series: counters as things happen, gauges when somebody looks.
//!
//! # Invariants
//! - Names, types and labels are those of the metrics table in the specs.
//! - Every label comes from the config, from a device of this host or from a closed set.
//! - A gauge of something that is gone is not shown.
//!
//! Not here: tasks, queues and latencies, which orchestratord exports.

use contracts_config_schema::PoolConfig;
use prometheus::core::Collector;
use prometheus::{CounterVec, Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::fleet::{Pool, View};
use crate::gpu::Gpu;
use crate::supervisor::state::{FailureKind, Outcome, Phase};

const SET_P: [&str; 3] = ["engine", "engine_version", "pool_id"];
const SET_R: [&str; 4] = ["engine", "engine_version", "pool_id", "replica_id"];

/// The label of an engine whose version is not known yet.
pub const UNKNOWN: &str = "unknown";

/// What is counted, from the start of the agent on.
#[derive(Debug)]
pub struct Counters {
    registry: Registry,
    preloads: IntCounterVec,
    restarts: IntCounterVec,
}

impl Counters {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let preloads = IntCounterVec::new(
            Opts::new(
                "pool_preloads_total",
                "Attempts to get a worker ready, by outcome.",
            ),
            &with(&SET_P, "outcome"),
        );
        let restarts = IntCounterVec::new(
            Opts::new(
                "worker_restarts_total",
                "Worker processes started again, by reason.",
            ),
            &with(&SET_R, "reason"),
        );
        Self {
            preloads: registered(&registry, preloads),
            restarts: registered(&registry, restarts),
            registry,
        }
    }

    /// What became of an attempt.
    // spec: OC-POOL-3030
    pub fn outcome(&self, pool: &PoolConfig, engine_version: &str, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Ready => "ready",
            Outcome::NotReady(kind) => kind.as_str(),
            // The attempt was counted when it got ready.
            Outcome::Lost(_) => return,
        };
        let labels = [pool.engine.as_str(), engine_version, &pool.id, outcome];
        self.preloads.with_label_values(&labels).inc();
    }

    /// A worker's process was started again.
    // spec: OC-POOL-3030
    pub fn restarted(
        &self,
        pool: &PoolConfig,
        engine_version: &str,
        replica: &str,
        why: FailureKind,
    ) {
        let labels = [
            pool.engine.as_str(),
            engine_version,
            &pool.id,
            replica,
            why.as_str(),
        ];
        self.restarts.with_label_values(&labels).inc();
    }

    /// All series as Prometheus reads them: the counters, and gauges of this moment.
    // spec: ORCH-3028, OC-POOL-3030
    #[must_use]
    pub fn render(&self, pools: &[Pool], picture: &[Gpu]) -> String {
        let gauges = Gauges::of(pools, picture);
        let mut families = self.registry.gather();
        families.extend(gauges.0.gather());
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("a Vec takes all bytes");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

fn with<'a>(labels: &[&'a str], last: &'a str) -> Vec<&'a str> {
    labels.iter().copied().chain([last]).collect()
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("names and labels are of the right form");
    registry
        .register(Box::new(collector.clone()))
        .expect("each name is registered once");
    collector
}

/// The gauges of one moment.
struct Gauges(Registry);

impl Gauges {
    fn of(pools: &[Pool], picture: &[Gpu]) -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let device = with(&SET_R, "device");
        let kv = gauge(
            "kv_cache_usage_ratio",
            "Share of the KV cache in use.",
            &SET_R,
        );
        let busy = gauge(
            "gpu_utilization",
            "Share of time that the GPU was busy.",
            &device,
        );
        let vram = gauge("vram_used_bytes", "Memory in use on the GPU.", &device);
        let heat = gauge(
            "gpu_temperature_celsius",
            "Temperature of the GPU.",
            &device,
        );
        let help = "Uncorrected memory errors of the GPU since its driver was loaded.";
        let errors = CounterVec::new(Opts::new("gpu_ecc_errors_total", help), &device);
        let errors = registered(&registry, errors);
        for pool in pools {
            for worker in &pool.workers {
                let view = worker.view.borrow().clone();
                let labels = replica_labels(pool, &worker.replica, &view);
                if let (Phase::Ready, Some(ratio)) = (view.phase, *worker.kv.borrow()) {
                    kv.with_label_values(&labels).set(ratio);
                }
                for gpu in picture
                    .iter()
                    .filter(|gpu| view.devices.contains(&gpu.uuid))
                {
                    let labels = with(&labels, &gpu.uuid);
                    vram.with_label_values(&labels).set(gpu.used_bytes as f64);
                    let known = [
                        (&busy, gpu.utilization),
                        (&heat, gpu.temperature.map(f64::from)),
                    ];
                    for (gauge, value) in known {
                        if let Some(value) = value {
                            gauge.with_label_values(&labels).set(value);
                        }
                    }
                    if let Some(count) = gpu.ecc_errors {
                        errors.with_label_values(&labels).inc_by(count as f64);
                    }
                }
            }
        }
        Self(registry)
    }
}

fn replica_labels<'a>(pool: &'a Pool, replica: &'a str, view: &'a View) -> [&'a str; 4] {
    let version = view.engine_version.as_deref().unwrap_or(UNKNOWN);
    [
        pool.config.engine.as_str(),
        version,
        &pool.config.id,
        replica,
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::gpu::tests::gpu;
    use crate::logs::LogRing;
    use crate::supervisor::WorkerHandle;

    fn pool(phase: Phase, kv: Option<f64>) -> Pool {
        let config = contracts_config_schema::PoolConfig {
            id: "haiku".into(),
            engine: contracts_api_types::kind::EngineName::LlamaCpp,
            model: "file:m.gguf".into(),
            aliases: Vec::new(),
            ctx: 512,
            device_class: contracts_api_types::kind::DeviceClass::Nvidia,
            devices: None,
            tensor_split: None,
            replicas: 1,
            slots: 1,
            threads: None,
            sampler_profile_version: "v1".into(),
            provisioning: Default::default(),
            queue: Default::default(),
            timeouts: Default::default(),
            restart: Default::default(),
        };
        let view = View {
            phase,
            cause: None,
            start: 1,
            restarts: 0,
            ready_at: None,
            endpoint: None,
            devices: vec!["GPU-1".into()],
            engine_version: Some("b1-x".into()),
            model: None,
        };
        let worker = WorkerHandle {
            replica: "haiku-0".into(),
            view: watch::channel(view).1,
            kv: watch::channel(kv).1,
            logs: LogRing::default(),
        };
        Pool {
            config: Arc::new(config),
            workers: vec![worker],
        }
    }

    fn series(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    const P: &str = r#"engine="llamacpp",engine_version="b1-x""#;

    // spec: ORCH-3028, OC-POOL-3030
    #[test]
    fn names_and_labels_are_those_of_the_contract() {
        let counters = Counters::new();
        let pool = pool(Phase::Ready, Some(0.25));
        counters.outcome(&pool.config, "b1-x", Outcome::Ready);
        counters.outcome(
            &pool.config,
            "b1-x",
            Outcome::NotReady(FailureKind::Preflight),
        );
        counters.outcome(&pool.config, "b1-x", Outcome::Lost(FailureKind::Exit));
        counters.restarted(&pool.config, "b1-x", "haiku-0", FailureKind::Exit);
        let mut device = gpu(1, 4, 3);
        (device.utilization, device.temperature) = (Some(0.5), Some(61));
        device.ecc_errors = Some(2);
        let text = counters.render(&[pool], &[gpu(0, 8, 8), device]);
        let on = r#"device="GPU-1""#;
        let of = r#"pool_id="haiku",replica_id="haiku-0""#;
        let expected = [
            format!(r#"pool_preloads_total{{{P},outcome="preflight",pool_id="haiku"}} 1"#),
            format!(r#"pool_preloads_total{{{P},outcome="ready",pool_id="haiku"}} 1"#),
            format!(
                r#"worker_restarts_total{{{P},pool_id="haiku",reason="exit",replica_id="haiku-0"}} 1"#
            ),
            format!("gpu_ecc_errors_total{{{on},{P},{of}}} 2"),
            format!("gpu_temperature_celsius{{{on},{P},{of}}} 61"),
            format!("gpu_utilization{{{on},{P},{of}}} 0.5"),
            format!("kv_cache_usage_ratio{{{P},{of}}} 0.25"),
            format!("vram_used_bytes{{{on},{P},{of}}} 1073741824"),
        ];
        assert_eq!(series(&text), expected);
    }

    #[test]
    fn what_is_not_known_or_not_ready_has_no_gauge() {
        let counters = Counters::new();
        let text = counters.render(&[pool(Phase::BackingOff, Some(0.5))], &[gpu(0, 8, 8)]);
        assert_eq!(text, "");
    }
}
