//! The walker: sends, holds the answer against the document, and notes what has been visited.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::contract::{Contract, Documented, Seen, events};

/// What a request carries.
#[derive(Debug, Default)]
pub(crate) enum Body {
    /// Nothing.
    #[default]
    None,
    /// JSON.
    Json(Value),
    /// Bytes of some kind.
    Raw(&'static str, Vec<u8>),
    /// Something that never comes.
    Stalled,
}

/// A request of an operation. The path and the method come from the document.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    /// Values of the path's parameters; what is not named here has the usual value.
    pub(crate) path: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) key: Option<String>,
    pub(crate) body: Body,
}

impl Ask {
    pub(crate) fn with(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            path: vec![(name, value.into())],
            ..Self::default()
        }
    }

    pub(crate) fn json(body: Value) -> Self {
        Self {
            body: Body::Json(body),
            ..Self::default()
        }
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// The usual values of the paths' parameters: things that are there, and a task that is not.
const USUAL: [(&str, &str); 3] = [
    ("task_id", "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e"),
    ("pool_id", "e2e"),
    ("node_id", "walk-host"),
];

/// What was asked and what came, before it is judged.
#[derive(Debug)]
pub(crate) struct Visit {
    document: &'static str,
    operation: &'static str,
    correlation_id: String,
    pub(crate) seen: Seen,
}

/// Where the walker sends, and what it has seen.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) contracts: Vec<Contract>,
    pub(crate) http: reqwest::Client,
    /// The base URLs: orchestratord's and the agent's.
    pub(crate) bases: [String; 2],
    pub(crate) visited: BTreeSet<Documented>,
    /// Headers that were there, as `document operation status header`.
    pub(crate) headers: BTreeSet<String>,
    /// Events of streams that came.
    pub(crate) events: BTreeSet<String>,
    pub(crate) visits: usize,
    pub(crate) problems: Vec<String>,
}

impl Walk {
    pub(crate) fn new(bases: [String; 2]) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            contracts: Contract::all(),
            http,
            bases,
            visited: BTreeSet::new(),
            headers: BTreeSet::new(),
            events: BTreeSet::new(),
            visits: 0,
            problems: Vec::new(),
        }
    }

    pub(crate) fn contract(&self, document: &str) -> &Contract {
        let mut contracts = self.contracts.iter();
        contracts
            .find(|contract| contract.name == document)
            .unwrap()
    }

    pub(crate) fn base(&self, document: &str) -> &str {
        &self.bases[usize::from(document == "pool")]
    }

    /// Sends a request, and waits for its answer elsewhere.
    pub(crate) fn begin(
        &mut self,
        document: &'static str,
        operation: &'static str,
        ask: Ask,
    ) -> impl Future<Output = Visit> + Send + 'static {
        self.visits += 1;
        let correlation_id = format!("walk-{}", self.visits);
        let (method, template, _) = self.contract(document).route(operation);
        let url = format!("{}{}", self.base(document), filled(template, &ask.path));
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, url)
            .header("x-correlation-id", &correlation_id);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some(key) = ask.key {
            request = request.bearer_auth(key);
        }
        request = match ask.body {
            Body::None => request,
            Body::Json(body) => request.json(&body),
            Body::Raw(kind, bytes) => request.header("content-type", kind).body(bytes),
            Body::Stalled => {
                let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
                let kind = "application/json";
                request
                    .header("content-type", kind)
                    .body(reqwest::Body::wrap_stream(never))
            }
        };
        async move {
            Visit {
                document,
                operation,
                correlation_id,
                seen: take(request).await,
            }
        }
    }

    /// Holds an answer against its document and notes it.
    pub(crate) fn note(&mut self, visit: Visit) -> Seen {
        let Visit {
            document,
            operation,
            correlation_id,
            seen,
        } = visit;
        let contract = self.contract(document);
        let mut problems = contract.problems(operation, &seen);
        if seen.header("x-correlation-id") != Some(&correlation_id) {
            problems.push("the correlation id is not that of the request".to_owned());
        }
        if seen.status >= 400
            && !seen.body.is_empty()
            && seen.json()["correlation_id"] != *correlation_id
        {
            problems.push("the envelope has another correlation id".to_owned());
        }
        let at = format!("{document} {operation} {}", seen.status);
        let documented = contract.headers(operation, seen.status);
        let there = documented
            .keys()
            .filter(|name| seen.headers.contains_key(name.as_str()));
        let there: Vec<_> = there.map(|name| format!("{at} {name}")).collect();
        self.headers.extend(there);
        if seen.header("content-type") == Some("text/event-stream") {
            self.events
                .extend(events(&seen.body).into_iter().map(|(name, _)| name));
        }
        self.problems
            .extend(problems.into_iter().map(|what| format!("{at}: {what}")));
        self.visited.insert(Documented {
            document,
            operation: operation.to_owned(),
            status: seen.status,
            code: if seen.status >= 400 {
                seen.code()
            } else {
                String::new()
            },
        });
        seen
    }

    /// Asks, and expects this status and code.
    pub(crate) async fn visit(
        &mut self,
        document: &'static str,
        operation: &'static str,
        ask: Ask,
        expected: (u16, &str),
    ) -> Seen {
        let told = format!("{document} {operation} {ask:?}");
        if expected.0 < 300
            && let (Body::Json(body), Some(schema)) =
                (&ask.body, self.contract(document).body_schema(operation))
        {
            let violations = self.contract(document).violations(schema, body);
            self.problems
                .extend(violations.into_iter().map(|what| format!("{told}: {what}")));
        }
        let visit = self.begin(document, operation, ask).await;
        let seen = self.note(visit);
        let code = if seen.status >= 400 {
            seen.code()
        } else {
            String::new()
        };
        if (seen.status, code.as_str()) != expected {
            self.problems.push(format!(
                "{told}: expected {expected:?}, got {} {}",
                seen.status, seen.body
            ));
        }
        seen
    }
}

pub(crate) async fn take(request: reqwest::RequestBuilder) -> Seen {
    let response = request.send().await.unwrap();
    Seen {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

pub(crate) fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut path = template.to_owned();
    for (name, value) in values {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    for (name, value) in USUAL {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    path
}
