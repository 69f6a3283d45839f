//! Every refusal of this API, and the only place that names the status of one.

use axum::response::{IntoResponse, Response};
use contracts_api_types::error::{ErrorBody, ErrorCode, ErrorDetails};
use http::StatusCode;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// No node token, or a wrong one.
    #[error(
        "this needs the node token: send the content of node.token in the data directory as \
         `Authorization: Bearer TOKEN`"
    )]
    Unauthorized,
    /// A path that is not part of the API.
    #[error("there is no such path: use /v1/node, /v1/pools/{{id}}, /metrics, /healthz or /readyz")]
    UnknownPath,
    /// A part of a path that is no text.
    #[error("`{field}` in the path is not UTF-8")]
    BadPath { field: &'static str },
    /// A pool that this host does not have.
    #[error("there is no pool `{pool}` on this host")]
    UnknownPool {
        pool: String,
        available: Vec<String>,
    },
    /// A pool takes no work.
    #[error("the pool `{pool}` takes no work: {cause}")]
    NotReady { pool: String, cause: String },
}

/// The status that goes with each of the codes that this API uses.
pub(crate) const REFUSALS: [(ErrorCode, StatusCode); 4] = [
    (ErrorCode::InvalidParams, StatusCode::BAD_REQUEST),
    (ErrorCode::Unauthorized, StatusCode::UNAUTHORIZED),
    (ErrorCode::NotFound, StatusCode::NOT_FOUND),
    (ErrorCode::PoolUnready, StatusCode::SERVICE_UNAVAILABLE),
];

impl ApiError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unauthorized => ErrorCode::Unauthorized,
            Self::UnknownPath | Self::UnknownPool { .. } => ErrorCode::NotFound,
            Self::BadPath { .. } => ErrorCode::InvalidParams,
            Self::NotReady { .. } => ErrorCode::PoolUnready,
        }
    }

    fn details(&self) -> Option<ErrorDetails> {
        match self {
            Self::BadPath { field } => Some(ErrorDetails {
                field: Some((*field).to_owned()),
                ..ErrorDetails::default()
            }),
            Self::UnknownPool { available, .. } => Some(ErrorDetails {
                field: Some("pool_id".to_owned()),
                available: available.clone(),
                ..ErrorDetails::default()
            }),
            Self::Unauthorized | Self::UnknownPath | Self::NotReady { .. } => None,
        }
    }

    fn pool_id(&self) -> Option<String> {
        match self {
            Self::NotReady { pool, .. } => Some(pool.clone()),
            Self::Unauthorized
            | Self::UnknownPath
            | Self::BadPath { .. }
            | Self::UnknownPool { .. } => None,
        }
    }

    /// The envelope.
    // spec: ORCH-2006, ORCH-2009
    pub(crate) fn body(&self, correlation_id: &str) -> ErrorBody {
        let code = self.code();
        ErrorBody {
            code,
            message: self.to_string(),
            engine: None,
            pool_id: self.pool_id(),
            retriable: code.retriable(),
            retry_after_ms: None,
            policy_label: None,
            details: self.details().map(Box::new),
            correlation_id: correlation_id.to_owned(),
        }
    }

    /// The whole answer.
    pub(crate) fn render(&self, correlation_id: &str) -> Response {
        let code = self.code();
        let known = REFUSALS.iter().find(|(of, _)| *of == code);
        let status = known.map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| *status);
        (status, axum::Json(self.body(correlation_id))).into_response()
    }
}

/// An error on its way to the layer that knows the correlation id.
#[derive(Clone, Debug)]
pub(crate) struct Pending(pub(crate) ApiError);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Pending(self));
        response
    }
}
