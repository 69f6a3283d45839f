//! The model's inputs, and requests held to them as Triton holds them: by JSON type, not by range.

use serde_json::Value;

use super::{Talk, error};
use crate::answer::Answer;
use crate::http::Request;

/// Name, datatype, shape, and whether it may be left out.
pub(super) const INPUTS: [(&str, &str, &str, bool); 13] = [
    ("text_input", "BYTES", "-1,1", false),
    ("max_tokens", "INT32", "-1,1", false),
    ("bad_words", "BYTES", "-1,-1", true),
    ("stop_words", "BYTES", "-1,-1", true),
    ("end_id", "INT32", "-1,1", true),
    ("pad_id", "INT32", "-1,1", true),
    ("top_k", "INT32", "-1,1", true),
    ("top_p", "FP32", "-1,1", true),
    ("temperature", "FP32", "-1,1", true),
    ("repetition_penalty", "FP32", "-1,1", true),
    ("random_seed", "UINT64", "-1,1", true),
    ("return_log_probs", "BOOL", "-1,1", true),
    ("stream", "BOOL", "-1,1", true),
];

pub(super) const OUTPUTS: [(&str, &str, &str); 3] = [
    ("text_output", "BYTES", "-1,-1"),
    ("cum_log_probs", "FP32", "-1,-1"),
    ("output_log_probs", "FP32", "-1,-1,-1"),
];

/// What a request asks of the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) id: Option<String>,
    pub(super) text: String,
    pub(super) max_tokens: u32,
    pub(super) stop_words: Vec<String>,
    pub(super) temperature: f64,
    pub(super) seed: u64,
    pub(super) stream: bool,
}

pub(super) fn asked(request: &Request, model: &str, talk: &Talk) -> Result<Asked, Box<Answer>> {
    let body = parsed(request, talk)?;
    let given = |name: &str| body.get(name).or_else(|| body["parameters"].get(name));
    let mut names = Vec::new();
    for (name, datatype, _, _) in INPUTS {
        if let Some(value) = given(name) {
            check_type(value, datatype).map_err(|problem| refused(talk, 500, &problem))?;
            names.push(name);
        }
    }
    check_required(&names, model).map_err(|problem| refused(talk, 400, &problem))?;
    let value = |name: &str| given(name).cloned().unwrap_or_default();
    let words = value("stop_words");
    let list = words
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    Ok(Asked {
        id: body["id"].as_str().map(str::to_owned),
        text: value("text_input").as_str().unwrap_or_default().to_owned(),
        max_tokens: wrapped(&value("max_tokens")),
        stop_words: words
            .as_str()
            .into_iter()
            .chain(list)
            .map(str::to_owned)
            .collect(),
        temperature: value("temperature").as_f64().unwrap_or(0.0),
        seed: value("random_seed").as_u64().unwrap_or(0),
        stream: value("stream") == true,
    })
}

fn refused(talk: &Talk, code: u16, problem: &str) -> Box<Answer> {
    let status = match code {
        400 => "400 Bad Request",
        _ => "500 Internal Server Error",
    };
    Box::new(talk.json(status, &error(problem)))
}

fn parsed(request: &Request, talk: &Talk) -> Result<Value, Box<Answer>> {
    let body = &request.body;
    serde_json::from_slice(body).map_err(|parse| {
        let (what, at) = if body.is_empty() {
            ("The document is empty.", 0)
        } else if parse.is_eof() {
            ("Invalid value.", body.len())
        } else {
            ("Invalid value.", parse.column())
        };
        refused(
            talk,
            500,
            &format!("failed to parse the request JSON buffer: {what} at {at}"),
        )
    })
}

fn check_type(value: &Value, datatype: &str) -> Result<(), String> {
    let wrong = |wanted: &str| {
        Err(format!(
            "Unable to parse 'data': attempt to access JSON non-{wanted} as {wanted}"
        ))
    };
    match datatype {
        "BYTES" if !(value.is_string() || value.is_array()) => Err(
            "Unable to parse JSON bytes array: attempt to access JSON non-string as string".into(),
        ),
        "INT32" if !(value.is_i64() || value.is_u64()) => wrong("signed-integer"),
        "UINT64" if !value.is_u64() => wrong("unsigned-integer"),
        "FP32" if !value.is_number() => wrong("double"),
        "BOOL" if !value.is_boolean() => wrong("boolean"),
        _ => Ok(()),
    }
}

fn check_required(names: &[&str], model: &str) -> Result<(), String> {
    let required = INPUTS.iter().filter(|(_, _, _, is_optional)| !is_optional);
    let missing: Vec<&str> = required
        .map(|input| input.0)
        .filter(|name| !names.contains(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let quoted = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("'{name}'"))
            .collect::<Vec<_>>()
            .join(",")
    };
    Err(format!(
        "[request id: <id_unknown>] expected number of inputs between 2 and {} but got {} inputs for \
         model '{model}'. Got input(s) [{}], but missing required input(s) [{}]. Please provide all \
         required input(s).",
        INPUTS.len(),
        names.len(),
        quoted(names),
        quoted(&missing),
    ))
}

/// What is left of a number in 32 bits: Triton does not look whether it fits.
fn wrapped(value: &Value) -> u32 {
    let bits = value.as_i64().unwrap_or_default();
    let kept = bits as i32;
    u32::try_from(kept).unwrap_or(0)
}
