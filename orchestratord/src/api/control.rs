//! The control plane: what is there, how it does, and the door of the nodes.

use axum::Json;
use axum::extract::{FromRef, State};
use contracts_api_types::capability::Capabilities;
use contracts_api_types::node::{NodeLease, NodeState, NodeSummary};
use contracts_api_types::pool::{PoolHealth, PoolSummary};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::body::{ApiJson, BodyLimit};
use crate::api::error::ApiError;
use crate::api::examples;
use crate::api::path::{NodePath, PoolPath};
use crate::api::refusals::{NodeRefusals, PoolRefusals, ReadRefusals};
use crate::services::nodes::NodeService;

/// What the handlers of this plane use.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    pub(crate) nodes: NodeService,
    pub(crate) body_limit: BodyLimit,
}

impl FromRef<ControlPlane> for BodyLimit {
    fn from_ref(plane: &ControlPlane) -> Self {
        plane.body_limit
    }
}

/// For operators and clients.
pub(crate) fn routes() -> OpenApiRouter<ControlPlane> {
    OpenApiRouter::default()
        .routes(routes!(read_capabilities))
        .routes(routes!(list_pools))
        .routes(routes!(read_pool_health))
        .routes(routes!(list_nodes))
}

/// For agents.
pub(crate) fn node_routes() -> OpenApiRouter<ControlPlane> {
    OpenApiRouter::default().routes(routes!(push_node))
}

/// Read what this installation can do.
// spec: ORCH-3095, OC-CTRL-2060, OC-CTRL-2061
#[utoipa::path(
    get,
    path = "/v1/capabilities",
    tag = "discovery",
    operation_id = "capabilities_read",
    responses(
        (
            status = 200,
            description = "Every pool with its engine, models and limits.",
            body = Capabilities,
            example = json!(examples::capabilities()),
        ),
        ReadRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-3095", "ORCH-3096", "OC-CTRL-2060", "OC-CTRL-2061"]))),
)]
async fn read_capabilities(State(plane): State<ControlPlane>) -> Json<Capabilities> {
    Json(plane.nodes.capabilities())
}

/// List the pools.
// spec: ORCH-2105
#[utoipa::path(
    get,
    path = "/v1/pools",
    tag = "pools",
    operation_id = "pool_list",
    responses(
        (
            status = 200,
            description = "Every pool of every node, by id.",
            body = [PoolSummary],
            example = json!([examples::pool()]),
        ),
        ReadRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-2105"]))),
)]
async fn list_pools(State(plane): State<ControlPlane>) -> Json<Vec<PoolSummary>> {
    Json(plane.nodes.pools())
}

/// Read a pool's health.
// spec: ORCH-2103, OC-CTRL-2001
#[utoipa::path(
    get,
    path = "/v1/pools/{pool_id}/health",
    tag = "pools",
    operation_id = "pool_health",
    params(("pool_id" = String, Path, description = "The pool.")),
    responses(
        (
            status = 200,
            description = "Whether it lives and takes work, and why not.",
            body = PoolHealth,
            example = json!(examples::pool_health()),
        ),
        PoolRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-2103", "OC-CTRL-2001"]))),
)]
async fn read_pool_health(
    State(plane): State<ControlPlane>,
    PoolPath(pool): PoolPath,
) -> Result<Json<PoolHealth>, ApiError> {
    let unknown = || ApiError::UnknownPool {
        pool: pool.to_string(),
    };
    plane
        .nodes
        .pool_health(pool.as_str())
        .map(Json)
        .ok_or_else(unknown)
}

/// List the nodes.
// spec: ORCH-2105
#[utoipa::path(
    get,
    path = "/v1/nodes",
    tag = "nodes",
    operation_id = "node_list",
    responses(
        (
            status = 200,
            description = "Every node, by id.",
            body = [NodeSummary],
            example = json!([examples::node()]),
        ),
        ReadRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-2105"]))),
)]
async fn list_nodes(State(plane): State<ControlPlane>) -> Json<Vec<NodeSummary>> {
    Json(plane.nodes.nodes())
}

/// Register a node, or renew its lease.
///
/// Carries the node's whole state, so the newest push alone is enough. Needs the node token, also
/// on loopback.
// spec: ORCH-3403
#[utoipa::path(
    put,
    path = "/v1/nodes/{node_id}",
    tag = "nodes",
    operation_id = "node_push",
    params(("node_id" = String, Path, description = "The node.")),
    request_body(content = NodeState, example = json!(examples::node_state())),
    responses(
        (
            status = 200,
            description = "The lease.",
            body = NodeLease,
            example = json!(examples::lease()),
        ),
        NodeRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-3403", "ORCH-3440"]))),
)]
async fn push_node(
    State(plane): State<ControlPlane>,
    NodePath(node): NodePath,
    ApiJson(state): ApiJson<NodeState>,
) -> Result<Json<NodeLease>, ApiError> {
    Ok(Json(plane.nodes.push(node, state).await?))
}
