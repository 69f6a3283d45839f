//! The id that ties a request to its answer and its log lines.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use contracts_api_types::CORRELATION_HEADER;
use http::{HeaderMap, HeaderValue};

use crate::api::error::Pending;

/// The longest id that is taken over from a client.
const ID_BYTES_MAX: usize = 64;

/// Writes the id on every answer, and turns errors into envelopes that carry it.
// spec: ORCH-2009
pub(crate) async fn correlate(request: Request, next: Next) -> Response {
    let id = id_of(request.headers());
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(Pending(error)) = response.extensions_mut().remove() {
        response = error.render(&id);
        let status = response.status().as_u16();
        tracing::info!(correlation_id = id, path, status, cause = %error, "request refused");
    }
    let value = HeaderValue::from_str(&id).expect("letters, digits and ._- fit a header");
    response.headers_mut().insert(CORRELATION_HEADER, value);
    response
}

/// The client's id where it is safe in headers and logs, else a new one.
fn id_of(headers: &HeaderMap) -> String {
    let given = headers
        .get(CORRELATION_HEADER)
        .and_then(|value| value.to_str().ok());
    let safe = |text: &&str| {
        (1..=ID_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    given
        .filter(safe)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ORCH-2009
    #[test]
    fn a_safe_id_is_kept_and_any_other_replaced() {
        let chosen = |given: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(given.as_bytes()).unwrap();
            headers.insert(CORRELATION_HEADER, value);
            id_of(&headers)
        };
        assert_eq!(chosen("Job-7.2_b"), "Job-7.2_b");
        for bad in ["", "a b", "a\"b", "ü", &"x".repeat(ID_BYTES_MAX + 1)] {
            assert!(uuid::Uuid::try_parse(&chosen(bad)).is_ok(), "{bad:?}");
        }
    }
}
