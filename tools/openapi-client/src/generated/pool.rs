//! Written by `openapi-client` from `contracts/openapi`: change the daemons and generate anew.
//!
//! See what one host does. Loopback only.

use http::Method;
use serde::{Deserialize, Serialize};

use crate::call::{Answer, CallError, Connection, Operation};
use crate::generated::shared::{NodeState, PoolState};

/// One pool as its agent knows it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PoolDetail {
    /// The last lines of each worker's log, oldest first.
    pub logs: Vec<ReplicaLog>,
    /// Its state as it is pushed, without the workers' keys.
    pub state: PoolState,
}

/// The last log lines of one worker.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ReplicaLog {
    /// Lines, oldest first.
    pub lines: Vec<String>,
    /// The replica.
    pub replica_id: String,
}

/// The operation `health`.
pub const HEALTH: Operation = Operation {
    id: "health",
    method: Method::GET,
    path: "/healthz",
    success: 200,
    refusals: &[],
    bare: &[],
};

/// Whether the process works.
///
/// With the name of this start, which changes when the agent is started again.
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
    refusals: &[],
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
    refusals: &[503],
    bare: &[],
};

/// Whether every pool takes work.
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

/// The operation `node_read`.
pub const NODE_READ: Operation = Operation {
    id: "node_read",
    method: Method::GET,
    path: "/v1/node",
    success: 200,
    refusals: &[401],
    bare: &[],
};

/// Read the state of this host.
///
/// The same that is pushed to orchestratord, without the workers' keys.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn node_read(
    connection: &Connection,
    x_correlation_id: Option<&str>,
) -> Result<Answer<NodeState>, CallError> {
    connection
        .call(&NODE_READ, &[])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}

/// The operation `pool_read`.
pub const POOL_READ: Operation = Operation {
    id: "pool_read",
    method: Method::GET,
    path: "/v1/pools/{pool_id}",
    success: 200,
    refusals: &[400, 401, 404],
    bare: &[],
};

/// Read one pool.
///
/// With the last lines that each of its workers printed.
///
/// # Errors
/// [`CallError`] says what came instead.
pub async fn pool_read(
    connection: &Connection,
    pool_id: &str,
    x_correlation_id: Option<&str>,
) -> Result<Answer<PoolDetail>, CallError> {
    connection
        .call(&POOL_READ, &[pool_id])
        .header("x-correlation-id", x_correlation_id)
        .json()
        .await
}
