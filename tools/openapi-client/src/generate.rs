//! Documents in, files out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::document::{Document, DocumentError};
use crate::render::{self, Rooms};
use crate::schema::{Schema, add_names, closure};

/// The documents that the client is made of.
pub const DOCUMENTS: [&str; 3] = ["data", "control", "pool"];

/// Where the generated files lie, from the root of the repository.
pub const FOLDER: &str = "tools/openapi-client/src/generated";

/// One generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Where it belongs, from the root of the repository.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A document cannot be understood.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Two documents mean different things by one name.
    #[error("the schema `{name}` of {document}.yaml differs from that of an earlier document")]
    Disagreement {
        /// The schema.
        name: String,
        /// The later document.
        document: String,
    },
    /// rustfmt did not take the text.
    #[error("rustfmt cannot be run, or refuses the file of `{module}`: {why}")]
    Format {
        /// The module.
        module: String,
        /// What it said.
        why: String,
    },
    /// A document is not there.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The text of each committed document, by name.
///
/// # Errors
/// [`GenerateError::Unreadable`].
pub fn committed(root: &Path) -> Result<Vec<(&'static str, String)>, GenerateError> {
    let read = |name: &'static str| {
        let path = root.join(format!("contracts/openapi/{name}.yaml"));
        let text = std::fs::read_to_string(&path);
        text.map(|text| (name, text))
            .map_err(|source| GenerateError::Unreadable { path, source })
    };
    DOCUMENTS.into_iter().map(read).collect()
}

/// The client of these documents, each a name and its YAML.
///
/// # Errors
/// See [`GenerateError`].
// spec: ORCH-3521
pub fn generate(documents: &[(&str, String)]) -> Result<Vec<GeneratedFile>, GenerateError> {
    let mut parsed = Vec::new();
    for (name, text) in documents {
        parsed.push(Document::parse(name, text)?);
    }
    let (schemas, shared) = gathered(&parsed)?;
    let mut roots = BTreeSet::new();
    for operation in parsed.iter().flat_map(|document| &document.operations) {
        operation
            .body
            .iter()
            .for_each(|kind| add_names(kind, &mut roots));
    }
    let written = closure(roots, &schemas);
    let rooms = Rooms {
        schemas: &schemas,
        shared: &shared,
        written: &written,
    };
    let mut files = vec![file("shared", &render::shared(&rooms))?];
    for document in &parsed {
        files.push(file(&document.name, &render::document(document, &rooms))?);
    }
    Ok(files)
}

type Gathered = (BTreeMap<String, Schema>, BTreeSet<String>);

/// All schemas, and the names of those that several documents have.
fn gathered(documents: &[Document]) -> Result<Gathered, GenerateError> {
    let mut schemas = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for document in documents {
        for (name, schema) in &document.schemas {
            match schemas.insert(name.clone(), schema.clone()) {
                None => {}
                Some(earlier) if earlier == *schema => {
                    shared.insert(name.clone());
                }
                Some(_) => {
                    return Err(GenerateError::Disagreement {
                        name: name.clone(),
                        document: document.name.clone(),
                    });
                }
            }
        }
    }
    Ok((schemas, shared))
}

fn file(module: &str, text: &str) -> Result<GeneratedFile, GenerateError> {
    let text = formatted(text).map_err(|why| GenerateError::Format {
        module: module.to_owned(),
        why,
    })?;
    Ok(GeneratedFile {
        path: Path::new(FOLDER).join(format!("{module}.rs")),
        text,
    })
}

/// The text as `cargo fmt` would leave it.
fn formatted(text: &str) -> Result<String, String> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rustfmt.toml");
    let mut child = Command::new("rustfmt")
        .arg("--config-path")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| why.to_string())?;
    let mut input = child.stdin.take().expect("it was piped");
    let sent = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(|why| why.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    sent.map_err(|why| why.to_string())?;
    String::from_utf8(output.stdout).map_err(|why| why.to_string())
}

/// The files that differ from what lies below `root`.
#[must_use]
pub fn stale<'a>(root: &Path, files: &'a [GeneratedFile]) -> Vec<&'a GeneratedFile> {
    let differs = |file: &&GeneratedFile| {
        let present = std::fs::read_to_string(root.join(&file.path));
        present.ok().as_deref() != Some(&file.text)
    };
    files.iter().filter(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "openapi: 3.1.0\ninfo: { description: About. }\n";

    fn document(paths: &str, kind: &str) -> String {
        format!(
            "{HEAD}paths: {{{paths}}}\ncomponents: {{ schemas: {{ A: {{ type: object, properties: \
             {{ a: {{ type: {kind} }} }} }} }} }}\n"
        )
    }

    // spec: ORCH-3521
    #[test]
    fn documents_that_disagree_about_a_name_are_refused() {
        let documents = [
            ("x", document("", "string")),
            ("y", document("", "boolean")),
        ];
        let error = generate(&documents).expect_err("they disagree");
        assert_eq!(
            error.to_string(),
            "the schema `A` of y.yaml differs from that of an earlier document"
        );
    }

    #[test]
    fn a_refusal_without_the_envelope_is_no_contract() {
        let answer = |schema: &str| {
            format!(
                "/a: {{ get: {{ operationId: a, responses: {{ 200: {{ }}, 404: {{ content: \
                 {{ application/json: {{ schema: {{ {schema} }} }} }} }} }} }} }}"
            )
        };
        let error = generate(&[("x", document(&answer("type: string"), "string"))]);
        let error = error.expect_err("a text is no envelope").to_string();
        assert_eq!(
            error,
            "x.yaml: get /a 404: is a refusal without the envelope"
        );
    }
}
