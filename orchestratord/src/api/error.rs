//! Every refusal of the API, and the only place that names the status of one.
//!
//! A handler returns an [`ApiError`]; `correlation` turns it into the envelope, because it knows
//! the id that stands in there.
//!
//! Not here: errors inside a stream, which are frames of its log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use contracts_api_types::error::{ErrorBody, ErrorCode, ErrorDetails};
use contracts_api_types::kind::{EngineName, FullQueuePolicy};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::services::nodes::{NotReady, PushError};
use crate::services::tasks::{SubmitError, TaskError};
use crate::services::wire::{engine_name, millis};

/// The wait before the next submission, in milliseconds.
// spec: ORCH-2007
pub(crate) const BACKOFF_HEADER: HeaderName = HeaderName::from_static("x-backoff-ms");

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ApiError {
    /// A value that cannot be accepted.
    #[error("`{field}` {problem}")]
    BadField { field: String, problem: String },
    /// A body that is not what the call takes, without one field to blame.
    #[error("{problem}")]
    BadBody { problem: String },
    /// A body above the limit.
    #[error("the body is larger than {limit} bytes, which is the most this server takes")]
    BodyTooLarge { limit: usize },
    /// A body of another kind.
    #[error("the body must be JSON: send `content-type: application/json`, uncompressed")]
    NotJson,
    /// No key, or an unknown one.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The key is known and does not allow this.
    #[error(
        "the key `{key}` lacks the scope `{scope}`; use another, or add the scope in the config"
    )]
    Forbidden { key: String, scope: &'static str },
    /// A path that is not part of the API.
    #[error("there is no such path; the paths of this API begin with /v1")]
    UnknownPath,
    /// A pool that no node has.
    #[error("there is no pool `{pool}`; `GET /v1/pools` lists what exists")]
    UnknownPool { pool: String },
    /// A handler panicked.
    #[error("this server met a defect of its own; report it with the correlation id")]
    Panicked,
    /// The task was not admitted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The task cannot be read or canceled.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The node's state was not taken.
    #[error(transparent)]
    Push(#[from] PushError),
    /// No task can be admitted now.
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

/// What an error is about beyond its code and its words.
#[derive(Default)]
struct Facts {
    engine: Option<EngineName>,
    pool_id: Option<String>,
    retry_after: Option<Duration>,
    policy: Option<FullQueuePolicy>,
    details: Option<ErrorDetails>,
}

/// The status that goes with a code, where a cause has no narrower one.
///
/// The last group never answers a request: those codes end streams.
// spec: ORCH-2006, OC-CTRL-2030
pub(crate) const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidParams => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::StreamExpired => StatusCode::GONE,
        ErrorCode::Conflict
        | ErrorCode::BudgetExhausted
        | ErrorCode::DeadlineUnmet
        | ErrorCode::ModelDeprecated
        | ErrorCode::UntrustedArtifact => StatusCode::CONFLICT,
        ErrorCode::AdmissionReject
        | ErrorCode::QueueFullDropLru
        | ErrorCode::RateLimited
        | ErrorCode::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::StorageUnavailable
        | ErrorCode::PoolUnready
        | ErrorCode::PoolUnavailable
        | ErrorCode::ReplicaExhausted => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal | ErrorCode::DecodeTimeout | ErrorCode::WorkerReset => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl ApiError {
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::BadField {
            field: field.into(),
            problem: problem.into(),
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::BadField { .. }
            | Self::BadBody { .. }
            | Self::BodyTooLarge { .. }
            | Self::NotJson => ErrorCode::InvalidParams,
            Self::Unauthorized(_) => ErrorCode::Unauthorized,
            Self::Forbidden { .. } => ErrorCode::Forbidden,
            Self::UnknownPath | Self::UnknownPool { .. } => ErrorCode::NotFound,
            Self::Panicked => ErrorCode::Internal,
            Self::Submit(error) => submit_code(error),
            Self::Task(error) => match error {
                TaskError::NotFound { .. } => ErrorCode::NotFound,
                TaskError::BadResume(_) => ErrorCode::InvalidParams,
                TaskError::Expired { .. } => ErrorCode::StreamExpired,
                TaskError::Stopping => ErrorCode::PoolUnavailable,
            },
            Self::Push(error) => match error {
                PushError::PoolTaken { .. } => ErrorCode::Conflict,
                PushError::BadField { .. } => ErrorCode::InvalidParams,
                PushError::Stopping => ErrorCode::PoolUnavailable,
            },
            Self::NotReady(error) => match error {
                NotReady::NoReplica { .. } => ErrorCode::PoolUnready,
                NotReady::Stopping | NotReady::NoPool => ErrorCode::PoolUnavailable,
            },
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            other => status_of(other.code()),
        }
    }

    fn facts(&self) -> Facts {
        match self {
            Self::BadField { field, .. } => about_field(field),
            Self::UnknownPool { pool } => Facts {
                pool_id: Some(pool.clone()),
                ..Facts::default()
            },
            Self::Submit(error) => submit_facts(error),
            Self::Task(TaskError::Expired { outcome }) => {
                let details = ErrorDetails {
                    outcome: Some((**outcome).clone()),
                    ..ErrorDetails::default()
                };
                Facts {
                    details: Some(details),
                    ..Facts::default()
                }
            }
            Self::Task(TaskError::BadResume(_)) => about_field("Last-Event-ID"),
            Self::Push(PushError::BadField { field, .. }) => about_field(field),
            Self::Push(PushError::PoolTaken { pool, .. }) => Facts {
                pool_id: Some(pool.clone()),
                ..about_field("pools")
            },
            Self::BadBody { .. }
            | Self::BodyTooLarge { .. }
            | Self::NotJson
            | Self::Unauthorized(_)
            | Self::Forbidden { .. }
            | Self::UnknownPath
            | Self::Panicked
            | Self::Task(TaskError::NotFound { .. } | TaskError::Stopping)
            | Self::Push(PushError::Stopping)
            | Self::NotReady(_) => Facts::default(),
        }
    }

    /// What a log may hold of it. What is said of a body may repeat it, prompt and all.
    // spec: OC-CTRL-2041
    pub(crate) fn for_log(&self) -> Cow<'static, str> {
        match self {
            Self::BadField { field, .. } => format!("`{field}` cannot be accepted").into(),
            Self::BadBody { .. } => "the body cannot be read".into(),
            other => other.to_string().into(),
        }
    }

    /// The whole answer.
    // spec: ORCH-2006, ORCH-2007, OC-CTRL-2011, OC-CTRL-2031
    pub(crate) fn render(&self, correlation_id: &str) -> Response {
        let code = self.code();
        let facts = self.facts();
        let retry_after_ms = facts.retry_after.map(millis);
        let body = ErrorBody {
            code,
            message: self.to_string(),
            engine: facts.engine,
            pool_id: facts.pool_id,
            retriable: code.retriable(),
            retry_after_ms,
            policy_label: facts.policy,
            details: facts.details.map(Box::new),
            correlation_id: correlation_id.to_owned(),
        };
        let mut response = (self.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait_ms) = retry_after_ms {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait_ms.div_ceil(1000).max(1)),
            );
            headers.insert(BACKOFF_HEADER, HeaderValue::from(wait_ms));
        }
        if code == ErrorCode::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn submit_code(error: &SubmitError) -> ErrorCode {
    match error {
        SubmitError::BadField { .. } => ErrorCode::InvalidParams,
        SubmitError::Conflict { .. } => ErrorCode::Conflict,
        SubmitError::UnknownModel { .. } => ErrorCode::NotFound,
        SubmitError::QueueFull { .. } | SubmitError::Overloaded { .. } => {
            ErrorCode::AdmissionReject
        }
        SubmitError::PoolUnready { .. } => ErrorCode::PoolUnready,
        SubmitError::PoolUnavailable { .. } | SubmitError::Stopping { .. } => {
            ErrorCode::PoolUnavailable
        }
        SubmitError::DeadlineUnmet { .. } => ErrorCode::DeadlineUnmet,
    }
}

