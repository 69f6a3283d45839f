//! What monitors ask: alive, ready, and the series.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::refusals::{Defects, ReadRefusals, ReadyRefusals};
use crate::services::nodes::NodeService;
use crate::telemetry::metrics::Metrics;

/// The text format of Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Open to everybody: they say nothing but yes or no.
pub(crate) fn open_routes() -> OpenApiRouter<NodeService> {
    OpenApiRouter::default()
        .routes(routes!(read_health))
        .routes(routes!(read_readiness))
}

/// For operators.
pub(crate) fn metric_routes() -> OpenApiRouter<Arc<Metrics>> {
    OpenApiRouter::default().routes(routes!(read_metrics))
}

/// Whether the process works.
// spec: OC-CTRL-2139
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "probes",
    operation_id = "health",
    security(()),
    responses(
        (status = 200, description = "It does.", body = String, content_type = "text/plain", example = json!("ok\n")),
        Defects,
    ),
    extensions(("x-req-id" = json!(["OC-CTRL-2139"]))),
)]
async fn read_health() -> &'static str {
    "ok\n"
}

/// Whether tasks can be admitted now.
// spec: OC-CTRL-2139
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "probes",
    operation_id = "readiness",
    security(()),
    responses(
        (status = 200, description = "They can.", body = String, content_type = "text/plain", example = json!("ready\n")),
        ReadyRefusals,
    ),
    extensions(("x-req-id" = json!(["OC-CTRL-2139"]))),
)]
async fn read_readiness(State(nodes): State<NodeService>) -> Result<&'static str, ApiError> {
    nodes.readiness()?;
    Ok("ready\n")
}

/// Read the series.
// spec: ORCH-3028, OC-CTRL-2051
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "probes",
    operation_id = "metrics",
    responses(
        (
            status = 200,
            description = "All series, in Prometheus' text format.",
            body = String,
            content_type = "text/plain",
            example = json!("# TYPE tokens_out_total counter\n"),
        ),
        ReadRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-3028", "OC-CTRL-2051"]))),
)]
async fn read_metrics(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, EXPOSITION)], metrics.render())
}
