//! HTTP: requests become typed calls of the services, results become answers.
//!
//! Handlers check the form, make one call and render. What holds for every request is a layer, and
//! `router` says why they stand in their order. All data is in the services.
//!
//! Not here: decisions, streams and tasks (`services`); sockets and their limits (`edge`).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use contracts_config_schema::orchestrator::Scope;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::services::nodes::NodeService;
use crate::services::stream_log::Pace;
use crate::services::tasks::TaskService;
use crate::telemetry::metrics::Metrics;

pub mod auth;
mod body;
mod control;
mod correlation;
mod error;
mod examples;
mod panic;
mod path;
mod probes;
mod refusals;
mod task_wire;
mod tasks;

use auth::{Auth, Gate};
use body::BodyLimit;
use control::ControlPlane;
use error::ApiError;
use tasks::DataPlane;

/// Everything that the API stands on.
#[derive(Clone, Debug)]
pub struct Api {
    /// Tasks.
    pub tasks: TaskService,
    /// Nodes and pools.
    pub nodes: NodeService,
    /// The series of this process.
    pub metrics: Arc<Metrics>,
    /// Who may call.
    pub auth: Arc<Auth>,
    /// The largest request body in bytes.
    pub body_bytes_max: usize,
    /// After so much silence a stream gets a comment line.
    pub stream_ping: Duration,
    /// Ends all streams with a hint to come back: the planned stop has waited long enough.
    pub close_streams: CancellationToken,
}

/// The whole API.
pub fn router(api: Api) -> Router {
    let Api {
        tasks,
        nodes,
        metrics,
        auth,
        body_bytes_max,
        stream_ping,
        close_streams,
    } = api;
    let body_limit = BodyLimit(body_bytes_max);
    let pace = Pace {
        ping: stream_ping,
        close: close_streams,
    };
    let data = DataPlane {
        tasks,
        body_limit,
        pace,
    };
    let control = ControlPlane {
        nodes: nodes.clone(),
        body_limit,
    };
    // Gates stand inside the routes: an unknown path is a 404 for everybody, and a body is read
    // only for those who may send it.
    let gate = |scope| {
        let gate = Gate {
            auth: Arc::clone(&auth),
            scope,
        };
        from_fn_with_state(gate, auth::require_scope)
    };
    let node_gate = from_fn_with_state(Arc::clone(&auth), auth::require_node);
    let router: Router = Router::new()
        .merge(
            tasks::routes()
                .with_state(data)
                .route_layer(gate(Scope::Data)),
        )
        .merge(
            control::routes()
                .with_state(control.clone())
                .route_layer(gate(Scope::Control)),
        )
        .merge(
            control::node_routes()
                .with_state(control)
                .route_layer(node_gate),
        )
        .merge(
            probes::metric_routes()
                .with_state(metrics)
                .route_layer(gate(Scope::Control)),
        )
        .merge(probes::open_routes().with_state(nodes));
    router
        .fallback(unknown_path)
        // Inside the correlation layer, so that a panic's answer and log line carry the id.
        .layer(from_fn(panic::contain))
        // Outermost: every answer carries the id, whichever layer gave it.
        .layer(from_fn(correlation::correlate))
}

async fn unknown_path() -> ApiError {
    ApiError::UnknownPath
}

/// The operations of the data plane.
pub(crate) fn data_operations() -> OpenApi {
    tasks::routes().into_openapi()
}

/// The operations of the control plane.
pub(crate) fn control_operations() -> OpenApi {
    control::routes()
        .into_openapi()
        .merge_from(control::node_routes().into_openapi())
        .merge_from(probes::metric_routes().into_openapi())
        .merge_from(probes::open_routes().into_openapi())
}
