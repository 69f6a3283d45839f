//! One method per operation.

use std::time::Duration;

use contracts_api_types::capability::Capabilities;
use contracts_api_types::error::ErrorBody;
use contracts_api_types::node::NodeSummary;
use contracts_api_types::pool::{PoolHealth, PoolSummary};
use contracts_api_types::task::{AdmissionResponse, TaskRequest, TaskStatus};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::SdkError;
use crate::stream::TaskStream;

/// Time for a connection to stand. Daemons are near; a host that is down should not hang a caller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a plain answer. Streams have no such limit: the server pings while nothing happens.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection pool to one orchestratord. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the server at `base`, for instance `http://127.0.0.1:8080`, with an API token
    /// where the server wants one.
    ///
    /// # Errors
    /// [`SdkError::Transport`] when no HTTP client can be set up.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, SdkError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| SdkError::Transport { url: base.to_owned(), source })?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token })
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
        self.json(request.timeout(ANSWER_TIMEOUT), "/v1/tasks").await
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
        self.get(&format!("/v1/pools/{id}/health")).await
    }

    /// Lists the hosts.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn nodes(&self) -> Result<Vec<NodeSummary>, SdkError> {
        self.get("/v1/nodes").await
    }

    /// Whether the server is ready for tasks.
    ///
    /// # Errors
    /// See [`SdkError`]; "not ready" is `Ok(false)`.
    pub async fn ready(&self) -> Result<bool, SdkError> {
        let request = self.request(Method::GET, "/readyz").timeout(ANSWER_TIMEOUT);
        Ok(self.send(request, "/readyz").await?.status().is_success())
    }

    /// The metrics in Prometheus text form.
    ///
    /// # Errors
    /// See [`SdkError`].
    pub async fn metrics(&self) -> Result<String, SdkError> {
        let request = self.request(Method::GET, "/metrics").timeout(ANSWER_TIMEOUT);
        let response = self.accepted(request, "/metrics").await?;
        response.text().await.map_err(|source| self.transport("/metrics", source))
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
        self.accepted(request, path).await
    }

    pub(crate) fn transport(&self, path: &str, source: reqwest::Error) -> SdkError {
        SdkError::Transport { url: self.url(path), source }
    }

    pub(crate) fn protocol(&self, path: &str, problem: impl Into<String>) -> SdkError {
        SdkError::Protocol { url: self.url(path), problem: problem.into() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, SdkError> {
        self.json(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT), path).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        path: &str,
    ) -> Result<T, SdkError> {
        let response = self.accepted(request, path).await?;
        let body = response.bytes().await.map_err(|source| self.transport(path, source))?;
        serde_json::from_slice(&body).map_err(|error| self.protocol(path, error.to_string()))
    }

    async fn accepted(&self, request: RequestBuilder, path: &str) -> Result<Response, SdkError> {
        let response = self.send(request, path).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(path, response).await) }
    }

    async fn send(&self, request: RequestBuilder, path: &str) -> Result<Response, SdkError> {
        request.send().await.map_err(|source| self.transport(path, source))
    }

    async fn refusal(&self, path: &str, response: Response) -> SdkError {
        let status = response.status().as_u16();
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(source) => return self.transport(path, source),
        };
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => SdkError::Refused { status, body: Box::new(body) },
            Err(_) => self.protocol(path, format!("status {status} without an error envelope")),
        }
    }
}