fn submit_facts(error: &SubmitError) -> Facts {
    match error {
        SubmitError::BadField { field, .. } => about_field(field),
        SubmitError::Conflict { .. } => about_field("task_id"),
        SubmitError::UnknownModel {
            engine, available, ..
        } => {
            let details = ErrorDetails {
                field: Some("model_ref".to_owned()),
                available: available.clone(),
                outcome: None,
            };
            Facts {
                engine: Some(engine_name(*engine)),
                details: Some(details),
                ..Facts::default()
            }
        }
        SubmitError::QueueFull {
            engine,
            pool_id,
            policy,
            retry_after,
        } => Facts {
            policy: Some(*policy),
            ..about_pool(engine_name(*engine), pool_id, *retry_after)
        },
        SubmitError::PoolUnready {
            engine,
            pool_id,
            retry_after,
            ..
        }
        | SubmitError::PoolUnavailable {
            engine,
            pool_id,
            retry_after,
            ..
        } => about_pool(engine_name(*engine), pool_id, *retry_after),
        SubmitError::DeadlineUnmet { engine, .. } => Facts {
            engine: Some(engine_name(*engine)),
            ..about_field("deadline_ms")
        },
        SubmitError::Overloaded { retry_after } => Facts {
            retry_after: Some(*retry_after),
            policy: Some(FullQueuePolicy::Reject),
            ..Facts::default()
        },
        SubmitError::Stopping { retry_after } => Facts {
            retry_after: Some(*retry_after),
            ..Facts::default()
        },
    }
}

fn about_field(field: &str) -> Facts {
    let details = ErrorDetails {
        field: Some(field.to_owned()),
        ..ErrorDetails::default()
    };
    Facts {
        details: Some(details),
        ..Facts::default()
    }
}

