//! A committed document, asked what an answer must look like.
//!
//! # Invariants
//! - Objects are closed here: a field that the document does not name is a violation, although
//!   clients must bear with it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};
use tools_openapi_client::generate::committed;

/// Headers of HTTP itself, of its caches and of its proxies, which documents need not name.
const OF_HTTP: [&str; 9] = [
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "www-authenticate",
    "x-accel-buffering",
];

/// One document.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) name: &'static str,
    tree: Value,
    closed: Value,
}

/// One thing that is documented: an answer of an operation, with its code where it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Documented {
    pub(crate) document: &'static str,
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) code: String,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The code of an envelope, or nothing.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A method, a path, and the operation they lead to.
pub(crate) type Route<'a> = (&'a str, &'a str, &'a Value);

impl Contract {
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let documents = committed(root).unwrap();
        let read = |(name, text): (&'static str, String)| {
            let tree: Value = yaml_serde::from_str(&text).unwrap();
            let closed = closed(tree["components"].clone());
            Self { name, tree, closed }
        };
        documents.into_iter().map(read).collect()
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        let paths = self.tree["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
    }

    pub(crate) fn route(&self, id: &str) -> Route<'_> {
        let mut routes = self.routes();
        let found = routes.find(|(_, _, operation)| operation["operationId"] == id);
        found.unwrap_or_else(|| panic!("{}.yaml has no operation `{id}`", self.name))
    }

    /// Everything that is documented.
    pub(crate) fn documented(&self) -> BTreeSet<Documented> {
        let mut all = BTreeSet::new();
        for (_, _, operation) in self.routes() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                for code in codes(response) {
                    all.insert(Documented {
                        document: self.name,
                        operation: operation["operationId"].as_str().unwrap().to_owned(),
                        status: status.parse().unwrap(),
                        code,
                    });
                }
            }
        }
        all
    }

    /// The headers that this answer may carry by its document, beyond those of HTTP.
    pub(crate) fn headers(&self, operation: &str, status: u16) -> Map<String, Value> {
        let (_, _, operation) = self.route(operation);
        let response = &operation["responses"][status.to_string()];
        response["headers"].as_object().cloned().unwrap_or_default()
    }

    /// Where the answer departs from the document.
    pub(crate) fn problems(&self, operation: &str, seen: &Seen) -> Vec<String> {
        let (_, _, tree) = self.route(operation);
        let Some(response) = tree["responses"].get(seen.status.to_string()) else {
            return vec![format!(
                "the status {} is not documented: {}",
                seen.status, seen.body
            )];
        };
        let mut problems = self.header_problems(operation, seen);
        match response["content"]
            .as_object()
            .and_then(|kinds| kinds.iter().next())
        {
            None if seen.body.is_empty() => {}
            None => problems.push(format!("a body where none is documented: {}", seen.body)),
            Some((kind, media)) => problems.extend(self.body_problems(tree, kind, media, seen)),
        }
        if seen.status >= 400 && !codes(response).contains(&seen.code()) {
            problems.push(format!("the code `{}` is not documented", seen.code()));
        }
        problems
    }

    fn header_problems(&self, operation: &str, seen: &Seen) -> Vec<String> {
        let documented = self.headers(operation, seen.status);
        let mut problems = Vec::new();
        for (name, value) in &seen.headers {
            let text = value.to_str().unwrap_or_default();
            match documented.get(name.as_str()) {
                Some(header) => {
                    let value = match header["schema"]["type"].as_str() {
                        Some("integer") => text.parse::<i64>().map(Value::from).unwrap_or_default(),
                        _ => json!(text),
                    };
                    let found = self.violations(&header["schema"], &value);
                    problems.extend(found.into_iter().map(|what| format!("{name}: {what}")));
                }
                None if OF_HTTP.contains(&name.as_str()) => {}
                None => problems.push(format!("the header `{name}` is not documented")),
            }
        }
        problems
    }

    fn body_problems(&self, tree: &Value, kind: &str, media: &Value, seen: &Seen) -> Vec<String> {
        let given = seen.header("content-type").unwrap_or_default();
        if given.split(';').next() != Some(kind) {
            return vec![format!("the body is of the kind `{given}`, not `{kind}`")];
        }
        match kind {
            "application/json" => match serde_json::from_str(&seen.body) {
                Ok(body) => self.violations(&media["schema"], &body),
                Err(problem) => vec![format!("the body is no JSON: {problem}: {}", seen.body)],
            },
            "text/event-stream" => self.stream_problems(&tree["x-sse-events"], &seen.body),
            _ if seen.body.is_empty() => vec!["the body is empty".to_owned()],
            _ => Vec::new(),
        }
    }

    fn stream_problems(&self, schemas: &Value, body: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, data) in events(body) {
            match schemas.get(&name) {
                None => problems.push(format!("the event `{name}` is not documented")),
                Some(schema) => problems.extend(
                    self.violations(schema, &data)
                        .into_iter()
                        .map(|what| format!("{name}: {what}")),
                ),
            }
        }
        problems
    }

    /// Where `value` departs from `schema`.
    pub(crate) fn violations(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut whole = closed(schema.clone());
        whole["components"] = self.closed.clone();
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&whole).unwrap();
        let told = |error: jsonschema::ValidationError<'_>| {
            format!("{error} at {}", error.instance_path())
        };
        validator.iter_errors(value).map(told).collect()
    }

    /// The schema of the body that an operation takes.
    pub(crate) fn body_schema(&self, operation: &str) -> Option<&Value> {
        let (_, _, tree) = self.route(operation);
        tree.pointer("/requestBody/content/application~1json/schema")
    }

    /// Every example, with the schema it stands beside.
    pub(crate) fn examples(&self) -> Vec<(String, String, Value, Value)> {
        let mut all = Vec::new();
        for (_, _, operation) in self.routes() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let mut parts = vec![("request".to_owned(), &operation["requestBody"])];
            for (status, response) in operation["responses"].as_object().unwrap() {
                parts.push((status.clone(), response));
            }
            for (part, tree) in parts {
                for media in tree["content"]
                    .as_object()
                    .into_iter()
                    .flat_map(Map::values)
                {
                    for example in examples_of(media) {
                        all.push((id.clone(), part.clone(), media["schema"].clone(), example));
                    }
                }
            }
        }
        all
    }
}

