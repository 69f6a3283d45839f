//! This host as others see it: its whole state, and the push of it to orchestratord.
//!
//! # Invariants
//! - Every push carries everything, with a number that grows, so the newest alone is enough and a
//!   lost one does no harm.
//! - The workers' keys are in pushes only, never in what the agent's own API shows.
//!
//! Not here: when a worker changes (supervisor).

mod push;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contracts_api_types::kind::Workload;
use contracts_api_types::node::{
    DeviceStatus, NodeState, PoolState, PoolTimeouts, QueueBounds, ReplicaState, WorkerEndpoint,
    WorkerPhase,
};
use contracts_api_types::pool::{PoolDetail, ReplicaLog};
use contracts_config_schema::PoolConfig;
use orchestrator_core::time::MonoTime;
use uuid::Uuid;

pub use push::{Target, push};

use crate::fleet::{Pool, View};
use crate::gpu::Gpu;
use crate::host::Host;
use crate::model;
use crate::supervisor::state::Phase;
use crate::supervisor::{WorkerHandle, load_estimate};

/// The shortest limit for a first token that is worked out.
const FIRST_TOKEN_MIN: Duration = Duration::from_secs(30);

/// This host.
#[derive(Debug)]
pub struct Node {
    /// Made afresh at every start.
    incarnation: Uuid,
    api_url: String,
    pools: Vec<Pool>,
    host: Arc<Host>,
    seq: AtomicU64,
}

impl Node {
    /// A node whose API answers at `api_url`.
    #[must_use]
    pub fn new(api_url: String, pools: Vec<Pool>, host: Arc<Host>) -> Self {
        Self {
            incarnation: Uuid::new_v4(),
            api_url,
            pools,
            host,
            seq: AtomicU64::new(0),
        }
    }

