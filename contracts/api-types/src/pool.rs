//! Pools as operators see them, in both daemons.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::kind::{DeviceClass, EngineName};
use crate::node::{PoolState, WorkerPhase};

/// One pool in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolSummary {
    /// The pool.
    pub id: String,
    /// The host that runs it.
    pub node_id: String,
    /// Its engine.
    pub engine: EngineName,
    /// The engine's version, once it is known.
    pub engine_version: Option<String>,
    /// The model as the config names it.
    pub model_ref: String,
    /// Digest of the model file, once it has been read.
    pub model_digest: Option<String>,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// Context of one task, in tokens.
    pub ctx: u32,
    /// Its workers.
    pub replicas: Vec<ReplicaSummary>,
    /// Queued interactive tasks of its set.
    pub queued_interactive: u64,
    /// Queued batch tasks of its set.
    pub queued_batch: u64,
}

/// One worker in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaSummary {
    /// The replica.
    pub id: String,
    /// Where it stands.
    pub phase: WorkerPhase,
    /// Why it is not ready.
    pub cause: Option<String>,
    /// Expected time until it is ready.
    pub eta_ms: Option<u64>,
    /// Generations at once.
    pub slots: u32,
    /// Slots in use.
    pub busy: u32,
    /// Restarts since its agent started.
    pub restarts: u64,
}

/// Whether a pool lives and takes work.
// spec: ORCH-2103, OC-CTRL-2001
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolHealth {
    /// Its agent's lease holds.
    pub live: bool,
    /// At least one replica takes work.
    pub ready: bool,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// Why it is not ready, or the last failure.
    pub last_error: Option<String>,
    /// Figures of the moment.
    pub metrics: PoolFigures,
}

/// Figures of a pool at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolFigures {
    /// Slots of all ready replicas.
    pub slots: u32,
    /// Slots in use.
    pub busy: u32,
    /// Queued tasks of its set.
    pub queued: u64,
    /// Restarts of its workers since the agent started.
    pub restarts: u64,
}

/// One pool as its agent knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolDetail {
    /// Its state as it is pushed, without the workers' keys.
    pub state: PoolState,
    /// The last lines of each worker's log, oldest first.
    pub logs: Vec<ReplicaLog>,
}

/// The last log lines of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaLog {
    /// The replica.
    pub replica_id: String,
    /// Lines, oldest first.
    pub lines: Vec<String>,
}
