//! Schemas as Rust types.
//!
//! # Invariants
//! - Only keywords that are listed here are accepted. Bounds and patterns are for servers to check;
//!   a type does not repeat them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Keywords that say how a schema is to be understood, and are read.
const READ: [&str; 9] = [
    "$ref",
    "additionalProperties",
    "enum",
    "format",
    "items",
    "oneOf",
    "properties",
    "required",
    "type",
];

/// Keywords that a type leaves to whoever checks values.
const LEFT_TO_CHECKS: [&str; 8] = [
    "description",
    "example",
    "exclusiveMinimum",
    "maxItems",
    "maximum",
    "minimum",
    "pattern",
    "propertyNames",
];

/// A schema that cannot become a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct SchemaError {
    /// Where it is.
    pub at: String,
    /// What is not understood.
    pub problem: String,
}

/// A Rust type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// One of the language or of a crate, as it is written.
    Plain(&'static str),
    /// A named schema.
    Named(String),
    /// A list.
    List(Box<Type>),
    /// A map from strings.
    Map(Box<Type>),
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, on the wire and in Rust.
    pub name: String,
    /// What it means.
    pub about: String,
    /// Its type, without the `Option` of one that may be absent.
    pub kind: Type,
    /// Whether it is always there.
    pub is_required: bool,
}

/// What a named schema becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object.
    Struct {
        /// Its fields, by name.
        fields: Vec<Field>,
        /// Whether other fields are refused.
        is_closed: bool,
    },
    /// A closed set of names.
    Enum(Vec<String>),
}

/// A named schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// What it means.
    pub about: String,
    /// What it becomes.
    pub shape: Shape,
}

/// Reads a named schema.
///
/// # Errors
/// [`SchemaError`] names what is not understood.
pub fn read(name: &str, schema: &Value) -> Result<Schema, SchemaError> {
    let place = Place(name.to_owned());
    let object = place.keywords(schema)?;
    let about = text(object, "description");
    let shape = match (text(object, "type").as_str(), object.get("enum")) {
        ("string", Some(Value::Array(names))) => Shape::Enum(place.names(names)?),
        ("object", None) => place.object(object)?,
        _ => return place.refuse("is neither an object nor a set of names"),
    };
    Ok(Schema { about, shape })
}

/// The type of a schema that must be there.
///
/// # Errors
/// [`SchemaError`] names what is not understood.
pub fn type_of(at: &str, schema: &Value) -> Result<Type, SchemaError> {
    let place = Place(at.to_owned());
    match place.type_or_null(schema)? {
        (kind, false) => Ok(kind),
        (_, true) => place.refuse("may be null, where something must be"),
    }
}

/// The names that a type uses, added to `names`.
pub fn add_names(kind: &Type, names: &mut BTreeSet<String>) {
    match kind {
        Type::Plain(_) => {}
        Type::Named(name) => {
            names.insert(name.clone());
        }
        Type::List(inner) | Type::Map(inner) => add_names(inner, names),
    }
}

/// Everything that `roots` use, over however many others.
#[must_use]
pub fn closure(roots: BTreeSet<String>, schemas: &BTreeMap<String, Schema>) -> BTreeSet<String> {
    let mut open: Vec<_> = roots.iter().cloned().collect();
    let mut all = roots;
    while let Some(name) = open.pop() {
        let Some(Shape::Struct { fields, .. }) = schemas.get(&name).map(|schema| &schema.shape)
        else {
            continue;
        };
        let mut used = BTreeSet::new();
        for field in fields {
            add_names(&field.kind, &mut used);
        }
        open.extend(
            used.iter()
                .filter(|name| all.insert((*name).clone()))
                .cloned(),
        );
    }
    all
}

struct Place(String);

impl Place {
    fn refuse<T>(&self, problem: impl Into<String>) -> Result<T, SchemaError> {
        Err(SchemaError {
            at: self.0.clone(),
            problem: problem.into(),
        })
    }

