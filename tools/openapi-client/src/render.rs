//! Types and operations as Rust text, before rustfmt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::document::{Document, Operation, Success};
use crate::schema::{Field, Schema, Shape, Type, add_names};

/// The first line of every file.
const NOTICE: &str = "//! Written by `openapi-client` from `contracts/openapi`: change the daemons and generate anew.\n";

/// The most arguments that a function may take.
const ARGUMENTS_MAX: usize = 5;

/// Where the types of a document come from.
#[derive(Debug)]
pub(crate) struct Rooms<'a> {
    /// All types.
    pub(crate) schemas: &'a BTreeMap<String, Schema>,
    /// Those that several documents have.
    pub(crate) shared: &'a BTreeSet<String>,
    /// Those that clients write.
    pub(crate) written: &'a BTreeSet<String>,
}

/// The file of the types that several documents have.
pub(crate) fn shared(rooms: &Rooms<'_>) -> String {
    let mut text = format!("{NOTICE}//!\n//! The types that several documents have.\n\n");
    for name in rooms.shared {
        add_type(&mut text, name, rooms);
    }
    with_imports(text)
}

/// The file of a document: its own types and its operations.
pub(crate) fn document(document: &Document, rooms: &Rooms<'_>) -> String {
    let mut text = format!("{NOTICE}//!\n{}\n", doc("//!", &document.about));
    let own = document
        .schemas
        .keys()
        .filter(|name| !rooms.shared.contains(*name));
    let mut used = BTreeSet::new();
    for name in own {
        add_type(&mut text, name, rooms);
        if let Shape::Struct { fields, .. } = &rooms.schemas[name].shape {
            fields
                .iter()
                .for_each(|field| add_names(&field.kind, &mut used));
        }
    }
    for operation in &document.operations {
        add_operation(&mut text, operation);
        if let Success::Json(kind) = &operation.success.1 {
            add_names(kind, &mut used);
        }
        operation
            .body
            .iter()
            .for_each(|kind| add_names(kind, &mut used));
    }
    let foreign: Vec<_> = used.intersection(rooms.shared).cloned().collect();
    let mut imports =
        String::from("use crate::call::{Answer, CallError, Connection, Operation};\n");
    if !foreign.is_empty() {
        let _ = writeln!(
            imports,
            "use crate::generated::shared::{{{}}};",
            foreign.join(", ")
        );
    }
    let (head, rest) = text
        .split_once("\n\n")
        .expect("a head is followed by an empty line");
    with_imports(format!("{head}\n\n{imports}\n{rest}"))
}

/// Adds the imports of what the text names.
fn with_imports(text: String) -> String {
    let mut imports = String::new();
    for (name, path) in [
        ("BTreeMap<", "std::collections::BTreeMap"),
        ("Method::", "http::Method"),
        ("Deserialize", "serde::{Deserialize, Serialize}"),
        ("Uuid", "uuid::Uuid"),
    ] {
        if text.contains(name) {
            let _ = writeln!(imports, "use {path};");
        }
        if path.starts_with("std") && text.contains(name) {
            imports.push('\n');
        }
    }
    let (head, rest) = text
        .split_once("\n\n")
        .expect("a head is followed by an empty line");
    format!("{head}\n\n{imports}\n{rest}")
}

fn add_type(text: &mut String, name: &str, rooms: &Rooms<'_>) {
    let schema = &rooms.schemas[name];
    text.push_str(&doc("///", &schema.about));
    match &schema.shape {
        Shape::Enum(names) => add_enum(text, name, names),
        Shape::Struct { fields, is_closed } => {
            let empty = fields.iter().all(|field| !field.is_required);
            let default = if empty { ", Default" } else { "" };
            let _ = writeln!(
                text,
                "#[derive(Clone, Debug{default}, PartialEq, Deserialize, Serialize)]"
            );
            if *is_closed {
                text.push_str("#[serde(deny_unknown_fields)]\n");
            }
            let _ = writeln!(text, "pub struct {name} {{");
            fields.iter().for_each(|field| add_field(text, field));
            text.push_str("}\n\n");
            if rooms.written.contains(name) && !empty {
                add_constructor(text, name, fields);
            }
        }
    }
}

fn add_enum(text: &mut String, name: &str, names: &[String]) {
    text.push_str("#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]\n");
    let _ = writeln!(text, "pub enum {name} {{");
    for wire in names {
        let _ = writeln!(
            text,
            "/// `{wire}`\n#[serde(rename = \"{wire}\")]\n{},",
            camel(wire)
        );
    }
    text.push_str("}\n\n");
}

fn add_field(text: &mut String, field: &Field) {
    text.push_str(&doc("///", &field.about));
    let kind = written(&field.kind);
    if field.is_required {
        let _ = writeln!(text, "pub {}: {kind},", field.name);
    } else {
        text.push_str("#[serde(default, skip_serializing_if = \"Option::is_none\")]\n");
        let _ = writeln!(text, "pub {}: Option<{kind}>,", field.name);
    }
}

