//! HTTP to one server: connections, bounds, and failures as ours.
//!
//! # Invariants
//! - No proxy, no redirect, no retry: a request goes to its server once.
//! - A whole answer has [`ANSWER_WAIT`] and a byte limit; a stream's head has its own deadline.
//!
//! Not here: what an answer means.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use tokio::time::{Instant, timeout, timeout_at};
use worker_adapters_adapter_api::AdapterError;
use worker_adapters_adapter_api::watched::FIRST_TOKEN;

use crate::config::{ApiKey, ConfigError, LlamaCppConfig};
use crate::refusal;

/// The longest wait for a whole answer. `/slots` and `/metrics` are answered between two decode
/// steps, and one step over a long prompt takes seconds on a slow machine.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The longest body of an error.
const ERROR_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Transport {
    client: Client,
    base: String,
    connect_timeout: Duration,
}

/// A status and the whole body that came with it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body of a 200; anything else is an error.
    pub(crate) fn accepted(self) -> Result<Vec<u8>, AdapterError> {
        if self.status == 200 {
            Ok(self.body)
        } else {
            Err(refusal::of_answer(self.status, &self.body))
        }
    }
}

impl Transport {
    pub(crate) fn new(config: &LlamaCppConfig) -> Result<Self, ConfigError> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(config.connect_timeout)
            // Each open connection holds one of the server's few threads, and it closes idle ones
            // after five seconds, which a request may run into. Loopback connections are cheap.
            .pool_max_idle_per_host(0)
            .default_headers(headers(config.api_key.as_ref())?)
            .build()
            .map_err(ConfigError::Client)?;
        let base = checked_base(&config.base_url)?;
        Ok(Self {
            client,
            base,
            connect_timeout: config.connect_timeout,
        })
    }

    pub(crate) async fn get(&self, path: &str, limit: usize) -> Result<Answer, AdapterError> {
        self.whole(self.client.get(self.url(path)), limit).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Answer, AdapterError> {
        self.whole(self.json(path, body), limit).await
    }

    /// Posts `body` and gives the answer's head, once the server began an event stream.
    pub(crate) async fn open_stream(
        &self,
        path: &str,
        body: Vec<u8>,
        started: Instant,
        wait: Duration,
    ) -> Result<Response, AdapterError> {
        let opened = self.accepted_stream(self.json(path, body));
        match timeout_at(started + wait, opened).await {
            Ok(opened) => opened,
            Err(_) => Err(AdapterError::TimedOut {
                what: FIRST_TOKEN,
                waited: wait,
            }),
        }
    }

    async fn accepted_stream(&self, request: RequestBuilder) -> Result<Response, AdapterError> {
        let response = request.send().await.map_err(|error| self.unsent(error))?;
        let status = response.status().as_u16();
        if status == 200 && is_event_stream(&response) {
            return Ok(response);
        }
        let body = read_bounded(response, ERROR_BYTES_MAX).await?;
        // An error object in a 200 is a failure as well.
        let object: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        match object.as_ref().and_then(|object| object.get("error")) {
            Some(error) if status == 200 => Err(refusal::of_object(error)),
            None if status == 200 => Err(refusal::garbled(
                "no event stream",
                &String::from_utf8_lossy(&body),
            )),
            _ => Err(refusal::of_answer(status, &body)),
        }
    }

    async fn whole(&self, request: RequestBuilder, limit: usize) -> Result<Answer, AdapterError> {
        let answered = async {
            let response = request.send().await.map_err(|error| self.unsent(error))?;
            let status = response.status().as_u16();
            let limit = if status == 200 {
                limit
            } else {
                ERROR_BYTES_MAX
            };
            Ok(Answer {
                status,
                body: read_bounded(response, limit).await?,
            })
        };
        match timeout(ANSWER_WAIT, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(AdapterError::TimedOut {
                what: "answer",
                waited: ANSWER_WAIT,
            }),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn json(&self, path: &str, body: Vec<u8>) -> RequestBuilder {
        self.client
            .post(self.url(path))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
    }

    /// A request that got no answer's head.
    fn unsent(&self, error: reqwest::Error) -> AdapterError {
        if error.is_connect() && error.is_timeout() {
            AdapterError::TimedOut {
                what: "connection",
                waited: self.connect_timeout,
            }
        } else if error.is_connect() {
            AdapterError::Unreachable {
                reason: chain(error),
            }
        } else {
            AdapterError::CutOff {
                reason: chain(error),
            }
        }
    }
}

/// The next bytes of a body, or `None` at its proper end.
pub(crate) async fn next_bytes(response: &mut Response) -> Result<Option<Vec<u8>>, AdapterError> {
    match response.chunk().await {
        Ok(bytes) => Ok(bytes.map(Into::into)),
        Err(error) => Err(AdapterError::CutOff {
            reason: chain(error),
        }),
    }
}

async fn read_bounded(mut response: Response, limit: usize) -> Result<Vec<u8>, AdapterError> {
    let mut body = Vec::new();
    while let Some(bytes) = next_bytes(&mut response).await? {
        if body.len() + bytes.len() > limit {
            return Err(AdapterError::Garbled {
                reason: format!("a body above {limit} bytes"),
            });
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

fn is_event_stream(response: &Response) -> bool {
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("text/event-stream"))
}

fn headers(api_key: Option<&ApiKey>) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
            .map_err(|_| ConfigError::ApiKey)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn checked_base(base_url: &str) -> Result<String, ConfigError> {
    let unusable = |reason: String| ConfigError::BaseUrl {
        base_url: base_url.to_owned(),
        reason,
    };
    let url = Url::parse(base_url).map_err(|error| unusable(error.to_string()))?;
    if url.scheme() != "http" {
        return Err(unusable(format!("its scheme is `{}`", url.scheme())));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("it has a query or a fragment".to_owned()));
    }
    Ok(base_url.trim_end_matches('/').to_owned())
}

/// An error with its causes, without the server's address: clients read it, and logs name the
/// replica.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(base_url: &str) -> Result<String, ConfigError> {
        checked_base(base_url)
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        assert_eq!(base("http://127.0.0.1:80/").unwrap(), "http://127.0.0.1:80");
        assert_eq!(
            base("http://h:1/v1/workers/a").unwrap(),
            "http://h:1/v1/workers/a"
        );
        for bad in [
            "",
            "127.0.0.1:80",
            "https://h",
            "file:///x",
            "http://h/?a=b",
            "http://h/#f",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
        let error = headers(Some(&ApiKey::new("a\nb"))).unwrap_err();
        assert!(matches!(error, ConfigError::ApiKey));
        let headers = headers(Some(&ApiKey::new("secret"))).unwrap();
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