    /// What this start of the agent is called.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// The whole state as the next push carries it.
    // spec: ORCH-3403
    fn next_state(&self) -> NodeState {
        self.state_numbered(self.seq.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The whole state for people: with the number of the last push, and without keys.
    // spec: OC-POOL-3114
    #[must_use]
    pub fn public_state(&self) -> NodeState {
        let mut state = self.state_numbered(self.seq.load(Ordering::Relaxed));
        state.pools.iter_mut().for_each(hide_keys);
        state
    }

    fn state_numbered(&self, seq: u64) -> NodeState {
        let picture = self.picture();
        let now = self.host.clock.now();
        NodeState {
            incarnation: self.incarnation,
            seq,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_url: self.api_url.clone(),
            devices: picture.iter().map(device).collect(),
            pools: self
                .pools
                .iter()
                .map(|pool| pool_state(pool, &picture, now))
                .collect(),
        }
    }

    /// One pool with its logs, without keys.
    #[must_use]
    pub fn pool(&self, id: &str) -> Option<PoolDetail> {
        let pool = self.pools.iter().find(|pool| pool.config.id == id)?;
        let mut state = pool_state(pool, &self.picture(), self.host.clock.now());
        hide_keys(&mut state);
        let log = |worker: &WorkerHandle| ReplicaLog {
            replica_id: worker.replica.clone(),
            lines: worker.logs.lines(),
        };
        Some(PoolDetail {
            state,
            logs: pool.workers.iter().map(log).collect(),
        })
    }

    /// The ids of all pools.
    #[must_use]
    pub fn pool_ids(&self) -> Vec<String> {
        self.pools
            .iter()
            .map(|pool| pool.config.id.clone())
            .collect()
    }

    /// The pools that take no work, each with the cause.
    // spec: OC-POOL-3003
    #[must_use]
    pub fn unready(&self) -> Vec<(String, String)> {
        let not_ready = |pool: &Pool| {
            let views: Vec<View> = pool
                .workers
                .iter()
                .map(|w| w.view.borrow().clone())
                .collect();
            if views.iter().any(|view| view.phase == Phase::Ready) {
                return None;
            }
            let cause = views
                .into_iter()
                .find_map(|view| view.cause)
                .unwrap_or_default();
            Some((pool.config.id.clone(), cause))
        };
        self.pools.iter().filter_map(not_ready).collect()
    }

    /// The series of this moment.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.host.counters.render(&self.pools, &self.picture())
    }

    /// The GPUs; none where none can be seen. Pools that need one say why there is none.
    fn picture(&self) -> Arc<Vec<Gpu>> {
        self.host.gpus.now().unwrap_or_default()
    }
}

fn hide_keys(pool: &mut PoolState) {
    for replica in &mut pool.replicas {
        if let Some(endpoint) = &mut replica.endpoint {
            endpoint.api_key = None;
        }
    }
}

fn device(gpu: &Gpu) -> DeviceStatus {
    DeviceStatus {
        index: gpu.index,
        uuid: gpu.uuid.clone(),
        name: gpu.name.clone(),
        vram_total_bytes: gpu.total_bytes,
        vram_free_bytes: gpu.free_bytes,
    }
}

fn pool_state(pool: &Pool, picture: &[Gpu], now: MonoTime) -> PoolState {
    let config = &pool.config;
    let views: Vec<(&str, View)> = pool
        .workers
        .iter()
        .map(|worker| (worker.replica.as_str(), worker.view.borrow().clone()))
        .collect();
    let model = views.iter().find_map(|(_, view)| view.model.as_ref());
    PoolState {
        id: config.id.clone(),
        engine: config.engine,
        model_ref: config.model.clone(),
        aliases: model::aliases(
            &config.model,
            &config.aliases,
            model.map(|m| Path::new(&m.path)),
        ),
        model_digest: model.map(|model| model.digest.clone()),
        engine_version: views
            .iter()
            .find_map(|(_, view)| view.engine_version.clone()),
        ctx: config.ctx,
        slots: config.slots,
        device_class: config.device_class,
        sampler_profile_version: config.sampler_profile_version.clone(),
        workloads: vec![Workload::Completion],
        queue: QueueBounds {
            capacity: config.queue.capacity,
            bytes: config.queue.bytes.0,
            interactive_full: config.queue.full_policy.interactive,
            batch_full: config.queue.full_policy.batch,
        },
        timeouts: timeouts(config, model.map_or(0, |model| model.size)),
        replicas: views
            .iter()
            .map(|(id, view)| replica(id, view, picture, now))
            .collect(),
    }
}

// spec: OC-CTRL-2123
fn timeouts(config: &PoolConfig, model_bytes: u64) -> PoolTimeouts {
    let first_token = (load_estimate(model_bytes) * 3).max(FIRST_TOKEN_MIN);
    PoolTimeouts {
        first_token_ms: millis(config.timeouts.first_token.unwrap_or(first_token)),
        gap_ms: millis(config.timeouts.gap.0),
    }
}

// spec: OC-POOL-3003, OC-POOL-3126, OC-POOL-3130
fn replica(id: &str, view: &View, picture: &[Gpu], now: MonoTime) -> ReplicaState {
    let on_it = picture
        .iter()
        .filter(|gpu| view.devices.contains(&gpu.uuid));
    ReplicaState {
        id: id.to_owned(),
        phase: phase(view.phase),
        start: view.start,
        cause: view.cause.clone(),
        eta_ms: view.ready_at.map(|at| millis(at.since(now))),
        endpoint: view.endpoint.as_ref().map(|endpoint| WorkerEndpoint {
            url: endpoint.url.clone(),
            api_key: Some(endpoint.key.clone()),
        }),
        devices: view.devices.clone(),
        vram_free_bytes: on_it.map(|gpu| gpu.free_bytes).sum(),
        restarts: view.restarts,
    }
}

fn phase(phase: Phase) -> WorkerPhase {
    match phase {
        Phase::Provisioning => WorkerPhase::Provisioning,
        Phase::Preflight => WorkerPhase::Preflight,
        Phase::Starting => WorkerPhase::Starting,
        Phase::Preloading => WorkerPhase::Preloading,
        Phase::SelfTest => WorkerPhase::SelfTest,
        Phase::Ready => WorkerPhase::Ready,
        Phase::Draining => WorkerPhase::Draining,
        Phase::BackingOff => WorkerPhase::BackingOff,
        Phase::Broken => WorkerPhase::Broken,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(timeouts: &str) -> PoolConfig {
        let pool = format!(
            r#"{{"id":"p","engine":"llamacpp","model":"file:m.gguf","timeouts":{timeouts}}}"#
        );
        serde_json::from_str(&pool).unwrap()
    }

    // spec: OC-CTRL-2123
    #[test]
    fn the_first_text_may_take_three_loads_of_the_model_and_never_less_than_30_s() {
        let auto = pool("{}");
        assert_eq!(timeouts(&auto, 0).first_token_ms, 30_000);
        let huge = 1 << 40;
        assert_eq!(
            timeouts(&auto, huge).first_token_ms,
            3 * millis(load_estimate(huge))
        );
        assert!(timeouts(&auto, huge).first_token_ms > 30_000);
        assert_eq!(timeouts(&auto, huge).gap_ms, 30_000);
        let given = timeouts(&pool(r#"{"first_token":"5s","gap":"2s"}"#), huge);
        assert_eq!((given.first_token_ms, given.gap_ms), (5_000, 2_000));
    }
}
