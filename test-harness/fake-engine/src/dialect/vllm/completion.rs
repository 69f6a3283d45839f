//! `POST /v1/completions`, as a stream and as a whole.

use serde_json::Value;

use super::request::{bad, check_types, parsed, python_float, token_list};
use super::{FINGERPRINT, Talk, prompt_tokens};
use crate::answer::{Answer, json, quoted, unique_hex};
use crate::dialect::{Asked, Voice};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Job, OnLeave, Reason};
use crate::flow::{Delta, Incomplete};
use crate::http::Request;
use crate::vocabulary::{self, TokenId};

/// How many tokens an answer has when nobody says.
const MAX_TOKENS_DEFAULT: i64 = 16;

const BUSY: &str = "The engine is currently busy and cannot accept new requests. Please try again \
                    later or on a different instance.";

pub(super) fn asked(engine: &Engine, request: &Request, talk: &Talk) -> Result<Asked, Box<Answer>> {
    let body = parsed(request, talk)?;
    check_types(&body, talk)?;
    check_model(engine, &body, talk)?;
    let job = job(engine, &body, talk)?;
    let options = &body["stream_options"];
    let id = request
        .header("x-request-id")
        .map_or_else(|| unique_hex(16), str::to_owned);
    let voice = VllmVoice {
        talk: talk.clone(),
        model: quoted(&engine.script.model),
        id: quoted(&format!("cmpl-{id}")),
        created: crate::engine::unix_s(),
        prompt_ids: (body["return_token_ids"] == true).then(|| json(&&job.prompt[..])),
        returns_ids: body["return_token_ids"] == true,
        with_usage: options["include_usage"] == true,
        with_running_usage: options["continuous_usage_stats"] == true,
    };
    Ok(Asked {
        path: request.path.clone(),
        job,
        voice: Box::new(voice),
    })
}

fn check_model(engine: &Engine, body: &Value, talk: &Talk) -> Result<(), Box<Answer>> {
    let served = engine.script.model.as_str();
    match body["model"].as_str() {
        Some(asked) if asked != served => {
            let message = format!("The model `{asked}` does not exist. Valid aliases: {served}.");
            Err(Box::new(talk.error(
                404,
                &message,
                "NotFoundError",
                Some("model"),
            )))
        }
        _ => Ok(()),
    }
}

fn job(engine: &Engine, body: &Value, talk: &Talk) -> Result<Job, Box<Answer>> {
    // Whatever looks like a yes is one.
    let stream = matches!(&body["stream"], Value::Bool(true)) || body["stream"].is_string();
    if !stream && !body["stream_options"].is_null() {
        let message =
            "Stream options can only be defined when `stream=True`. (parameter=stream_options)";
        return Err(bad(talk, message, "stream_options"));
    }
    let (text, prompt) = prompt(body, talk)?;
    let ctx = engine.script.ctx;
    if prompt.len() >= ctx as usize {
        return Err(too_long(ctx, talk));
    }
    let max_tokens = max_tokens(body, ctx, talk)?;
    let temperature = sampling(body, talk)?;
    let room = ctx - prompt.len() as u32;
    Ok(Job {
        text,
        prompt: prompt.into(),
        max_tokens: max_tokens.min(room),
        is_truncated: false,
        seed: body["seed"].as_i64().map(i64::cast_unsigned),
        temperature,
        stops: stops(&body["stop"]),
        ignore_eos: body["ignore_eos"] == true,
        stream,
        slot: None,
        reuse_cache: true,
        on_leave: OnLeave::Abort,
        incomplete: Incomplete::Held,
        slot_params: "".into(),
        ping: None,
    })
}