    fn inside(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    fn keywords<'a>(&self, schema: &'a Value) -> Result<&'a Map<String, Value>, SchemaError> {
        let Some(object) = schema.as_object() else {
            return self.refuse("is no schema");
        };
        let known =
            |key: &&String| READ.contains(&key.as_str()) || LEFT_TO_CHECKS.contains(&key.as_str());
        match object.keys().find(|key| !known(key)) {
            None => Ok(object),
            Some(key) => self.refuse(format!("uses `{key}`, which the generator does not know")),
        }
    }

    fn names(&self, values: &[Value]) -> Result<Vec<String>, SchemaError> {
        let names = values.iter().map(|value| value.as_str().map(str::to_owned));
        names
            .collect::<Option<_>>()
            .map_or_else(|| self.refuse("has a name that is no text"), Ok)
    }

    fn object(&self, object: &Map<String, Value>) -> Result<Shape, SchemaError> {
        let required = match object.get("required") {
            None => Vec::new(),
            Some(Value::Array(names)) => self.names(names)?,
            Some(_) => return self.refuse("has a `required` that is no list"),
        };
        let is_closed = match object.get("additionalProperties") {
            None => false,
            Some(Value::Bool(false)) => true,
            Some(_) => return self.refuse("mixes known and free fields"),
        };
        let Some(properties) = object.get("properties").and_then(Value::as_object) else {
            return self.refuse("is an object without fields");
        };
        let mut fields = Vec::new();
        for (name, schema) in properties {
            let place = self.inside(name);
            let is_required = required.contains(name);
            let (kind, may_be_null) = place.type_or_null(schema)?;
            if is_required && may_be_null {
                return place.refuse("must be there and may be null: choose one");
            }
            fields.push(Field {
                name: name.clone(),
                about: about(place.keywords(schema)?),
                kind,
                is_required,
            });
        }
        Ok(Shape::Struct { fields, is_closed })
    }

    /// The type, and whether null may stand instead.
    fn type_or_null(&self, schema: &Value) -> Result<(Type, bool), SchemaError> {
        let object = self.keywords(schema)?;
        if let Some(target) = object.get("$ref") {
            return Ok((self.named(target)?, false));
        }
        if let Some(Value::Array(options)) = object.get("oneOf") {
            return match options.as_slice() {
                [named, null] if null["type"] == "null" => Ok((self.named(&named["$ref"])?, true)),
                _ => self.refuse("is a `oneOf` of other than one reference and null"),
            };
        }
        match object.get("type") {
            Some(Value::String(kind)) => Ok((self.plain(kind, object)?, false)),
            Some(Value::Array(kinds)) => match self.names(kinds)?.as_slice() {
                [kind, null] if null == "null" => Ok((self.plain(kind, object)?, true)),
                _ => self.refuse("is of several types"),
            },
            _ => self.refuse("has no type"),
        }
    }

    fn named(&self, target: &Value) -> Result<Type, SchemaError> {
        let name = target
            .as_str()
            .and_then(|target| target.strip_prefix("#/components/schemas/"));
        match name {
            Some(name) => Ok(Type::Named(name.to_owned())),
            None => self.refuse("refers to something that is no schema of its document"),
        }
    }

    fn plain(&self, kind: &str, object: &Map<String, Value>) -> Result<Type, SchemaError> {
        let format = text(object, "format");
        let is_unsigned = object
            .get("minimum")
            .and_then(Value::as_i64)
            .is_some_and(|least| least >= 0);
        let name = match (kind, format.as_str()) {
            ("string", "") => "String",
            ("string", "uuid") => "Uuid",
            ("boolean", "") => "bool",
            ("number", "double") => "f64",
            ("integer", "int32") if is_unsigned => "u32",
            ("integer", "int64") if is_unsigned => "u64",
            ("array", "") => {
                let Some(items) = object.get("items") else {
                    return self.refuse("is a list of nothing");
                };
                return Ok(Type::List(Box::new(type_of(
                    &self.inside("items").0,
                    items,
                )?)));
            }
            ("object", "") => {
                let Some(values) = object.get("additionalProperties") else {
                    return self.refuse("is an object without a name of its own");
                };
                let values = type_of(&self.inside("values").0, values)?;
                return Ok(Type::Map(Box::new(values)));
            }
            (kind, format) => {
                return self.refuse(format!("is of type `{kind}` in the format `{format}`"));
            }
        };
        Ok(Type::Plain(name))
    }
}

