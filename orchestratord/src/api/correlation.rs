//! The id that ties a request to its answer, its log lines and its task.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use contracts_api_types::CORRELATION_HEADER;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use crate::api::error::Pending;

/// The longest id that is taken over from a client.
const ID_BYTES_MAX: usize = 64;

/// The id of one request.
#[derive(Clone, Debug)]
pub(crate) struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// The client's id where it is safe in headers and logs, else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(CORRELATION_HEADER)
            .and_then(|value| value.to_str().ok());
        match given.filter(|text| is_safe(text)) {
            Some(text) => Self(text.into()),
            None => Self(Uuid::new_v4().to_string().into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_safe(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl<S: Sync> FromRequestParts<S> for CorrelationId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts.extensions.get::<Self>().cloned();
        Ok(id.unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// The outermost layer: gives the request its id, a span that carries it, and writes the id on
/// whatever answer comes back. Errors become envelopes here, since the id stands in them.
// spec: ORCH-2009, OC-CTRL-2052
pub(crate) async fn correlate(mut request: Request, next: Next) -> Response {
    let id = CorrelationId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!(
        "request",
        correlation_id = id.as_str(),
        method = %request.method(),
        path = request.uri().path(),
        tenant_id = tracing::field::Empty,
        client_id = tracing::field::Empty,
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(Pending(error)) = response.extensions_mut().remove() {
        response = error.render(id.as_str());
        span.in_scope(|| {
            let cause = error.for_log();
            tracing::info!(status = response.status().as_u16(), %cause, "request refused");
        });
    }
    let value = HeaderValue::from_str(id.as_str()).expect("letters, digits and ._- fit a header");
    response.headers_mut().insert(CORRELATION_HEADER, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(
            CORRELATION_HEADER,
            HeaderValue::from_bytes(given.as_bytes()).unwrap(),
        );
        CorrelationId::of(&headers).as_str().to_owned()
    }

    // spec: ORCH-2009
    #[test]
    fn a_safe_id_is_kept_and_any_other_replaced() {
        let longest = "x".repeat(ID_BYTES_MAX);
        for good in ["a", "Job-7.2_b", &longest] {
            assert_eq!(chosen(good), good);
        }
        for bad in ["", "a b", "a\"b", "ü", "{}", &"x".repeat(ID_BYTES_MAX + 1)] {
            let id = chosen(bad);
            assert!(Uuid::try_parse(&id).is_ok(), "{bad:?} became {id:?}");
        }
    }
}
