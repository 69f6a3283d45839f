//! What the owner publishes for everyone who only looks: nodes, pools, queues.
//!
//! A snapshot is never older than the last event. Nothing in it holds a worker's key.

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts_api_types::API_VERSION;
use contracts_api_types::capability::{Capabilities, PoolCapability};
use contracts_api_types::node::{NodeSummary, ReplicaState, WorkerPhase};
use contracts_api_types::pool::{PoolFigures, PoolHealth, PoolSummary, ReplicaSummary};
use orchestrator_core::fleet::{Readiness, SetKey};
use orchestrator_core::ids::{PoolId, ReplicaId};
use orchestrator_core::priority::Priority;
use orchestrator_core::scheduler::{ReplicaSnapshot, SetSnapshot};
use orchestrator_core::time::MonoTime;

use crate::services::fleet::{FleetView, Node, Pool};
use crate::services::nodes::NotReady;
use crate::services::wire::millis;

/// The state of everything at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) fleet: Arc<FleetView>,
    pub(crate) sets: BTreeMap<SetKey, SetSnapshot>,
    /// Admitted tasks that have not ended.
    pub(crate) live_tasks: usize,
}

impl Snapshot {
    pub(crate) fn pools(&self) -> Vec<PoolSummary> {
        self.fleet
            .pools
            .iter()
            .map(|(id, pool)| self.pool_summary(id, pool))
            .collect()
    }

    pub(crate) fn pool_health(&self, id: &str) -> Option<PoolHealth> {
        let id = PoolId::parse(id).ok()?;
        let pool = self.fleet.pools.get(&id)?;
        let live = self.fleet.is_live(pool);
        let draining = pool
            .replicas()
            .any(|(_, state)| state.phase == WorkerPhase::Draining);
        Some(PoolHealth {
            live,
            ready: live && pool.ready().next().is_some(),
            draining,
            device_class: pool.state.device_class,
            last_error: pool.cause(),
            metrics: PoolFigures {
                slots: self.ready_slots(pool),
                busy: pool
                    .workers
                    .keys()
                    .map(|replica| self.busy(pool, replica))
                    .sum(),
                queued: self.queued(pool, Priority::Interactive)
                    + self.queued(pool, Priority::Batch),
                restarts: pool
                    .state
                    .replicas
                    .iter()
                    .map(|replica| replica.restarts)
                    .sum(),
            },
        })
    }

    pub(crate) fn nodes(&self, now: MonoTime) -> Vec<NodeSummary> {
        let summary = |(id, node): (&_, &Node)| NodeSummary {
            id: ToString::to_string(id),
            incarnation: node.incarnation,
            version: node.version.clone(),
            api_url: node.api_url.clone(),
            live: node.live,
            last_seen_ms: millis(now.since(node.last_push)),
            devices: node.devices.clone(),
            pools: node.pools.iter().map(PoolId::to_string).collect(),
        };
        self.fleet.nodes.iter().map(summary).collect()
    }

    // spec: ORCH-3095, ORCH-3096, OC-CTRL-2061
    pub(crate) fn capabilities(&self) -> Capabilities {
        let capability = |pool: &Arc<Pool>| PoolCapability {
            pool_id: pool.state.id.clone(),
            engine: pool.state.engine,
            engine_version: pool.state.engine_version.clone(),
            models: pool.model_names(),
            model_digest: pool.state.model_digest.clone(),
            device_class: pool.state.device_class,
            ctx_max: pool.state.ctx,
            // One token of the context is the prompt's at least.
            max_tokens_out: pool.state.ctx.saturating_sub(1),
            concurrency: self.ready_slots(pool),
            workloads: pool.state.workloads.clone(),
            sampler_profile_version: pool.state.sampler_profile_version.clone(),
        };
        Capabilities {
            api_version: API_VERSION.to_owned(),
            pools: self.fleet.pools.values().map(capability).collect(),
        }
    }

    pub(crate) fn readiness(&self) -> Result<(), NotReady> {
        let mut cause = None;
        for pool in self.fleet.pools.values() {
            if self.ready_slots(pool) > 0 {
                return Ok(());
            }
            let silent = || format!("the agent of the host {} is not heard of", pool.node);
            let own = || {
                pool.cause()
                    .unwrap_or_else(|| "it has no replica".to_owned())
            };
            let live = self.fleet.is_live(pool);
            let why = if live { own() } else { silent() };
            cause.get_or_insert_with(|| format!("{}: {why}", pool.state.id));
        }
        Err(cause.map_or(NotReady::NoPool, |cause| NotReady::NoReplica { cause }))
    }

    fn pool_summary(&self, id: &PoolId, pool: &Pool) -> PoolSummary {
        let replica = |((replica, _), state): ((&ReplicaId, _), &ReplicaState)| ReplicaSummary {
            id: state.id.clone(),
            phase: state.phase,
            cause: state.cause.clone(),
            eta_ms: state.eta_ms,
            slots: pool.state.slots,
            busy: self.busy(pool, replica),
            restarts: state.restarts,
        };
        PoolSummary {
            id: id.to_string(),
            node_id: pool.node.to_string(),
            engine: pool.state.engine,
            engine_version: pool.state.engine_version.clone(),
            model_ref: pool.state.model_ref.clone(),
            model_digest: pool.state.model_digest.clone(),
            device_class: pool.state.device_class,
            ctx: pool.state.ctx,
            replicas: pool.replicas().map(replica).collect(),
            queued_interactive: self.queued(pool, Priority::Interactive),
            queued_batch: self.queued(pool, Priority::Batch),
        }
    }

    fn set_of(&self, pool: &Pool) -> Option<&SetSnapshot> {
        self.sets.get(pool.set.as_ref()?)
    }

    fn queued(&self, pool: &Pool, priority: Priority) -> u64 {
        self.set_of(pool)
            .map_or(0, |set| set.queue_depth[priority] as u64)
    }

    fn core_replicas(&self, pool: &Pool) -> impl Iterator<Item = &ReplicaSnapshot> {
        let id = pool.state.id.clone();
        let pools = self.set_of(pool).into_iter().flat_map(|set| &set.pools);
        pools
            .filter(move |known| known.pool.as_str() == id)
            .flat_map(|known| &known.replicas)
    }

    fn busy(&self, pool: &Pool, replica: &ReplicaId) -> u32 {
        let known = self
            .core_replicas(pool)
            .find(|known| known.replica == *replica);
        known.map_or(0, |known| {
            u32::try_from(known.taken_slots).unwrap_or(u32::MAX)
        })
    }

    fn ready_slots(&self, pool: &Pool) -> u32 {
        let ready = self
            .core_replicas(pool)
            .filter(|known| known.readiness == Readiness::Ready);
        ready.map(|known| known.slots).sum()
    }
}
