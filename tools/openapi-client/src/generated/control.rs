//! Written by `openapi-client` from `contracts/openapi`: change the daemons and generate anew.
//!
//! See what serves tasks and how it does, and register nodes.

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::call::{Answer, CallError, Connection, Operation};
use crate::generated::shared::{
    DeviceClass, DeviceStatus, EngineName, NodeState, WorkerPhase, Workload,
};

/// The answer of `GET /v1/capabilities`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Capabilities {
    /// Equal to `info.version` of the OpenAPI documents.
    pub api_version: String,
    /// One entry per pool.
    pub pools: Vec<PoolCapability>,
}

/// The answer to a push: the lease.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct NodeLease {
    /// After this time without a push the node's replicas take no new work.
    pub lease_ms: u64,
    /// How often to push.
    pub renew_ms: u64,
}

/// A node as operators see it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct NodeSummary {
    /// Where its agent listens.
    pub api_url: String,
    /// Its GPUs.
    pub devices: Vec<DeviceStatus>,
    /// The node.
    pub id: String,
    /// Its present incarnation.
    pub incarnation: Uuid,
    /// Time since its last push.
    pub last_seen_ms: u64,
    /// Whether its lease holds.
    pub live: bool,
    /// Its pools.
    pub pools: Vec<String>,
    /// Version of its agent.
    pub version: String,
}

/// What one pool can do.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PoolCapability {
    /// Tasks at once over all ready replicas.
    pub concurrency: u32,
    /// The largest context of a task.
    pub ctx_max: u32,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// Its engine.
    pub engine: EngineName,
    /// The engine's version, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The most tokens of an answer.
    pub max_tokens_out: u32,
    /// Digest of the model file, once it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// Names under which its model can be asked for.
    pub models: Vec<String>,
    /// The pool.
    pub pool_id: String,
    /// The sampler profile.
    pub sampler_profile_version: String,
    /// What it computes.
    pub workloads: Vec<Workload>,
}

/// Figures of a pool at this moment.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PoolFigures {
    /// Slots in use.
    pub busy: u32,
    /// Queued tasks of its set.
    pub queued: u64,
    /// Restarts of its workers since the agent started.
    pub restarts: u64,
    /// Slots of all ready replicas.
    pub slots: u32,
}

/// Whether a pool lives and takes work.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PoolHealth {
    /// The kind of device.
    pub device_class: DeviceClass,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// Why it is not ready, or the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Its agent's lease holds.
    pub live: bool,
    /// Figures of the moment.
    pub metrics: PoolFigures,
    /// At least one replica takes work.
    pub ready: bool,
}

/// One pool in short.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PoolSummary {
    /// Context of one task, in tokens.
    pub ctx: u32,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// Its engine.
    pub engine: EngineName,
    /// The engine's version, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The pool.
    pub id: String,
    /// Digest of the model file, once it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// The model as the config names it.
    pub model_ref: String,
    /// The host that runs it.
    pub node_id: String,
    /// Queued batch tasks of its set.
    pub queued_batch: u64,
    /// Queued interactive tasks of its set.
    pub queued_interactive: u64,
    /// Its workers.
    pub replicas: Vec<ReplicaSummary>,
}

/// One worker in short.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReplicaSummary {
    /// Slots in use.
    pub busy: u32,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Expected time until it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
    /// The replica.
    pub id: String,
    /// Where it stands.
    pub phase: WorkerPhase,
    /// Restarts since its agent started.
    pub restarts: u64,
    /// Generations at once.
    pub slots: u32,
}

/// The operation `health`.
pub const HEALTH: Operation = Operation {
    id: "health",
    method: Method::GET,
    path: "/healthz",
    success: 200,
    refusals: &[500],
    bare: &[],
};

/// Whether the process works.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn health(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<String>, CallError> {
    connection
        .call(&HEALTH, &[])
        .header("x-correlation-id", x_correlation_id)
        .text()
        .await
}

/// The operation `metrics`.
pub const METRICS: Operation = Operation {
    id: "metrics",
    method: Method::GET,
    path: "/metrics",
    success: 200,
    refusals: &[401, 403, 500],
    bare: &[],
};

/// Read the series.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn metrics(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<String>, CallError> {
    connection
        .call(&METRICS, &[])
        .header("x-correlation-id", x_correlation_id)
        .text()
        .await
}

/// The operation `readiness`.
pub const READINESS: Operation = Operation {
    id: "readiness",
    method: Method::GET,
    path: "/readyz",
    success: 200,
    refusals: &[500, 503],
    bare: &[],
};

/// Whether tasks can be admitted now.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn readiness(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<String>, CallError> {
    connection
        .call(&READINESS, &[])
        .header("x-correlation-id", x_correlation_id)
        .text()
        .await
}

/// The operation `capabilities_read`.
pub const CAPABILITIES_READ: Operation = Operation {
    id: "capabilities_read",
    method: Method::GET,
    path: "/v1/capabilities",
    success: 200,
    refusals: &[401, 403, 500],
    bare: &[],
};

/// Read what this installation can do.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn capabilities_read(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<Capabilities>, CallError> {
    connection
        .call(&CAPABILITIES_READ, &[])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}

/// The operation `node_list`.
pub const NODE_LIST: Operation = Operation {
    id: "node_list",
    method: Method::GET,
    path: "/v1/nodes",
    success: 200,
    refusals: &[401, 403, 500],
    bare: &[],
};

/// List the nodes.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn node_list(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<Vec<NodeSummary>>, CallError> {
    connection
        .call(&NODE_LIST, &[])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}

/// The operation `node_push`.
pub const NODE_PUSH: Operation = Operation {
    id: "node_push",
    method: Method::PUT,
    path: "/v1/nodes/{node_id}",
    success: 200,
    refusals: &[400, 401, 409, 413, 415, 500, 503],
    bare: &[408],
};

/// Register a node, or renew its lease.
///
/// Carries the node's whole state, so the newest push alone is enough. Needs the node token,
/// also on loopback.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn node_push(
    connection: &Connection,
    node_id: &str,
    x_correlation_id: Option<&str>,
    body: &NodeState,
) -> Result<Answer<NodeLease>, CallError> {
    connection
        .call(&NODE_PUSH, &[node_id])
        .header("x-correlation-id", x_correlation_id)
        .body(body)
        .json()
        .await
}

/// The operation `pool_list`.
pub const POOL_LIST: Operation = Operation {
    id: "pool_list",
    method: Method::GET,
    path: "/v1/pools",
    success: 200,
    refusals: &[401, 403, 500],
    bare: &[],
};

/// List the pools.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn pool_list(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<Vec<PoolSummary>>, CallError> {
    connection
        .call(&POOL_LIST, &[])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}

/// The operation `pool_health`.
pub const POOL_HEALTH: Operation = Operation {
    id: "pool_health",
    method: Method::GET,
    path: "/v1/pools/{pool_id}/health",
    success: 200,
    refusals: &[400, 401, 403, 404, 500],
    bare: &[],
};

/// Read a pool's health.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn pool_health(
    connection: &Connection,
    pool_id: &str,
    x_correlation_id: Option<&str>,
) -> Result<Answer<PoolHealth>, CallError> {
    connection
        .call(&POOL_HEALTH, &[pool_id])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}
