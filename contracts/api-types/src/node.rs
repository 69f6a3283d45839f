//! What a pool-managerd pushes to orchestratord, and what it gets back.
//!
//! The push is level-triggered: it carries the whole state, so the newest one alone is enough.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::kind::{DeviceClass, EngineName, FullQueuePolicy, Workload, names};

/// The whole state of one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// Made afresh at every start of the agent.
    pub incarnation: Uuid,
    /// Grows with every push of one incarnation; an older one is ignored.
    pub seq: u64,
    /// Version of the agent.
    pub version: String,
    /// Where the agent's own API listens.
    #[schema(example = "http://127.0.0.1:9200")]
    pub api_url: String,
    /// The GPUs of this host.
    pub devices: Vec<DeviceStatus>,
    /// Its pools.
    pub pools: Vec<PoolState>,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceStatus {
    /// Index in NVML's order.
    pub index: u32,
    /// UUID; what configs are resolved to.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// Memory in all.
    pub vram_total_bytes: u64,
    /// Memory free now.
    pub vram_free_bytes: u64,
}

/// One pool: a model, an engine, devices, and the replicas that serve it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolState {
    /// The pool; unique over all nodes.
    pub id: String,
    /// Its engine.
    pub engine: EngineName,
    /// The model as the config names it.
    pub model_ref: String,
    /// Other names under which the model can be asked for.
    pub aliases: Vec<String>,
    /// `sha256:…` of the model file, once it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// The engine's version, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Context of one task, in tokens.
    pub ctx: u32,
    /// Generations at once, per replica.
    pub slots: u32,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// The sampler profile.
    pub sampler_profile_version: String,
    /// What it computes.
    pub workloads: Vec<Workload>,
    /// How its queue is bounded.
    pub queue: QueueBounds,
    /// The longest waits on its engine.
    pub timeouts: PoolTimeouts,
    /// Its workers.
    pub replicas: Vec<ReplicaState>,
}

/// Bounds of a pool's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueBounds {
    /// Tasks per priority class.
    pub capacity: u32,
    /// Bytes of requests per priority class.
    pub bytes: u64,
    /// What a full interactive queue does.
    pub interactive_full: FullQueuePolicy,
    /// What a full batch queue does.
    pub batch_full: FullQueuePolicy,
}

/// The longest waits on an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolTimeouts {
    /// From the request to the first text.
    pub first_token_ms: u64,
    /// Between two pieces of text.
    pub gap_ms: u64,
}

names! {
    /// Where a worker stands in its life.
    WorkerPhase {
        /// Its engine is being fetched or built.
        Provisioning = "provisioning",
        /// Model, devices and tools are being checked.
        Preflight = "preflight",
        /// Its process has been started.
        Starting = "starting",
        /// Its model is loading.
        Preloading = "preloading",
        /// It is being tested with a small generation.
        SelfTest = "self-test",
        /// It takes work.
        Ready = "ready",
        /// It finishes what it has and takes nothing new.
        Draining = "draining",
        /// It failed and waits for its next start.
        BackingOff = "backing-off",
        /// It failed too often; somebody has to act.
        Broken = "broken",
    }
}

/// One worker process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicaState {
    /// The replica.
    pub id: String,
    /// Where it stands.
    pub phase: WorkerPhase,
    /// Grows with every start of its process: a new number means that the old process is gone.
    pub start: u64,
    /// Why it is not ready, in words that a person can act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Expected time until it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
    /// How to reach it, while it is ready or draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<WorkerEndpoint>,
    /// UUIDs of its devices; empty on a CPU.
    pub devices: Vec<String>,
    /// Memory free on its devices; 0 on a CPU.
    pub vram_free_bytes: u64,
    /// Restarts since the agent started.
    pub restarts: u64,
}

/// Address and key of a worker. The key is made afresh for each start and never shown to clients.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerEndpoint {
    /// Base URL on the loopback interface.
    pub url: String,
    /// Bearer key, where the engine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

impl std::fmt::Debug for WorkerEndpoint {
    /// Leaves the key out: states are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerEndpoint")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The answer to a push: the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeLease {
    /// After this time without a push the node's replicas take no new work.
    pub lease_ms: u64,
    /// How often to push.
    pub renew_ms: u64,
}

/// A node as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeSummary {
    /// The node.
    pub id: String,
    /// Its present incarnation.
    pub incarnation: Uuid,
    /// Version of its agent.
    pub version: String,
    /// Where its agent listens.
    pub api_url: String,
    /// Whether its lease holds.
    pub live: bool,
    /// Time since its last push.
    pub last_seen_ms: u64,
    /// Its GPUs.
    pub devices: Vec<DeviceStatus>,
    /// Its pools.
    pub pools: Vec<String>,
}