/// A way to write only what must be there, where that is little and there is more.
fn add_constructor(text: &mut String, name: &str, fields: &[Field]) {
    let required: Vec<_> = fields.iter().filter(|field| field.is_required).collect();
    if required.len() == fields.len() || required.len() > ARGUMENTS_MAX {
        return;
    }
    let arguments: Vec<_> = required
        .iter()
        .map(|field| format!("{}: {}", field.name, written(&field.kind)))
        .collect();
    let values = fields.iter().map(|field| match field.is_required {
        true => format!("{},", field.name),
        false => format!("{}: None,", field.name),
    });
    let _ = writeln!(
        text,
        "impl {name} {{\n/// With what must be there, and nothing else.\n#[must_use]\npub fn new({}) -> Self {{\nSelf {{ {} }}\n}}\n}}\n",
        arguments.join(", "),
        values.collect::<String>(),
    );
}

fn add_operation(text: &mut String, operation: &Operation) {
    let constant = snake(&operation.id).to_uppercase();
    let Operation {
        id,
        method,
        path,
        refusals,
        bare,
        ..
    } = operation;
    let (success, answer) = &operation.success;
    let _ = writeln!(
        text,
        "/// The operation `{id}`.\npub const {constant}: Operation = Operation {{ id: \"{id}\", \
         method: Method::{method}, path: \"{path}\", success: {success}, refusals: &{refusals:?}, \
         bare: &{bare:?} }};\n"
    );
    let [summary, more] = &operation.about;
    text.push_str(&doc("///", summary));
    if !more.is_empty() {
        text.push_str(&format!("///\n{}", doc("///", more)));
    }
    text.push_str("///\n/// # Errors\n/// [`CallError`] says what came instead.\n");
    let (kind, read) = match answer {
        Success::Json(kind) => (format!("Answer<{}>", written(kind)), "json"),
        Success::Text => ("Answer<String>".into(), "text"),
        Success::Nothing => ("Answer<()>".into(), "nothing"),
        Success::Stream => ("reqwest::Response".into(), "stream"),
    };
    let mut arguments = vec!["connection: &Connection".to_owned()];
    let mut values = Vec::new();
    for parameter in &operation.in_path {
        let name = snake(&parameter.name);
        let (kind, value) = match parameter.kind {
            Type::Plain("Uuid") => ("Uuid", format!("&{name}.to_string()")),
            _ => ("&str", name.clone()),
        };
        arguments.push(format!("{name}: {kind}"));
        values.push(value);
    }
    let mut chain = format!("connection.call(&{constant}, &[{}])", values.join(", "));
    for header in &operation.headers {
        let name = snake(&header.name);
        arguments.push(format!("{name}: Option<&str>"));
        let _ = write!(chain, ".header(\"{}\", {name})", header.name);
    }
    if let Some(body) = &operation.body {
        arguments.push(format!("body: &{}", written(body)));
        chain.push_str(".body(body)");
    }
    let _ = writeln!(
        text,
        "pub async fn {}({}) -> Result<{kind}, CallError> {{\n{chain}.{read}().await\n}}\n",
        snake(id),
        arguments.join(", "),
    );
}

fn written(kind: &Type) -> String {
    match kind {
        Type::Plain(name) => (*name).to_owned(),
        Type::Named(name) => name.clone(),
        Type::List(inner) => format!("Vec<{}>", written(inner)),
        Type::Map(inner) => format!("BTreeMap<String, {}>", written(inner)),
    }
}

/// Comment lines of at most 100 columns, inside an item.
fn doc(mark: &str, words: &str) -> String {
    let mut lines = vec![mark.to_owned()];
    for word in words.split_whitespace() {
        let last = lines.last_mut().expect("there is one line at least");
        if last.len() + word.len() > 94 {
            lines.push(format!("{mark} {word}"));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// `CamelCase` of `SCREAMING_SNAKE`, `kebab-case` and plain words.
fn camel(wire: &str) -> String {
    let parts = wire.split(['_', '-']).filter(|part| !part.is_empty());
    let word = |part: &str| {
        let (first, rest) = part.split_at(1);
        first.to_uppercase() + &rest.to_lowercase()
    };
    parts.map(word).collect()
}

/// `snake_case` of `camelCase` and `kebab-case`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::{camel, doc, snake};

    #[test]
    fn names_of_the_wire_become_names_of_the_language() {
        let camels = ["INVALID_PARAMS", "cpu-ci", "llamacpp"].map(camel);
        assert_eq!(camels, ["InvalidParams", "CpuCi", "Llamacpp"]);
        let snakes = ["readNode", "task_submit", "x-correlation-id"].map(snake);
        assert_eq!(snakes, ["read_node", "task_submit", "x_correlation_id"]);
    }

    #[test]
    fn long_words_are_cut_at_spaces() {
        let text = doc("///", &"word ".repeat(40));
        assert!(
            text.lines()
                .all(|line| line.starts_with("/// word") && line.len() <= 96)
        );
        assert_eq!(text.matches("word").count(), 40);
    }
}