fn prompt(body: &Value, talk: &Talk) -> Result<(String, Vec<TokenId>), Box<Answer>> {
    let missing = || {
        let message =
            "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)";
        bad(talk, message, "prompt")
    };
    match &body["prompt"] {
        Value::String(text) if !text.is_empty() => Ok((text.clone(), prompt_tokens(text))),
        list @ Value::Array(_) => {
            let tokens = token_list(list)
                .filter(|tokens| !tokens.is_empty())
                .ok_or_else(missing)?;
            let text = String::from_utf8_lossy(&vocabulary::detokenize(&tokens)).into_owned();
            Ok((text, tokens))
        }
        _ => Err(missing()),
    }
}

fn too_long(ctx: u32, talk: &Talk) -> Box<Answer> {
    let at_least = ctx + 1;
    let message = format!(
        "This model's maximum context length is {ctx} tokens. However, your prompt contains at \
         least {at_least} input tokens, which exceeds this limit even without any output tokens. \
         Please reduce the length of the input prompt. (parameter=input_tokens, value={at_least})"
    );
    bad(talk, &message, "input_tokens")
}

fn max_tokens(body: &Value, ctx: u32, talk: &Talk) -> Result<u32, Box<Answer>> {
    let given = body["max_tokens"].as_i64().unwrap_or(MAX_TOKENS_DEFAULT);
    if given < 1 {
        let message = format!(
            "max_tokens must be at least 1, got {given}. (parameter=max_tokens, value={given})"
        );
        return Err(bad(talk, &message, "max_tokens"));
    }
    match u32::try_from(given) {
        Ok(tokens) if tokens <= ctx => Ok(tokens),
        _ => {
            let message = format!(
                "max_tokens={given} cannot be greater than max_model_len={ctx}. Please request \
                 fewer output tokens. (parameter=max_tokens, value={given})"
            );
            Err(bad(talk, &message, "max_tokens"))
        }
    }
}

fn sampling(body: &Value, talk: &Talk) -> Result<f64, Box<Answer>> {
    let temperature = body["temperature"].as_f64().unwrap_or(1.0);
    if temperature < 0.0 {
        let got = python_float(temperature);
        let message = format!(
            "temperature must be non-negative, got {got}. (parameter=temperature, value={got})"
        );
        return Err(bad(talk, &message, "temperature"));
    }
    let top_p = body["top_p"].as_f64().unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        let got = python_float(top_p);
        let message = format!("top_p must be in (0, 1], got {got}. (parameter=top_p, value={got})");
        return Err(bad(talk, &message, "top_p"));
    }
    Ok(temperature)
}

fn stops(given: &Value) -> Vec<String> {
    let list = given
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    given
        .as_str()
        .into_iter()
        .chain(list)
        .map(str::to_owned)
        .collect()
}

struct VllmVoice {
    talk: Talk,
    model: String,
    id: String,
    created: u64,
    /// Told in the first frame only.
    prompt_ids: Option<String>,
    returns_ids: bool,
    with_usage: bool,
    with_running_usage: bool,
}

impl VllmVoice {
    /// One frame: its choices, and what stands behind them.
    fn object(&self, choices: &str, behind: &str) -> String {
        let Self {
            id, created, model, ..
        } = self;
        format!(
            "{{\"id\":{id},\"object\":\"text_completion\",\"created\":{created},\"model\":{model},\
             \"choices\":[{choices}]{behind}}}"
        )
    }

    fn choice(&mut self, delta: &Delta, reason: Option<&Reason>) -> String {
        let prompt_ids = self.prompt_ids.take().unwrap_or_else(|| "null".to_owned());
        let ids = if self.returns_ids {
            json(&delta.ids)
        } else {
            "null".to_owned()
        };
        let (finish_reason, stop_reason) = finish(reason);
        format!(
            "{{\"index\":0,\"text\":{},\"logprobs\":null,\"finish_reason\":{finish_reason},\
             \"stop_reason\":{stop_reason},\"prompt_token_ids\":{prompt_ids},\"token_ids\":{ids}}}",
            quoted(&delta.text),
        )
    }

