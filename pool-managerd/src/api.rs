//! The agent's own API: what this host does, for people, monitors and orchestratord.
//!
//! Handlers take one picture and render it. What holds for every request is a layer.
//!
//! # Invariants
//! - Everything below `/v1` needs the node token, on loopback too. [OC-POOL-3115]
//! - A worker's key is never in an answer. [OC-POOL-3114]
//!
//! Not here: sockets and their limits (edge), the push to orchestratord (node).

mod auth;
mod correlation;
mod error;
mod openapi;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::{Json, Router};
use contracts_api_types::node::NodeState;
use contracts_api_types::pool::PoolDetail;
use http::header::CONTENT_TYPE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::NodeToken;
pub use openapi::to_yaml;

use crate::node::Node;
use error::ApiError;

/// The text format of Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole API over `node`; `token` opens what is not open to everybody.
pub fn router(node: Arc<Node>, token: NodeToken) -> Router {
    // The gate stands inside the routes, so an unknown path is a 404 for everybody.
    let gate = from_fn_with_state(Arc::new(token), auth::require_node_token);
    Router::new()
        .merge(
            gated_routes()
                .with_state(Arc::clone(&node))
                .route_layer(gate),
        )
        .merge(open_routes().with_state(node))
        .fallback(unknown_path)
        // Outermost: every answer carries the id, whichever layer gave it.
        .layer(from_fn(correlation::correlate))
}

fn gated_routes() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::default()
        .routes(routes!(read_node))
        .routes(routes!(read_pool))
}

/// Open to everybody who can reach this address, which is this host only.
fn open_routes() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::default()
        .routes(routes!(read_metrics))
        .routes(routes!(read_health))
        .routes(routes!(read_readiness))
}

async fn unknown_path() -> ApiError {
    ApiError::UnknownPath
}

/// Read the state of this host.
///
/// The same that is pushed to orchestratord, without the workers' keys.
#[utoipa::path(
    get,
    path = "/v1/node",
    tag = "node",
    operation_id = "node_read",
    responses((status = 200, description = "The whole state.", body = NodeState)),
    extensions(("x-req-id" = json!(["ORCH-3403", "OC-POOL-3003", "OC-POOL-3115"]))),
)]
async fn read_node(State(node): State<Arc<Node>>) -> Json<NodeState> {
    Json(node.public_state())
}

/// Read one pool.
///
/// With the last lines that each of its workers printed.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool_id}",
    tag = "node",
    operation_id = "pool_read",
    params(("pool_id" = String, Path, description = "The pool's id in the config.")),
    responses((status = 200, description = "The pool and its logs.", body = PoolDetail)),
    extensions(("x-req-id" = json!(["OC-POOL-3003", "OC-POOL-3115", "OC-POOL-3130"]))),
)]
async fn read_pool(
    State(node): State<Arc<Node>>,
    pool_id: Result<Path<String>, PathRejection>,
) -> Result<Json<PoolDetail>, ApiError> {
    let Path(pool) = pool_id.map_err(|_| ApiError::BadPath { field: "pool_id" })?;
    let found = node.pool(&pool);
    found.map(Json).ok_or_else(|| ApiError::UnknownPool {
        pool,
        available: node.pool_ids(),
    })
}

/// Read the series.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "probes",
    operation_id = "metrics",
    security(()),
    responses((
        status = 200,
        description = "All series, in Prometheus' text format.",
        body = String,
        content_type = "text/plain",
        example = json!("# TYPE pool_preloads_total counter\n"),
    )),
    extensions(("x-req-id" = json!(["ORCH-3028", "OC-POOL-3030"]))),
)]
async fn read_metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, EXPOSITION)], node.metrics())
}

/// Whether the process works.
///
/// With the name of this start, which changes when the agent is started again.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "probes",
    operation_id = "health",
    security(()),
    responses((
        status = 200,
        description = "It does.",
        body = String,
        content_type = "text/plain",
        example = json!("ok 6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e\n"),
    )),
    extensions(("x-req-id" = json!(["OC-POOL-3115"]))),
)]
async fn read_health(State(node): State<Arc<Node>>) -> String {
    format!("ok {}\n", node.incarnation())
}

/// Whether every pool takes work.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "probes",
    operation_id = "readiness",
    security(()),
    responses((
        status = 200,
        description = "Every pool does.",
        body = String,
        content_type = "text/plain",
        example = json!("ready\n"),
    )),
    extensions(("x-req-id" = json!(["OC-POOL-3001", "OC-POOL-3003"]))),
)]
async fn read_readiness(State(node): State<Arc<Node>>) -> Result<&'static str, ApiError> {
    match node.unready().into_iter().next() {
        Some((pool, cause)) => Err(ApiError::NotReady { pool, cause }),
        None => Ok("ready\n"),
    }
}
