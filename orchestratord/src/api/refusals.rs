//! The refusals of each operation, as the OpenAPI documents list them.
//!
//! Built from the same table as the answers themselves, so a status cannot differ between them.

use std::collections::BTreeMap;

use contracts_api_types::error::ErrorCode;
use http::StatusCode;
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
};

use crate::api::error::{BACKOFF_HEADER, status_of};
use crate::api::examples;

type Responses = BTreeMap<String, RefOr<Response>>;

/// What any call may meet.
const DEFECT: &[ErrorCode] = &[ErrorCode::Internal];
/// What a call behind a key may meet.
const GATED: &[ErrorCode] = &[
    ErrorCode::Unauthorized,
    ErrorCode::Forbidden,
    ErrorCode::Internal,
];

/// Of calls open to everybody.
pub(crate) struct Defects;
/// Of reads behind a key.
pub(crate) struct ReadRefusals;
/// Of readiness.
pub(crate) struct ReadyRefusals;
/// Of reads of one pool.
pub(crate) struct PoolRefusals;
/// Of calls about one task.
pub(crate) struct TaskRefusals;
/// Of following a task.
pub(crate) struct StreamRefusals;
/// Of submissions.
pub(crate) struct SubmitRefusals;
/// Of pushes of nodes.
pub(crate) struct NodeRefusals;

impl IntoResponses for Defects {
    fn responses() -> Responses {
        documented(&[DEFECT])
    }
}

impl IntoResponses for ReadRefusals {
    fn responses() -> Responses {
        documented(&[GATED])
    }
}

impl IntoResponses for ReadyRefusals {
    fn responses() -> Responses {
        documented(&[
            &[ErrorCode::PoolUnready, ErrorCode::PoolUnavailable],
            DEFECT,
        ])
    }
}

impl IntoResponses for PoolRefusals {
    fn responses() -> Responses {
        documented(&[&[ErrorCode::InvalidParams, ErrorCode::NotFound], GATED])
    }
}

const ABOUT_TASK: &[ErrorCode] = &[
    ErrorCode::InvalidParams,
    ErrorCode::NotFound,
    ErrorCode::PoolUnavailable,
];

impl IntoResponses for TaskRefusals {
    fn responses() -> Responses {
        documented(&[ABOUT_TASK, GATED])
    }
}

impl IntoResponses for StreamRefusals {
    fn responses() -> Responses {
        documented(&[ABOUT_TASK, &[ErrorCode::StreamExpired], GATED])
    }
}

impl IntoResponses for SubmitRefusals {
    fn responses() -> Responses {
        let codes = &[
            ErrorCode::InvalidParams,
            ErrorCode::NotFound,
            ErrorCode::Conflict,
            ErrorCode::DeadlineUnmet,
            ErrorCode::AdmissionReject,
            ErrorCode::PoolUnready,
            ErrorCode::PoolUnavailable,
        ];
        with_body(documented(&[codes, GATED]))
    }
}

impl IntoResponses for NodeRefusals {
    fn responses() -> Responses {
        let codes = &[
            ErrorCode::InvalidParams,
            ErrorCode::Unauthorized,
            ErrorCode::Conflict,
            ErrorCode::PoolUnavailable,
        ];
        with_body(documented(&[codes, DEFECT]))
    }
}

fn documented(groups: &[&[ErrorCode]]) -> Responses {
    let mut by_status: BTreeMap<String, Vec<ErrorCode>> = BTreeMap::new();
    for code in groups.iter().copied().flatten() {
        by_status
            .entry(status_of(*code).as_str().to_owned())
            .or_default()
            .push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status, refusal(&codes).into()))
        .collect()
}

/// Adds what a call with a body may meet.
fn with_body(mut responses: Responses) -> Responses {
    let envelopes = [
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
    ];
    for status in envelopes {
        let refusal = refusal(&[ErrorCode::InvalidParams]);
        responses.insert(status.as_str().to_owned(), refusal.into());
    }
    let stalled = ResponseBuilder::new().description("The body did not come. Without an envelope.");
    let status = StatusCode::REQUEST_TIMEOUT.as_str().to_owned();
    responses.insert(status, stalled.build().into());
    responses
}

fn refusal(codes: &[ErrorCode]) -> Response {
    let names: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut content =
        ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody"))));
    for code in codes {
        let value = serde_json::to_value(examples::error_body(*code)).expect("plain values");
        let example = ExampleBuilder::new().value(Some(value)).build();
        content = content.examples_from_iter([(code.as_str(), example)]);
    }
    let refusal = ResponseBuilder::new()
        .description(names.join(" or "))
        .content("application/json", content.build());
    with_waits(refusal, codes).build()
}

/// Adds the headers that say when to come back, where the examples carry a wait.
// spec: ORCH-2007, OC-CTRL-2011
fn with_waits(refusal: ResponseBuilder, codes: &[ErrorCode]) -> ResponseBuilder {
    let waits = |code: &ErrorCode| examples::error_body(*code).retry_after_ms.is_some();
    if !codes.iter().any(waits) {
        return refusal;
    }
    let header = |about| {
        let schema = ObjectBuilder::new().schema_type(Type::Integer);
        HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(about))
            .build()
    };
    refusal
        .header(
            "retry-after",
            header("Seconds to wait, where that is known."),
        )
        .header(BACKOFF_HEADER.as_str(), header("The same in milliseconds."))
}
