//! The body of a request, and the router's checks.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Talk, max_stops};
use crate::answer::Answer;
use crate::engine::Engine;
use crate::http::Request;

/// What the router allows at most, whatever is asked.
const MAX_NEW_TOKENS: u32 = 1024;

/// The body of `/generate` and its kin. Unknown fields are ignored, as the router does.
#[derive(Debug, Deserialize)]
pub(super) struct Generate {
    pub(super) inputs: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
    /// Only `POST /` looks at it.
    #[serde(default)]
    pub(super) stream: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    pub(super) best_of: Option<usize>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    #[serde(default)]
    pub(super) do_sample: bool,
    pub(super) max_new_tokens: Option<u32>,
    pub(super) return_full_text: Option<bool>,
    #[serde(default)]
    pub(super) stop: Vec<String>,
    #[serde(default)]
    pub(super) details: bool,
    pub(super) seed: Option<u64>,
}

/// The body of `/tokenize`.
#[derive(Debug, Deserialize)]
pub(super) struct Tokenize {
    pub(super) inputs: String,
}

/// The body of `/v1/completions`.
#[derive(Debug, Deserialize)]
pub(super) struct Completion {
    pub(super) prompt: String,
    pub(super) max_tokens: Option<u32>,
    pub(super) seed: Option<u64>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    pub(super) stop: Vec<String>,
    #[serde(default)]
    pub(super) stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

/// The body, or the refusal of the router's own parser, which is the same one as here.
pub(super) fn parsed<T: DeserializeOwned>(
    request: &Request,
    talk: &Talk,
) -> Result<T, Box<Answer>> {
    if !request.is_json() {
        let problem = "Expected request with `Content-Type: application/json`";
        return Err(Box::new(talk.plain("415 Unsupported Media Type", problem)));
    }
    let mut parser = serde_json::Deserializer::from_slice(&request.body);
    serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        Box::new(match error.inner().classify() {
            serde_json::error::Category::Data => talk.plain(
                "422 Unprocessable Entity",
                &format!("Failed to deserialize the JSON body into the target type: {error}"),
            ),
            _ => talk.plain(
                "400 Bad Request",
                &format!("Failed to parse the request body as JSON: {error}"),
            ),
        })
    })
}

/// The tokens that the answer has at most, or what the request may not ask for, in the router's
/// words.
pub(super) fn checked(engine: &Engine, body: &Generate, prompt_tokens: u32) -> Result<u32, String> {
    let Parameters {
        best_of,
        temperature,
        top_p,
        max_new_tokens,
        stop,
        ..
    } = &body.parameters;
    let max_best_of = engine.script.tgi.max_best_of;
    if let Some(best_of) =
        best_of.filter(|best_of| *best_of == 0 || *best_of > max_best_of as usize)
    {
        return Err(format!(
            "`best_of` must be > 0 and <= {max_best_of}. Given: {best_of}"
        ));
    }
    if temperature.is_some_and(|temperature| temperature <= 0.0) {
        return Err("`temperature` must be strictly positive".to_owned());
    }
    if top_p.is_some_and(|top_p| top_p <= 0.0 || top_p >= 1.0) {
        return Err("`top_p` must be > 0.0 and < 1.0".to_owned());
    }
    if *max_new_tokens == Some(0) {
        return Err("`max_new_tokens` must be strictly positive".to_owned());
    }
    let (given, most) = (stop.len(), max_stops(engine));
    if given > most as usize {
        return Err(format!(
            "`stop` supports up to {most} stop sequences. Given: {given}"
        ));
    }
    if body.inputs.is_empty() {
        return Err("`inputs` cannot be empty".to_owned());
    }
    room(engine, *max_new_tokens, prompt_tokens)
}

fn room(engine: &Engine, asked: Option<u32>, prompt_tokens: u32) -> Result<u32, String> {
    let total = engine.script.ctx;
    let max_input = engine.script.tgi.max_input_tokens.unwrap_or(total - 1);
    let asked = asked.map_or_else(
        || total.saturating_sub(prompt_tokens),
        |asked| asked.min(MAX_NEW_TOKENS),
    );
    if prompt_tokens.saturating_add(asked) > total {
        return Err(format!(
            "`inputs` tokens + `max_new_tokens` must be <= {total}. Given: {prompt_tokens} `inputs` \
             tokens and {asked} `max_new_tokens`"
        ));
    }
    if prompt_tokens > max_input {
        return Err(format!(
            "`inputs` must have less than {max_input} tokens. Given: {prompt_tokens}"
        ));
    }
    Ok(asked)
}