    fn running_usage(&self, counts: &Counts) -> String {
        if self.with_running_usage {
            format!(",\"usage\":{}", usage(counts, ""))
        } else {
            String::new()
        }
    }
}

fn usage(counts: &Counts, details: &str) -> String {
    let (prompt, completion) = (counts.prompt_tokens, counts.completion_tokens);
    let total = prompt + completion;
    format!(
        "{{\"prompt_tokens\":{prompt},\"total_tokens\":{total},\"completion_tokens\":{completion}{details}}}"
    )
}

fn finish(reason: Option<&Reason>) -> (&'static str, String) {
    let null = || "null".to_owned();
    match reason {
        None => ("null", null()),
        Some(Reason::Length) => ("\"length\"", null()),
        Some(Reason::Eos) => ("\"stop\"", null()),
        Some(Reason::Stop(word)) => ("\"stop\"", quoted(word)),
        Some(Reason::Abort) => ("\"abort\"", null()),
    }
}

impl Voice for VllmVoice {
    fn stream_head(&self) -> Vec<u8> {
        self.talk.stream_head()
    }

    fn opens_early(&self) -> bool {
        true
    }

    fn delta(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let choice = self.choice(delta, None);
        Some(self.object(&choice, &self.running_usage(counts)))
    }

    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String> {
        let fingerprint = format!(",\"system_fingerprint\":\"{FINGERPRINT}\"");
        let choice = self.choice(delta, Some(&end.reason));
        if !self.with_usage {
            return vec![self.object(&choice, &fingerprint)];
        }
        let usage = format!(",\"usage\":{}{fingerprint}", usage(&end.counts, ""));
        vec![
            self.object(&choice, &self.running_usage(&end.counts)),
            self.object("", &usage),
        ]
    }

    fn done(&self) -> Option<&'static str> {
        Some("[DONE]")
    }

    fn error_frames(&self, message: &str) -> Vec<String> {
        let error = format!(
            "{{\"error\": {{\"message\": {}, \"type\": \"InternalServerError\", \"param\": null, \
             \"code\": 500}}}}",
            quoted(message)
        );
        vec![error, "[DONE]".to_owned()]
    }

    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let id = std::mem::replace(&mut self.id, quoted(&format!("cmpl-{}", unique_hex(16))));
        let data = self.delta(delta, counts);
        self.id = id;
        data
    }

    fn whole(&mut self, end: &End) -> Answer {
        let (finish_reason, stop_reason) = finish(Some(&end.reason));
        let all: Vec<TokenId> = end.tokens.iter().map(|(id, _)| *id).collect();
        let ids = if self.returns_ids {
            json(&all)
        } else {
            "null".to_owned()
        };
        let prompt_ids = self.prompt_ids.take().unwrap_or_else(|| "null".to_owned());
        let choice = format!(
            "{{\"index\":0,\"text\":{},\"logprobs\":null,\"finish_reason\":{finish_reason},\
             \"stop_reason\":{stop_reason},\"token_ids\":{ids},\"prompt_logprobs\":null,\
             \"prompt_token_ids\":{prompt_ids},\"routed_experts\":null}}",
            quoted(&end.text),
        );
        let details = ",\"prompt_tokens_details\":null,\"completion_tokens_details\":null";
        let behind = format!(
            ",\"service_tier\":null,\"system_fingerprint\":\"{FINGERPRINT}\",\"usage\":{},\
             \"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null",
            usage(&end.counts, details),
        );
        self.talk.json("200 OK", &self.object(&choice, &behind))
    }

    fn failed(&self, message: &str) -> Answer {
        self.talk.error(500, message, "InternalServerError", None)
    }

    fn overloaded(&self) -> Answer {
        self.talk.error(503, BUSY, "Service Unavailable", None)
    }

    fn dead(&self) -> Answer {
        self.failed("EngineCore encountered an issue. See stack trace (above) for the root cause.")
    }
}
