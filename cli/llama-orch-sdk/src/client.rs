//! One method per operation.
//!
//! # Invariants
//! - A request goes to its server once: no proxy, no redirect, no retry.
//! - Every answer is bounded in bytes, every wait in time.
//! - The token is in no debug output.

use std::time::Duration;

use contracts_api_types::capability::Capabilities;
use contracts_api_types::error::ErrorBody;
use contracts_api_types::node::NodeSummary;
use contracts_api_types::pool::{PoolHealth, PoolSummary};
use contracts_api_types::task::{AdmissionResponse, TaskRequest, TaskStatus};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::SdkError;
use crate::stream::TaskStream;

/// Time for a connection to stand. Daemons are near; a host that is down should not hang a caller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a plain answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest silence, within streams too: while nothing happens the server pings every 15 s, so
/// four missed pings mean that nobody is there.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest plain answer: metrics of a large installation are the longest.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// A connection pool to one orchestratord. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client of the server at `base`, for instance `http://127.0.0.1:8080`, with an API token
    /// where the server wants one.
    ///
    /// # Errors
    /// [`SdkError::Config`] when the address or the token cannot be used.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, SdkError> {
        check_base(base)?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers(token.as_deref())?)
            .build()
            .map_err(|source| SdkError::Transport {
                url: base.to_owned(),
                source,
            })?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// The server's URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Submits a task. A `task_id` is added when there is none, so that a repeat of the same call
    /// is recognised by the server and not run twice.
    ///
    /// # Errors
    /// See [`SdkError`].
    // spec: ORCH-2001, ORCH-3024
    pub async fn submit(&self, task: &TaskRequest) -> Result<AdmissionResponse, SdkError> {
        let mut task = task.clone();
        task.task_id.get_or_insert_with(Uuid::new_v4);
        let request = self.request(Method::POST, "/v1/tasks").json(&task);
        self.json(request, "/v1/tasks").await
    }

    /// Asks how a task stands.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn task(&self, id: Uuid) -> Result<TaskStatus, SdkError> {
        self.get(&format!("/v1/tasks/{id}")).await
    }

    /// Cancels a task. Once this returns, no reader of its stream gets another token.
    ///
    /// # Errors
    /// See [`SdkError`].
    // spec: ORCH-2003, ORCH-3026
    pub async fn cancel(&self, id: Uuid) -> Result<(), SdkError> {
        let path = format!("/v1/tasks/{id}/cancel");
        let request = self.request(Method::POST, &path).timeout(ANSWER_TIMEOUT);
        self.accepted(request, &path).await.map(drop)
    }

    /// Reads a task's events from its beginning, or from behind the token that carried the SSE id
    /// `after`.
    ///
    /// # Errors
    /// See [`SdkError`]; a refusal comes at once, a broken connection is picked up again later.
    // spec: ORCH-2002, ORCH-3401
    pub async fn stream(&self, id: Uuid, after: Option<String>) -> Result<TaskStream, SdkError> {
        TaskStream::open(self.clone(), id, after).await
    }

    /// Asks what this installation can do.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn capabilities(&self) -> Result<Capabilities, SdkError> {
        self.get("/v1/capabilities").await
    }

    /// Lists the pools.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn pools(&self) -> Result<Vec<PoolSummary>, SdkError> {
        self.get("/v1/pools").await
    }

    /// Asks for a pool's health.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn pool_health(&self, id: &str) -> Result<PoolHealth, SdkError> {
        self.get(&format!("/v1/pools/{}/health", segment(id))).await
    }

    /// Lists the hosts.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn nodes(&self) -> Result<Vec<NodeSummary>, SdkError> {
        self.get("/v1/nodes").await
    }

    /// Whether the server is alive.
    ///
    /// # Errors
    /// See [`SdkError`]; an answer other than a success is `Ok(false)`.
    pub async fn live(&self) -> Result<bool, SdkError> {
        self.says_yes("/healthz").await
    }

    /// Whether the server is ready for tasks.
    ///
    /// # Errors
    /// See [`SdkError`]; "not ready" is `Ok(false)`.
    pub async fn ready(&self) -> Result<bool, SdkError> {
        self.says_yes("/readyz").await
    }

    /// The metrics in Prometheus text form.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn metrics(&self) -> Result<String, SdkError> {
        let request = self.request(Method::GET, "/metrics");
        let body = self.body(request, "/metrics").await?;
        String::from_utf8(body).map_err(|_| self.protocol("/metrics", "no UTF-8"))
    }

    /// Opens the raw event stream; the connection's life is the caller's.
    pub(crate) async fn open_stream(
        &self,
        path: &str,
        after: Option<&str>,
    ) -> Result<Response, SdkError> {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = self.accepted(request, path).await?;
        let content_type = response.headers().get(CONTENT_TYPE);
        let event_stream = content_type.is_some_and(|v| v.as_bytes().starts_with(EVENT_STREAM));
        if !event_stream {
            return Err(self.protocol(path, "not an event stream"));
        }
        Ok(response)
    }

    pub(crate) fn transport(&self, path: &str, source: reqwest::Error) -> SdkError {
        SdkError::Transport {
            url: self.url(path),
            source,
        }
    }

    pub(crate) fn protocol(&self, path: &str, problem: impl Into<String>) -> SdkError {
        SdkError::Protocol {
            url: self.url(path),
            problem: problem.into(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    async fn says_yes(&self, path: &str) -> Result<bool, SdkError> {
        let request = self.request(Method::GET, path).timeout(ANSWER_TIMEOUT);
        Ok(self.send(request, path).await?.status().is_success())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, SdkError> {
        self.json(self.request(Method::GET, path), path).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        path: &str,
    ) -> Result<T, SdkError> {
        let body = self.body(request, path).await?;
        serde_json::from_slice(&body).map_err(|error| self.protocol(path, error.to_string()))
    }

    /// The whole body of a success, within [`ANSWER_TIMEOUT`].
    async fn body(&self, request: RequestBuilder, path: &str) -> Result<Vec<u8>, SdkError> {
        let response = self.accepted(request.timeout(ANSWER_TIMEOUT), path).await?;
        self.read(response, path).await
    }

    async fn accepted(&self, request: RequestBuilder, path: &str) -> Result<Response, SdkError> {
        let response = self.send(request, path).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(path, response).await)
        }
    }

    async fn send(&self, request: RequestBuilder, path: &str) -> Result<Response, SdkError> {
        request
            .send()
            .await
            .map_err(|source| self.transport(path, source))
    }

    async fn read(&self, mut response: Response, path: &str) -> Result<Vec<u8>, SdkError> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let Some(bytes) = chunk.map_err(|source| self.transport(path, source))? else {
                return Ok(body);
            };
            if body.len() + bytes.len() > ANSWER_BYTES_MAX {
                return Err(self.protocol(path, format!("a body above {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&bytes);
        }
    }

    async fn refusal(&self, path: &str, response: Response) -> SdkError {
        let status = response.status().as_u16();
        let body = match self.read(response, path).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => SdkError::Refused {
                status,
                body: Box::new(body),
            },
            Err(_) => self.protocol(path, format!("status {status} without an error envelope")),
        }
    }
}

fn check_base(base: &str) -> Result<(), SdkError> {
    let problem = match Url::parse(base) {
        Err(error) => error.to_string(),
        Ok(url) if url.scheme() != "http" => format!("its scheme is `{}`", url.scheme()),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "it has a query or a fragment".to_owned()
        }
        Ok(_) => return Ok(()),
    };
    let problem = format!("cannot use the address `{base}`: {problem}; give `http://HOST:PORT`");
    Err(SdkError::Config { problem })
}

fn headers(token: Option<&str>) -> Result<HeaderMap, SdkError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| SdkError::Config {
            problem: "the token holds characters that an HTTP header cannot carry".to_owned(),
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Any text as one segment of a path.
fn segment(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-CTRL-2041
    #[test]
    fn a_token_is_never_printed() {
        let client = Client::new("http://127.0.0.1:1", Some("hunter2".into())).unwrap();
        assert!(!format!("{client:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_at_once() {
        for base in ["", "localhost:8080", "https://127.0.0.1", "http://h/?a=b"] {
            let error = Client::new(base, None).unwrap_err();
            assert!(matches!(error, SdkError::Config { .. }), "{base}: {error}");
        }
        let error = Client::new("http://h", Some("a\nb".into())).unwrap_err();
        assert!(matches!(error, SdkError::Config { .. }) && !error.retriable());
    }

    #[test]
    fn an_id_stays_within_its_segment() {
        assert_eq!(segment("haiku-gpu0.1_a"), "haiku-gpu0.1_a");
        assert_eq!(segment("../a b?ü"), "..%2Fa%20b%3F%C3%BC");
    }
}
