//! One call: what the generated operations send with, and how their answers are read.
//!
//! # Invariants
//! - Only a documented status is taken for an answer.
//! - Nothing is retried and no redirect is followed: a call is one request.

use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::generated::shared::ErrorBody;

/// One operation of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id in the document.
    pub id: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path, with the names of its parameters in braces.
    pub path: &'static str,
    /// The status of success.
    pub success: u16,
    /// The refusals that carry an envelope.
    pub refusals: &'static [u16],
    /// The refusals that carry nothing.
    pub bare: &'static [u16],
}

/// A documented answer.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: T,
}

/// Why a call gave no answer of success.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A documented refusal.
    #[error("refused with {}: {}", .0.status, .0.body.message)]
    Refused(Box<Answer<ErrorBody>>),
    /// A documented refusal without a body.
    #[error("refused with {}, without a word", .0.status)]
    Bare(Box<Answer<()>>),
    /// A status that the document does not name for this operation.
    #[error("`{operation}` answered {status}, which its document does not name: {body}")]
    Undocumented {
        /// The operation.
        operation: &'static str,
        /// The status.
        status: StatusCode,
        /// What came with it.
        body: String,
    },
    /// A body that is not what the document says.
    #[error("`{operation}` answered {status} with a body that its document does not allow")]
    Malformed {
        /// The operation.
        operation: &'static str,
        /// The status.
        status: StatusCode,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The request did not get there, or its answer broke off.
    #[error("`{operation}` got no whole answer")]
    Broken {
        /// The operation.
        operation: &'static str,
        /// Why.
        source: reqwest::Error,
    },
}

/// A server, and the key that is shown to it.
#[derive(Clone)]
pub struct Connection {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Connection {
    /// Calls will go to `base`, with `key` as their bearer where there is one.
    ///
    /// # Errors
    /// When the system has no room for an HTTP client.
    pub fn new(base: &str, key: Option<&str>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build()?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key: key.map(str::to_owned),
        })
    }

    /// Begins a call; `path` holds the values of the path's parameters in their order.
    pub(crate) fn call(&self, operation: &'static Operation, path: &[&str]) -> Call {
        let url = format!("{}{}", self.base, filled(operation.path, path));
        let mut request = self.http.request(operation.method.clone(), url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        Call { operation, request }
    }
}

/// `template` with its parameters replaced, each written so that it stays one segment.
fn filled(template: &str, values: &[&str]) -> String {
    let mut values = values.iter();
    let segments = template.split('/').map(|segment| {
        if segment.starts_with('{') {
            escaped(values.next().expect("the generator writes one value each"))
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

fn escaped(value: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let written = value.bytes().map(|byte| match byte {
        byte if unreserved(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    written.collect()
}

/// A call that is being made.
pub(crate) struct Call {
    operation: &'static Operation,
    request: RequestBuilder,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.request = self.request.header(name, value);
        }
        self
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends it; the answer's body is JSON.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<Answer<T>, CallError> {
        let operation = self.operation;
        let (answer, text) = take(operation, self.sent().await?).await?;
        let body = read(operation, answer.status, &text)?;
        Ok(answer.with(body))
    }

    /// Sends it; the answer's body is text.
    pub(crate) async fn text(self) -> Result<Answer<String>, CallError> {
        let operation = self.operation;
        let (answer, text) = take(operation, self.sent().await?).await?;
        Ok(answer.with(text))
    }

    /// Sends it; the answer has no body.
    pub(crate) async fn nothing(self) -> Result<Answer<()>, CallError> {
        let operation = self.operation;
        let (answer, _) = take(operation, self.sent().await?).await?;
        Ok(answer)
    }

    /// Sends it; the answer's body goes on and is read by the caller.
    pub(crate) async fn stream(self) -> Result<Response, CallError> {
        self.sent().await
    }

    /// The response of success.
    async fn sent(self) -> Result<Response, CallError> {
        let Self { operation, request } = self;
        let broken = |source| CallError::Broken {
            operation: operation.id,
            source,
        };
        let response = request.send().await.map_err(broken)?;
        if response.status() == operation.success {
            return Ok(response);
        }
        let (answer, text) = take(operation, response).await?;
        let status = answer.status;
        if operation.refusals.contains(&status.as_u16()) {
            let body = read(operation, status, &text)?;
            return Err(CallError::Refused(Box::new(answer.with(body))));
        }
        if operation.bare.contains(&status.as_u16()) {
            return Err(CallError::Bare(Box::new(answer)));
        }
        Err(CallError::Undocumented {
            operation: operation.id,
            status,
            body: text,
        })
    }
}

impl Answer<()> {
    fn with<T>(self, body: T) -> Answer<T> {
        Answer {
            status: self.status,
            headers: self.headers,
            body,
        }
    }
}

async fn take(
    operation: &'static Operation,
    response: Response,
) -> Result<(Answer<()>, String), CallError> {
    let answer = Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: (),
    };
    let text = response.text().await;
    let text = text.map_err(|source| CallError::Broken {
        operation: operation.id,
        source,
    })?;
    Ok((answer, text))
}

fn read<T: DeserializeOwned>(
    operation: &'static Operation,
    status: StatusCode,
    text: &str,
) -> Result<T, CallError> {
    serde_json::from_str(text).map_err(|source| CallError::Malformed {
        operation: operation.id,
        status,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn a_parameter_stays_one_segment() {
        assert_eq!(
            filled("/v1/tasks/{task_id}/stream", &["a/b c%?"]),
            "/v1/tasks/a%2Fb%20c%25%3F/stream"
        );
    }
}
