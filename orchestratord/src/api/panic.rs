//! A handler that panics costs its own request and nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::api::error::ApiError;

/// Turns a panic below into `INTERNAL`. State that a panic could leave half-changed is owned by
/// other tasks, so going on is safe.
// spec: OC-CTRL-2119
pub(crate) async fn contain(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(payload) => {
            tracing::error!(panic = text_of(payload.as_ref()), "a handler panicked");
            ApiError::Panicked.into_response()
        }
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use contracts_api_types::error::{ErrorBody, ErrorCode};
    use tower::ServiceExt;

    use super::*;
    use crate::api::correlation::correlate;

    async fn broken() {
        panic!("a defect of the test's own");
    }

    // spec: OC-CTRL-2119, ORCH-2009
    #[tokio::test]
    async fn a_handler_that_panics_answers_internal_with_the_id() {
        let router = Router::new()
            .route("/", get(broken))
            .layer(from_fn(contain))
            .layer(from_fn(correlate));
        let request = Request::builder().header("x-correlation-id", "c-1");
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["x-correlation-id"], "c-1");
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let body: ErrorBody = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (body.code, body.correlation_id.as_str()),
            (ErrorCode::Internal, "c-1")
        );
        assert!(
            !body.message.contains("defect of the test"),
            "the panic's words are for the log"
        );
    }
}
