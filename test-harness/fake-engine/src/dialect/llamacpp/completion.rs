//! `POST /completion`, as a stream and as a whole.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::settings::{RANDOM_SEED, Shown, n_predict, seed, settings};
use super::{Talk, error_data};
use crate::answer::{Answer, json, quoted};
use crate::dialect::{Asked, Voice};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Job, OnLeave, Reason};
use crate::flow::{Delta, Incomplete};
use crate::http::Request;
use crate::vocabulary::{self, TokenId};

/// How long nothing may happen in the server until it looks whether a client is still there.
const LEAVE_POLL: Duration = Duration::from_secs(1);

const NOT_A_PROMPT: &str = "\"prompt\" elements must be a string, a list of tokens, a JSON object \
                            containing a prompt string, or a list of mixed strings & tokens.";

pub(super) fn asked(engine: &Engine, request: &Request) -> Result<Asked, Answer> {
    let talk = Talk::new(request);
    let body = talk.parsed(request)?;
    let job = job(engine, &body, &talk)?;
    let voice = CompletionVoice {
        talk,
        model: quoted(&engine.script.model),
        prompt: quoted(&job.text),
        settings: settings(&body, Shown::Answer),
        returns_tokens: body["return_tokens"] == true,
        times_tokens: body["timings_per_token"] == true,
    };
    Ok(Asked {
        path: request.path.clone(),
        job,
        voice: Box::new(voice),
    })
}

/// The generation that a body asks for.
pub(super) fn job(engine: &Engine, body: &Value, talk: &Talk) -> Result<Job, Answer> {
    let (text, prompt) = prompt(body, talk)?;
    check_types(body, talk)?;
    let ctx = engine.script.ctx;
    let prompt_tokens = prompt.len() as u32;
    if prompt_tokens >= ctx {
        return Err(too_long(prompt_tokens, ctx, talk));
    }
    let room = ctx - prompt_tokens;
    let asked = u32::try_from(n_predict(body)).unwrap_or(u32::MAX);
    let stream = body["stream"] == true;
    let stops = body["stop"].as_array().into_iter().flatten();
    Ok(Job {
        text,
        prompt,
        max_tokens: asked.min(room),
        is_truncated: asked > room,
        seed: Some(seed(body)).filter(|seed| *seed != RANDOM_SEED),
        temperature: body["temperature"].as_f64().unwrap_or(0.8),
        stops: stops.filter_map(Value::as_str).map(str::to_owned).collect(),
        ignore_eos: body["ignore_eos"] == true,
        stream,
        slot: slot(engine, body),
        reuse_cache: body["cache_prompt"] != false,
        on_leave: if stream {
            OnLeave::Abort
        } else {
            OnLeave::AbortWhenQuiet(LEAVE_POLL)
        },
        incomplete: Incomplete::Held,
        slot_params: settings(body, Shown::Slots).into(),
        ping: Some(ping_seconds(body))
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
    })
}

/// After how many seconds of silence a stream gets a comment; 0 for never.
fn ping_seconds(body: &Value) -> u64 {
    const DEFAULT: u64 = 30;
    match &body["sse_ping_interval"] {
        Value::Null => DEFAULT,
        given => given.as_u64().unwrap_or(0),
    }
}

fn prompt(body: &Value, talk: &Talk) -> Result<(String, Arc<[TokenId]>), Answer> {
    match body.get("prompt") {
        Some(Value::String(text)) => Ok((text.clone(), vocabulary::tokenize(text).into())),
        Some(Value::Array(parts)) => {
            let number = |part: &Value| part.as_u64().and_then(|id| TokenId::try_from(id).ok());
            let tokens = parts
                .iter()
                .flat_map(|part| match (number(part), part.as_str()) {
                    (Some(id), _) => vec![id],
                    (None, text) => vocabulary::tokenize(text.unwrap_or_default()),
                });
            let tokens: Arc<[TokenId]> = tokens.collect();
            let text = String::from_utf8_lossy(&vocabulary::detokenize(&tokens)).into_owned();
            Ok((text, tokens))
        }
        Some(_) => Err(talk.invalid(NOT_A_PROMPT)),
        None => Err(talk.invalid("[json.exception.out_of_range.403] key 'prompt' not found")),
    }
}

