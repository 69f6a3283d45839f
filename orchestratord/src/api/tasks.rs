//! The data plane: submit, read, follow and cancel tasks.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use contracts_api_types::task::{AdmissionResponse, TaskRequest, TaskStatus};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::body::{ApiJson, BodyLimit};
use crate::api::correlation::CorrelationId;
use crate::api::error::ApiError;
use crate::api::examples;
use crate::api::path::TaskPath;
use crate::api::refusals::{StreamRefusals, SubmitRefusals, TaskRefusals};
use crate::api::task_wire::{Origin, task_from_wire};
use crate::services::stream_log::{Pace, Position, parse_resume};
use crate::services::tasks::{OpenStream, TaskService};

const LAST_EVENT_ID: &str = "last-event-id";

/// What the handlers of this plane use.
#[derive(Clone)]
pub(crate) struct DataPlane {
    pub(crate) tasks: TaskService,
    pub(crate) body_limit: BodyLimit,
    pub(crate) pace: Pace,
}

impl FromRef<DataPlane> for BodyLimit {
    fn from_ref(plane: &DataPlane) -> Self {
        plane.body_limit
    }
}

pub(crate) fn routes() -> OpenApiRouter<DataPlane> {
    OpenApiRouter::default()
        .routes(routes!(submit_task))
        .routes(routes!(read_task))
        .routes(routes!(stream_task))
        .routes(routes!(cancel_task))
}

/// Submit a task.
///
/// Answers as soon as the task is admitted. Send a `task_id` of your own to be able to repeat the
/// call safely: an equal repeat gets the same answer, another body with the same id gets a 409.
// spec: ORCH-2001, ORCH-2014, ORCH-3025
#[utoipa::path(
    post,
    path = "/v1/tasks",
    tag = "tasks",
    operation_id = "task_submit",
    request_body(content = TaskRequest, example = json!(examples::task_request())),
    responses(
        (
            status = 202,
            description = "The task is admitted.",
            headers(("location" = String, description = "Where the task can be read.")),
            body = AdmissionResponse,
            example = json!(examples::admission()),
        ),
        SubmitRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-2001", "ORCH-2007", "ORCH-2014", "OC-CTRL-2010", "OC-CTRL-2011"]))),
)]
async fn submit_task(
    State(plane): State<DataPlane>,
    caller: Caller,
    correlation_id: CorrelationId,
    ApiJson(request): ApiJson<TaskRequest>,
) -> Result<Response, ApiError> {
    let correlation_id = correlation_id.as_str().to_owned();
    let task = task_from_wire(
        request,
        Origin {
            tenant: caller.tenant,
            client: caller.client,
            correlation_id,
        },
    )?;
    let admission: AdmissionResponse = plane.tasks.submit(task).await?;
    let location = format!("/v1/tasks/{}", admission.task_id);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(admission),
    )
        .into_response())
}

/// Read how a task stands.
// spec: ORCH-2001
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_id}",
    tag = "tasks",
    operation_id = "task_read",
    params(("task_id" = uuid::Uuid, Path, description = "The task.")),
    responses(
        (
            status = 200,
            description = "State, timings, counts and placement.",
            body = TaskStatus,
            example = json!(examples::task_status()),
        ),
        TaskRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-2001", "ORCH-3435", "ORCH-3464"]))),
)]
async fn read_task(
    State(plane): State<DataPlane>,
    caller: Caller,
    TaskPath(task_id): TaskPath,
) -> Result<Json<TaskStatus>, ApiError> {
    Ok(Json(plane.tasks.status(&caller.tenant, task_id).await?))
}

/// Follow a task.
///
/// Server-sent events until exactly one `end` or `error`. Any number of readers may follow one
/// task, now or until its stream expires. To go on after a lost connection, send the `id` of the
/// last `token` event as `Last-Event-ID`. While nothing else is sent, a comment line comes every
/// 15 seconds.
// spec: ORCH-2002, ORCH-3401, OC-CTRL-2020
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_id}/stream",
    tag = "tasks",
    operation_id = "task_stream",
    params(
        ("task_id" = uuid::Uuid, Path, description = "The task."),
        (
            "last-event-id" = Option<String>,
            Header,
            description = "The `id` of the last `token` event that was received.",
            example = json!(examples::TOKEN_ID),
        ),
    ),
    responses(
        (
            status = 200,
            description = "The events, as they come.",
            body = String,
            content_type = "text/event-stream",
            example = json!(examples::transcript()),
        ),
        StreamRefusals,
    ),
    extensions(
        ("x-req-id" = json!(["ORCH-2002", "ORCH-3401", "ORCH-3434", "ORCH-3443", "ORCH-3444", "OC-CTRL-2020"])),
        ("x-sse-events" = json!({
            "started": { "$ref": "#/components/schemas/SSEStarted" },
            "token": { "$ref": "#/components/schemas/SSEToken" },
            "metrics": { "$ref": "#/components/schemas/SSEMetrics" },
            "end": { "$ref": "#/components/schemas/SSEEnd" },
            "error": { "$ref": "#/components/schemas/SSEError" },
        })),
    ),
)]
async fn stream_task(
    State(plane): State<DataPlane>,
    caller: Caller,
    TaskPath(task_id): TaskPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if method == Method::HEAD {
        // It reads nothing, so it is no reader whose leaving could cancel the task.
        plane.tasks.status(&caller.tenant, task_id).await?;
        return Ok(event_stream(Body::empty()));
    }
    let resume = resume_position(&headers)?;
    let open = plane.tasks.open_stream(&caller.tenant, task_id, resume);
    Ok(event_stream(body_of(open.await?, plane.pace)))
}

/// Cancel a task.
///
/// Also right for a task that has ended. After the answer nothing but `end` is added to its stream.
// spec: ORCH-2003, OC-CTRL-2012
#[utoipa::path(
    post,
    path = "/v1/tasks/{task_id}/cancel",
    tag = "tasks",
    operation_id = "task_cancel",
    params(("task_id" = uuid::Uuid, Path, description = "The task.")),
    responses(
        (status = 204, description = "The task is canceled, or had ended before."),
        TaskRefusals,
    ),
    extensions(("x-req-id" = json!(["ORCH-2003", "ORCH-3428", "OC-CTRL-2012"]))),
)]
async fn cancel_task(
    State(plane): State<DataPlane>,
    caller: Caller,
    TaskPath(task_id): TaskPath,
) -> Result<StatusCode, ApiError> {
    plane.tasks.cancel(&caller.tenant, task_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

// spec: ORCH-3443
fn resume_position(headers: &HeaderMap) -> Result<Option<Position>, ApiError> {
    let value = headers.get(LAST_EVENT_ID);
    let position = value.map(|value| parse_resume(value.to_str().unwrap_or_default()));
    position.transpose().map_err(|problem| {
        ApiError::field(
            "Last-Event-ID",
            format!("cannot be resumed from: {problem}"),
        )
    })
}

fn body_of(open: OpenStream, pace: Pace) -> Body {
    let OpenStream { log, place, guard } = open;
    // The guard goes with the body: it counts as a reader until the client or the stream ends.
    let chunks = log.read(place, pace).map(move |chunk| {
        let _reader = &guard;
        Ok::<_, Infallible>(chunk)
    });
    Body::from_stream(chunks)
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that buffer would turn a stream into one late answer.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}