/// The events of a whole stream, by name, with their data.
pub(crate) fn events(body: &str) -> Vec<(String, Value)> {
    let mut decoder = contracts_sse::Decoder::new();
    let events = decoder.push(body.as_bytes()).unwrap();
    decoder.finish().unwrap();
    let read = |event: contracts_sse::Event| {
        let data = serde_json::from_str(&event.data).unwrap();
        (event.name, data)
    };
    events.into_iter().map(read).collect()
}

fn examples_of(media: &Value) -> Vec<Value> {
    let named = media["examples"]
        .as_object()
        .into_iter()
        .flat_map(Map::values);
    let named = named.map(|example| example["value"].clone());
    named.chain(media.get("example").cloned()).collect()
}

/// The codes that an answer may carry; one empty one for an answer without an envelope.
fn codes(response: &Value) -> Vec<String> {
    let media = &response["content"]["application/json"];
    let is_envelope = media["schema"]["$ref"] == "#/components/schemas/ErrorBody";
    if !is_envelope {
        return vec![String::new()];
    }
    let code = |example: Value| example["code"].as_str().unwrap().to_owned();
    examples_of(media).into_iter().map(code).collect()
}

/// The same schemas, in which an object has no other fields than those that are named.
fn closed(tree: Value) -> Value {
    match tree {
        Value::Object(fields) => {
            let is_open =
                fields.contains_key("properties") && !fields.contains_key("additionalProperties");
            let inner = fields
                .into_iter()
                .map(|(name, value)| (name, closed(value)));
            let mut fields: Map<_, _> = inner.collect();
            if is_open && fields["properties"].is_object() {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(fields)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(closed).collect()),
        plain => plain,
    }
}