/// What a field means. Beside a reference that may be null, the words stand inside the choice.
fn about(object: &Map<String, Value>) -> String {
    let inside = object
        .get("oneOf")
        .and_then(|options| options.get(0)?.as_object());
    let words = [Some(object), inside].map(|place| place.map(|place| text(place, "description")));
    let mut words = words
        .into_iter()
        .flatten()
        .filter(|words| !words.is_empty());
    words.next().unwrap_or_default()
}

/// The text of a keyword, or nothing.
fn text(object: &Map<String, Value>, keyword: &str) -> String {
    object
        .get(keyword)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(schema: Value) -> Result<(Type, bool), String> {
        let whole = json!({ "type": "object", "properties": { "f": schema } });
        match read("T", &whole).map_err(|error| error.to_string())?.shape {
            Shape::Struct { mut fields, .. } => {
                let field = fields.remove(0);
                Ok((field.kind, field.is_required))
            }
            Shape::Enum(names) => panic!("{names:?}"),
        }
    }

    #[track_caller]
    fn check(schema: Value, kind: Type) {
        assert_eq!(field(schema), Ok((kind, false)));
    }

    #[test]
    fn each_kind_of_field_has_its_type() {
        check(json!({ "type": "string" }), Type::Plain("String"));
        check(
            json!({ "type": ["string", "null"], "format": "uuid" }),
            Type::Plain("Uuid"),
        );
        check(
            json!({ "type": "integer", "format": "int32", "minimum": 1 }),
            Type::Plain("u32"),
        );
        let reference = json!({ "$ref": "#/components/schemas/Other" });
        let named = Type::Named("Other".into());
        check(reference.clone(), named.clone());
        check(
            json!({ "oneOf": [reference, { "type": "null" }] }),
            named.clone(),
        );
        check(
            json!({ "type": "array", "items": reference }),
            Type::List(Box::new(named.clone())),
        );
        check(
            json!({ "type": "object", "additionalProperties": reference }),
            Type::Map(Box::new(named)),
        );
    }

    #[test]
    fn words_are_found_beside_and_inside_a_choice() {
        let reference = json!({ "$ref": "#/components/schemas/Other", "description": "Inside." });
        let inside = json!({ "oneOf": [reference, { "type": "null" }] });
        assert_eq!(about(inside.as_object().expect("an object")), "Inside.");
        let beside = json!({ "oneOf": [reference], "description": "Beside." });
        assert_eq!(about(beside.as_object().expect("an object")), "Beside.");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        let table = [
            (
                json!({ "type": "string", "const": "a" }),
                "T.f: uses `const`",
            ),
            (
                json!({ "type": "integer", "format": "int32" }),
                "T.f: is of type `integer`",
            ),
            (
                json!({ "type": ["string", "integer"] }),
                "T.f: is of several types",
            ),
            (
                json!({ "oneOf": [{ "type": "string" }] }),
                "T.f: is a `oneOf`",
            ),
            (
                json!({ "$ref": "other.yaml#/A" }),
                "T.f: refers to something",
            ),
            (json!({}), "T.f: has no type"),
        ];
        for (schema, words) in table {
            let error = field(schema.clone()).expect_err("it is refused");
            assert!(error.starts_with(words), "{schema}: {error}");
        }
        let both = json!({ "type": "object", "required": ["f"], "properties": { "f": { "type": ["string", "null"] } } });
        assert!(read("T", &both).is_err());
    }
}