fn about_pool(engine: EngineName, pool_id: &str, retry_after: Duration) -> Facts {
    Facts {
        engine: Some(engine),
        pool_id: Some(pool_id.to_owned()),
        retry_after: Some(retry_after),
        ..Facts::default()
    }
}

/// An error on its way out, for `correlation` to render.
#[derive(Clone)]
pub(crate) struct Pending(pub(crate) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Pending(Arc::new(self)));
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use orchestrator_core::engine::Engine;
    use orchestrator_core::ids::NodeId;
    use uuid::Uuid;

    use super::*;
    use crate::api::examples;
    use crate::services::stream_log::ForeignPosition;

    const WAIT: Duration = Duration::from_millis(1_250);

    const TASK: Uuid = Uuid::from_u128(7);

    fn pool_id() -> String {
        "haiku".to_owned()
    }

    fn cause() -> String {
        "its worker is loading the model".to_owned()
    }

    fn of_requests() -> Vec<ApiError> {
        vec![
            ApiError::field("sampling.top_p", "must be above 0 and at most 1"),
            ApiError::BadBody {
                problem: "the body is not JSON: expected value at line 1 column 1".to_owned(),
            },
            ApiError::BodyTooLarge { limit: 1 << 20 },
            ApiError::NotJson,
            ApiError::Unauthorized("send a key"),
            ApiError::Forbidden {
                key: "dev".to_owned(),
                scope: "control",
            },
            ApiError::UnknownPath,
            ApiError::UnknownPool { pool: pool_id() },
            ApiError::Panicked,
        ]
    }

    fn of_submissions() -> Vec<ApiError> {
        let engine = Engine::LlamaCpp;
        vec![
            SubmitError::BadField {
                field: "ctx",
                problem: "must be at most 512".to_owned(),
            }
            .into(),
            SubmitError::Conflict { task_id: TASK }.into(),
            SubmitError::UnknownModel {
                model_ref: "x".to_owned(),
                engine,
                available: vec!["haiku-tiny (llamacpp)".to_owned()],
            }
            .into(),
            SubmitError::QueueFull {
                engine,
                pool_id: pool_id(),
                policy: FullQueuePolicy::ShedLowPriority,
                retry_after: WAIT,
            }
            .into(),
            SubmitError::PoolUnready {
                engine,
                pool_id: pool_id(),
                cause: cause(),
                retry_after: WAIT,
            }
            .into(),
            SubmitError::PoolUnavailable {
                engine,
                pool_id: pool_id(),
                cause: cause(),
                retry_after: WAIT,
            }
            .into(),
            SubmitError::DeadlineUnmet {
                engine,
                estimate: WAIT,
            }
            .into(),
            SubmitError::Overloaded { retry_after: WAIT }.into(),
            SubmitError::Stopping { retry_after: WAIT }.into(),
        ]
    }

    fn of_services() -> Vec<ApiError> {
        vec![
            TaskError::NotFound { task_id: TASK }.into(),
            TaskError::Expired {
                outcome: Box::new(examples::task_status()),
            }
            .into(),
            TaskError::BadResume(ForeignPosition).into(),
            TaskError::Stopping.into(),
            PushError::PoolTaken {
                pool: pool_id(),
                owner: NodeId::parse("other").unwrap(),
            }
            .into(),
            PushError::BadField {
                field: "pools[0].id".to_owned(),
                problem: "must not be empty".to_owned(),
            }
            .into(),
            PushError::Stopping.into(),
            NotReady::Stopping.into(),
            NotReady::NoPool.into(),
            NotReady::NoReplica { cause: cause() }.into(),
        ]
    }

    async fn shown(error: &ApiError) -> String {
        let response = error.render("c-1");
        let mut text = format!("{}\n", response.status());
        for name in ["retry-after", "x-backoff-ms", "www-authenticate"] {
            if let Some(value) = response.headers().get(name) {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
        }
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: ErrorBody = serde_json::from_slice(&body).unwrap();
        text + &serde_json::to_string_pretty(&body).unwrap()
    }

    // spec: ORCH-2006, ORCH-2007, OC-CTRL-2011, OC-CTRL-2030, OC-CTRL-2031
    #[tokio::test]
    async fn every_refusal_has_its_status_headers_and_envelope() {
        let mut all = Vec::new();
        for error in [of_requests(), of_submissions(), of_services()].concat() {
            all.push(shown(&error).await);
        }
        insta::assert_snapshot!(all.join("\n\n"));
    }

    // spec: ORCH-2007
    #[test]
    fn a_short_wait_is_still_a_whole_second_in_the_header() {
        let wait = |ms| {
            let retry_after = Duration::from_millis(ms);
            let response = ApiError::from(SubmitError::Overloaded { retry_after }).render("c");
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            (header("retry-after"), header("x-backoff-ms"))
        };
        assert_eq!(wait(0), ("1".to_owned(), "0".to_owned()));
        assert_eq!(wait(250), ("1".to_owned(), "250".to_owned()));
        assert_eq!(wait(2_001), ("3".to_owned(), "2001".to_owned()));
    }
}
