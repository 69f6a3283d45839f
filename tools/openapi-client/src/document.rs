//! An OpenAPI document, as far as a client needs it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{self, Schema, SchemaError, Type};

/// A document that no client can be made of.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no YAML.
    #[error("{name}.yaml cannot be read")]
    Yaml {
        /// The document.
        name: String,
        /// Why.
        source: yaml_serde::Error,
    },
    /// Something in it is not understood.
    #[error("{name}.yaml: {what}")]
    Form {
        /// The document.
        name: String,
        /// What, and where.
        what: SchemaError,
    },
}

/// What an operation answers with on success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// JSON of this type.
    Json(Type),
    /// Text.
    Text,
    /// Server-sent events.
    Stream,
    /// Nothing.
    Nothing,
}

/// One parameter of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name on the wire.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// What it does: a line, and more lines.
    pub about: [String; 2],
    /// Its method, in capitals.
    pub method: String,
    /// Its path with the parameters in braces.
    pub path: String,
    /// The parameters of the path, in their order.
    pub in_path: Vec<Parameter>,
    /// The headers that may be sent.
    pub headers: Vec<Parameter>,
    /// The body that must be sent.
    pub body: Option<Type>,
    /// The status of success, and what comes with it.
    pub success: (u16, Success),
    /// The refusals with an envelope.
    pub refusals: Vec<u16>,
    /// The refusals without one.
    pub bare: Vec<u16>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name: the file's, without the ending.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// Its schemas.
    pub schemas: BTreeMap<String, Schema>,
    /// Its operations, by path and method.
    pub operations: Vec<Operation>,
}

impl Document {
    /// Reads `text`, which is YAML.
    ///
    /// # Errors
    /// [`DocumentError`] names what is not understood.
    pub fn parse(name: &str, text: &str) -> Result<Self, DocumentError> {
        let yaml = |source| DocumentError::Yaml {
            name: name.to_owned(),
            source,
        };
        let tree: Value = yaml_serde::from_str(text).map_err(yaml)?;
        Self::of(name, &tree).map_err(|what| DocumentError::Form {
            name: name.to_owned(),
            what,
        })
    }

    fn of(name: &str, tree: &Value) -> Result<Self, SchemaError> {
        let mut schemas = BTreeMap::new();
        for (name, schema) in object("components.schemas", &tree["components"]["schemas"])? {
            schemas.insert(name.clone(), schema::read(name, schema)?);
        }
        let mut operations = Vec::new();
        for (path, item) in object("paths", &tree["paths"])? {
            for (method, operation) in object(path, item)? {
                operations.push(operation_of(path, method, operation)?);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            about: words(&tree["info"]["description"]),
            schemas,
            operations,
        })
    }
}

fn operation_of(path: &str, method: &str, tree: &Value) -> Result<Operation, SchemaError> {
    let at = format!("{method} {path}");
    let [mut in_path, mut headers] = [Vec::new(), Vec::new()];
    for parameter in tree["parameters"].as_array().into_iter().flatten() {
        let name = words(&parameter["name"]);
        let kind = schema::type_of(&format!("{at}.{name}"), &without_null(&parameter["schema"]))?;
        let required = parameter["required"] == true;
        match (words(&parameter["in"]).as_str(), required) {
            ("path", true) => in_path.push(Parameter { name, kind }),
            ("header", false) => headers.push(Parameter { name, kind }),
            (place, _) => return refuse(&at, format!("has the parameter `{name}` in `{place}`")),
        }
    }
    let order = |parameter: &Parameter| path.find(&format!("{{{}}}", parameter.name));
    in_path.sort_by_key(order);
    let body = match tree.get("requestBody") {
        None => None,
        Some(body) if body["required"] == true => {
            let schema = &body["content"]["application/json"]["schema"];
            Some(schema::type_of(&format!("{at}.body"), schema)?)
        }
        Some(_) => return refuse(&at, "has a body that may be absent".into()),
    };
    let mut operation = Operation {
        id: words(&tree["operationId"]),
        about: [words(&tree["summary"]), words(&tree["description"])],
        method: method.to_uppercase(),
        path: path.to_owned(),
        in_path,
        headers,
        body,
        success: (0, Success::Nothing),
        refusals: Vec::new(),
        bare: Vec::new(),
    };
    add_answers(&at, &tree["responses"], &mut operation)?;
    Ok(operation)
}

fn add_answers(at: &str, tree: &Value, operation: &mut Operation) -> Result<(), SchemaError> {
    let mut successes = Vec::new();
    for (status, response) in object(at, tree)? {
        let at = format!("{at} {status}");
        let Ok(number) = status.parse::<u16>() else {
            return refuse(&at, "is no status".into());
        };
        let content = response["content"].as_object();
        let kinds: Vec<_> = content.into_iter().flatten().collect();
        let body = match kinds.as_slice() {
            [] => Success::Nothing,
            [(kind, _)] if *kind == "text/plain" => Success::Text,
            [(kind, _)] if *kind == "text/event-stream" => Success::Stream,
            [(kind, media)] if *kind == "application/json" => {
                Success::Json(schema::type_of(&at, &media["schema"])?)
            }
            _ => {
                return refuse(
                    &at,
                    "has a body of a kind that the client cannot read".into(),
                );
            }
        };
        match (number, body) {
            (200..=299, body) => successes.push((number, body)),
            (_, Success::Nothing) => operation.bare.push(number),
            (_, Success::Json(Type::Named(name))) if name == "ErrorBody" => {
                operation.refusals.push(number);
            }
            _ => return refuse(&at, "is a refusal without the envelope".into()),
        }
    }
    match <[_; 1]>::try_from(successes) {
        Ok([success]) => operation.success = success,
        Err(_) => return refuse(at, "has not exactly one success".into()),
    }
    Ok(())
}

/// A header that may be absent is written as one that may be null.
fn without_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some([kind, null]) = schema["type"].as_array().map(Vec::as_slice)
        && null == "null"
    {
        schema["type"] = kind.clone();
    }
    schema
}

fn object<'a>(at: &str, tree: &'a Value) -> Result<&'a Map<String, Value>, SchemaError> {
    let missing = || SchemaError {
        at: at.to_owned(),
        problem: "is missing".into(),
    };
    tree.as_object().ok_or_else(missing)
}

fn refuse<T>(at: &str, problem: String) -> Result<T, SchemaError> {
    Err(SchemaError {
        at: at.to_owned(),
        problem,
    })
}

fn words(tree: &Value) -> String {
    tree.as_str().unwrap_or_default().trim().to_owned()
}
