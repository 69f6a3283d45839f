//! JSON bodies: bounded in size and time, and refused with the path of the field.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRef, FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::api::error::ApiError;

/// The longest wait for the next piece of a body.
// spec: OC-CTRL-2112
const STALL_MAX: Duration = Duration::from_secs(30);

/// The most characters of an error of the parser: room for the longest list of fields.
const ECHO_CHARS_MAX: usize = 512;

/// The largest body that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit(pub(crate) usize);

/// A body that was read as `T`.
pub(crate) struct ApiJson<T>(pub(crate) T);

/// Why a body was not read.
pub(crate) enum BodyRefusal {
    /// With an envelope.
    Refused(ApiError),
    /// The client stopped sending. It has no envelope, like other refusals below the router.
    Stalled,
}

impl From<ApiError> for BodyRefusal {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl IntoResponse for BodyRefusal {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => error.into_response(),
            Self::Stalled => StatusCode::REQUEST_TIMEOUT.into_response(),
        }
    }
}

impl<S, T> FromRequest<S> for ApiJson<T>
where
    S: Send + Sync,
    BodyLimit: FromRef<S>,
    T: DeserializeOwned,
{
    type Rejection = BodyRefusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, BodyRefusal> {
        if !is_plain_json(request.headers()) {
            return Err(ApiError::NotJson.into());
        }
        let BodyLimit(limit) = BodyLimit::from_ref(state);
        let bytes = read(request.into_body(), limit).await?;
        Ok(Self(parse(&bytes)?))
    }
}

// spec: OC-CTRL-2118
fn is_plain_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") && !headers.contains_key(CONTENT_ENCODING)
}

// spec: OC-CTRL-2112, OC-CTRL-2113
async fn read(mut body: Body, limit: usize) -> Result<Bytes, BodyRefusal> {
    let too_large = || ApiError::BodyTooLarge { limit };
    // One that says so itself is not waited for.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large().into());
    }
    let mut read = Vec::new();
    loop {
        let frame = tokio::time::timeout(STALL_MAX, body.frame()).await;
        let Some(frame) = frame.map_err(|_| BodyRefusal::Stalled)? else {
            return Ok(read.into());
        };
        let frame = frame.map_err(|_| ApiError::BadBody {
            problem: "the body broke off".to_owned(),
        })?;
        let data = frame.into_data().unwrap_or_default();
        if read.len() + data.len() > limit {
            return Err(too_large().into());
        }
        read.extend_from_slice(&data);
    }
}

// spec: ORCH-2013, OC-CTRL-2117
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ApiError::BadBody {
        problem: format!(
            "the body is not UTF-8: byte {} is wrong",
            error.valid_up_to()
        ),
    })?;
    // serde would read an array as the fields in their order.
    if text.trim_ascii_start().starts_with('[') {
        return Err(ApiError::BadBody {
            problem: "the body must be a JSON object".to_owned(),
        });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| blame(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| blame(".", &error))?;
    Ok(value)
}

fn blame(path: &str, error: &serde_json::Error) -> ApiError {
    let problem = cut(&error.to_string());
    let path = &cut(path);
    if !error.is_data() {
        return ApiError::BadBody {
            problem: format!("the body is not JSON: {problem}"),
        };
    }
    let within = |field: &str| match path.as_str() {
        "." => field.to_owned(),
        parent => format!("{parent}.{field}"),
    };
    if let Some(field) = quoted(&problem, "missing field `") {
        return ApiError::field(within(field), "is missing");
    }
    if let Some(field) = quoted(&problem, "duplicate field `") {
        return ApiError::field(within(field), "is given twice");
    }
    match path.as_str() {
        "." => ApiError::BadBody {
            problem: format!("the body is not as expected: {problem}"),
        },
        path => ApiError::field(path, format!("cannot be read: {problem}")),
    }
}

/// Errors repeat what the client wrote, which may be as long as the body.
fn cut(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The field that serde names in the words of its error only, since its path ends at the parent.
fn quoted<'a>(problem: &'a str, prefix: &str) -> Option<&'a str> {
    problem.strip_prefix(prefix)?.split('`').next()
}

#[cfg(test)]
mod tests {
    use contracts_api_types::task::TaskRequest;
    use futures_util::stream;
    use http::HeaderValue;

    use super::*;