/// Refuses numbers that are none, in the parser's words.
fn check_types(body: &Value, talk: &Talk) -> Result<(), Answer> {
    const NUMBERS: [&str; 9] = [
        "n_predict",
        "max_tokens",
        "seed",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repeat_penalty",
        "id_slot",
    ];
    for name in NUMBERS {
        let kind = match &body[name] {
            Value::Null | Value::Number(_) => continue,
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        return Err(talk.invalid(&format!(
            "Field '{name}': [json.exception.type_error.302] type must be number, but is {kind}"
        )));
    }
    Ok(())
}

fn too_long(prompt: u32, ctx: u32, talk: &Talk) -> Answer {
    let body = format!(
        "{{\"error\":{{\"code\":400,\"message\":\"request ({prompt} tokens) exceeds the available \
         context size ({ctx} tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\
         \"n_prompt_tokens\":{prompt},\"n_ctx\":{ctx}}}}}"
    );
    talk.json("400 Bad Request", &body)
}

/// The slot asked for; the server takes numbers modulo the slots it has.
fn slot(engine: &Engine, body: &Value) -> Option<usize> {
    let slot = usize::try_from(body["id_slot"].as_i64()?).ok()?;
    Some(slot % engine.script.slots as usize)
}

struct CompletionVoice {
    talk: Talk,
    model: String,
    prompt: String,
    settings: String,
    returns_tokens: bool,
    times_tokens: bool,
}

impl CompletionVoice {
    /// The final object; a stream's has no text, since that was told before.
    fn object(&self, end: &End, text: &str, tokens: &[TokenId]) -> String {
        let counts = &end.counts;
        let (stop_type, stopping_word) = match &end.reason {
            Reason::Length | Reason::Abort => ("limit", ""),
            Reason::Eos => ("eos", ""),
            Reason::Stop(word) => ("word", word.as_str()),
        };
        format!(
            "{{\"index\":0,\"content\":{},\"tokens\":{},\"id_slot\":{},\"stop\":true,\"model\":{},\
             \"tokens_predicted\":{},\"tokens_evaluated\":{},\"generation_settings\":{},\
             \"prompt\":{},\"has_new_line\":{},\"truncated\":{},\"stop_type\":\"{stop_type}\",\
             \"stopping_word\":{},\"tokens_cached\":{},\"timings\":{}}}",
            quoted(text),
            json(&tokens),
            counts.slot,
            self.model,
            counts.completion_tokens,
            counts.prompt_tokens,
            self.settings,
            self.prompt,
            end.text.contains('\n'),
            end.is_truncated,
            quoted(stopping_word),
            (counts.prompt_tokens + counts.completion_tokens).saturating_sub(1),
            timings(counts),
        )
    }
}

impl Voice for CompletionVoice {
    fn stream_head(&self) -> Vec<u8> {
        self.talk.stream_head()
    }

    fn opens_early(&self) -> bool {
        false
    }

    fn delta(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        if delta.is_held {
            return None;
        }
        let last: &[TokenId] = delta.ids.last().map_or(&[], std::slice::from_ref);
        let timings = if self.times_tokens {
            format!(",\"timings\":{}", timings(counts))
        } else {
            String::new()
        };
        Some(format!(
            "{{\"index\":0,\"content\":{},\"tokens\":{},\"stop\":false,\"id_slot\":-1,\
             \"tokens_predicted\":{},\"tokens_evaluated\":{}{timings}}}",
            quoted(&delta.text),
            json(&last),
            delta.count,
            counts.prompt_tokens,
        ))
    }

    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String> {
        let is_told =
            delta.text.is_empty() && (delta.ids.is_empty() || end.reason != Reason::Length);
        let delta = match is_told {
            true => None,
            false => self.delta(delta, &end.counts),
        };
        delta
            .into_iter()
            .chain([self.object(end, "", &[])])
            .collect()
    }

    fn error_frames(&self, message: &str) -> Vec<String> {
        vec![error_data(message)]
    }

    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let data = self.delta(delta, counts)?;
        Some(data.replacen("\"index\":0", "\"index\":7", 1))
    }

    fn whole(&mut self, end: &End) -> Answer {
        let ids: Vec<TokenId> = match self.returns_tokens {
            true => end.tokens.iter().map(|(id, _)| *id).collect(),
            false => Vec::new(),
        };
        self.talk.ok(&self.object(end, &end.text, &ids))
    }

    fn failed(&self, message: &str) -> Answer {
        self.talk.error(500, message, "server_error")
    }

    fn overloaded(&self) -> Answer {
        self.talk.loading()
    }

    fn dead(&self) -> Answer {
        self.talk.loading()
    }
}

/// The timings of a generation up to now.
pub(super) fn timings(counts: &Counts) -> String {
    let ms = |span: Duration| (span.as_secs_f64() * 1e6).round() / 1e3;
    let per = |whole: f64, parts: f64| if parts > 0.0 { whole / parts } else { 0.0 };
    let (prompt_ms, predicted_ms) = (ms(counts.prefill), ms(counts.decode).max(0.001));
    let prompt_n = f64::from(counts.prompt_tokens.saturating_sub(counts.cached_tokens));
    // The first token costs the prompt's time, not its own.
    let predicted_n = f64::from(counts.completion_tokens.saturating_sub(1));
    format!(
        "{{\"cache_n\":{},\"prompt_n\":{},\"prompt_ms\":{},\"prompt_per_token_ms\":{},\
         \"prompt_per_second\":{},\"predicted_n\":{},\"predicted_ms\":{},\
         \"predicted_per_token_ms\":{},\"predicted_per_second\":{}}}",
        counts.cached_tokens,
        prompt_n,
        json(&prompt_ms),
        json(&per(prompt_ms, prompt_n)),
        json(&per(1e3 * prompt_n, prompt_ms)),
        counts.completion_tokens,
        json(&predicted_ms),
        json(&per(predicted_ms, predicted_n)),
        json(&per(1e3 * predicted_n, predicted_ms)),
    )
}