    fn refusal(bytes: &[u8]) -> (String, String) {
        match parse::<TaskRequest>(bytes).unwrap_err() {
            ApiError::BadField { field, problem } => (field, problem),
            ApiError::BadBody { problem } => (String::new(), problem),
            other => panic!("unexpected: {other:?}"),
        }
    }

    #[track_caller]
    fn check(body: &str, field: &str, part: &str) {
        let (blamed, problem) = refusal(body.as_bytes());
        assert_eq!(blamed, field, "{problem}");
        assert!(problem.contains(part), "{problem}");
    }

    const REST: &str = r#""workload":"completion","model_ref":"m","engine":"llamacpp""#;

    // spec: ORCH-2013, OC-CTRL-2101
    #[test]
    fn the_field_is_named_whatever_is_wrong_with_it() {
        check(
            &format!("{{{REST},\"colour\":1}}"),
            "colour",
            "unknown field",
        );
        check(&format!("{{{REST},\"ctx\":\"8\"}}"), "ctx", "invalid type");
        check(&format!("{{{REST},\"ctx\":-1}}"), "ctx", "invalid value");
        check(&format!("{{{REST},\"seed\":1.5}}"), "seed", "invalid type");
        check(
            &format!("{{{REST},\"priority\":\"urgent\"}}"),
            "priority",
            "unknown variant",
        );
        check(
            &format!("{{{REST},\"sampling\":{{\"top_p\":\"x\"}}}}"),
            "sampling.top_p",
            "invalid type",
        );
        check(
            &format!("{{{REST},\"sampling\":{{\"mirostat\":1}}}}"),
            "sampling.mirostat",
            "unknown field",
        );
        check(
            &format!("{{{REST},\"labels\":{{\"a\":1}}}}"),
            "labels.a",
            "invalid type",
        );
        check(
            &format!("{{{REST},\"ctx\":1,\"ctx\":2}}"),
            "ctx",
            "is given twice",
        );
        check(r#"{"workload":"completion"}"#, "model_ref", "is missing");
    }

    #[test]
    fn broken_json_is_shown_with_its_place() {
        check("{", "", "line 1 column 1");
        check("{\n\"ctx\" 1}", "", "line 2 column 7");
        check("", "", "line 1 column 0");
        check(" []", "", "must be a JSON object");
        check("7", "", "not as expected");
        check(&format!("{{{REST}}} x"), "", "trailing characters");
        check(&"[".repeat(100_000), "", "must be a JSON object");
        check(
            &format!("{{\"labels\":{}", "[".repeat(100_000)),
            "labels",
            "invalid type",
        );
        assert_eq!(
            refusal(b"{\"a\":\"\xff\"}").1,
            "the body is not UTF-8: byte 6 is wrong"
        );
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_what_the_client_wrote() {
        let long = "ü".repeat(100_000);
        for body in [
            format!("{{\"ctx\":\"{long}\"}}"),
            format!("{{\"{long}\":1}}"),
        ] {
            let (field, problem) = refusal(body.as_bytes());
            assert!(
                field.len() + problem.len() < 3_000,
                "{} {}",
                field.len(),
                problem.len()
            );
        }
    }

    // spec: OC-CTRL-2118
    #[test]
    fn only_plain_json_is_read() {
        let headers = |kind: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
        };
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_plain_json(&headers(good)), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonx",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_plain_json(&headers(bad)), "{bad}");
        }
        let mut packed = headers("application/json");
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_plain_json(&packed));
        assert!(!is_plain_json(&HeaderMap::new()));
    }

    // spec: OC-CTRL-2113
    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit_and_no_further() {
        let body = |sizes: &[usize]| {
            let pieces: Vec<_> = sizes
                .iter()
                .map(|size| Ok::<_, std::io::Error>(vec![b'x'; *size]))
                .collect();
            Body::from_stream(stream::iter(pieces))
        };
        assert_eq!(
            read(body(&[4, 4]), 8).await.ok().map(|bytes| bytes.len()),
            Some(8)
        );
        let over = read(body(&[4, 5, 1 << 20]), 8).await;
        assert!(matches!(
            over,
            Err(BodyRefusal::Refused(ApiError::BodyTooLarge { limit: 8 }))
        ));
    }

    // spec: OC-CTRL-2112
    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up() {
        let silent = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let begun = tokio::time::Instant::now();
        assert!(matches!(read(silent, 8).await, Err(BodyRefusal::Stalled)));
        assert_eq!(begun.elapsed(), STALL_MAX);
    }
}
