//! `POST /v2/models/{m}/generate` and `/generate_stream`.

use super::{Talk, error, inputs, missing};
use crate::answer::{Answer, head, json, quoted};
use crate::dialect::{Asked, Voice};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Job, OnLeave};
use crate::flow::{Delta, Incomplete};
use crate::http::Request;
use crate::vocabulary;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

const MANY_RESPONSES: &str = "generate expects model to produce exactly 1 response, use generate \
                              stream for model that generates various number of responses";

/// What one token adds to the sum of log-probabilities.
const LOG_PROB: f64 = -0.5;

pub(super) fn asked(
    engine: &Engine,
    request: &Request,
    (model, version): (&str, Option<&str>),
    talk: &Talk,
) -> Result<Asked, Box<Answer>> {
    if let Some(problem) = missing(engine, model, version) {
        return Err(Box::new(talk.json("404 Not Found", &error(&problem))));
    }
    let asked = inputs::asked(request, model, talk)?;
    let is_events = request.path.ends_with("/generate_stream");
    if asked.stream && !is_events {
        return Err(Box::new(talk.chunked(
            "200 OK",
            JSON,
            &error(MANY_RESPONSES),
        )));
    }
    let voice = TritonVoice {
        talk: talk.clone(),
        model: quoted(model),
        id: asked.id.as_deref().map(quoted),
        tells_tokens: asked.stream,
        is_events,
        is_ensemble: engine.script.triton.ensemble,
    };
    Ok(Asked {
        path: request.path.clone(),
        job: job(engine, asked, is_events),
        voice: Box::new(voice),
    })
}

fn job(engine: &Engine, asked: inputs::Asked, is_events: bool) -> Job {
    let prompt = vocabulary::tokenize(&asked.text);
    let room = engine.script.ctx.saturating_sub(prompt.len() as u32);
    let notices = is_events && !engine.script.triton.ensemble;
    Job {
        prompt: prompt.into(),
        text: asked.text,
        max_tokens: asked.max_tokens.min(room),
        is_truncated: false,
        seed: Some(asked.seed),
        temperature: asked.temperature,
        stops: asked.stop_words,
        ignore_eos: false,
        stream: is_events,
        slot: None,
        reuse_cache: true,
        on_leave: if notices {
            OnLeave::Abort
        } else {
            OnLeave::Continue
        },
        incomplete: Incomplete::Held,
        slot_params: "".into(),
        ping: None,
    }
}

struct TritonVoice {
    talk: Talk,
    model: String,
    id: Option<String>,
    /// A response per token, rather than one at the end.
    tells_tokens: bool,
    is_events: bool,
    is_ensemble: bool,
}

impl TritonVoice {
    /// One response; its fields are sorted by name.
    fn object(&self, text: &str, tokens: u32) -> String {
        let id = self
            .id
            .as_ref()
            .map_or(String::new(), |id| format!("\"id\":{id},"));
        let (model, text) = (&self.model, quoted(text));
        if self.is_ensemble {
            return format!(
                "{{{id}\"model_name\":{model},\"model_version\":\"1\",\"sequence_end\":false,\
                 \"sequence_id\":0,\"sequence_start\":false,\"text_output\":{text}}}"
            );
        }
        let sum = json(&(LOG_PROB * f64::from(tokens)));
        let each = each_log_prob(tokens);
        format!(
            "{{\"cum_log_probs\":{sum},{id}\"model_name\":{model},\"model_version\":\"1\",\
             \"output_log_probs\":{each},\"text_output\":{text}}}"
        )
    }
}

/// One number stands alone, more of them in a list: in the same stream.
fn each_log_prob(tokens: u32) -> String {
    match tokens {
        1 => "0.0".to_owned(),
        tokens => format!("[{}]", vec!["0.0"; tokens as usize].join(",")),
    }
}

impl Voice for TritonVoice {
    fn stream_head(&self) -> Vec<u8> {
        head(
            "200 OK",
            &[("Content-Type", EVENTS), ("Transfer-Encoding", "chunked")],
        )
    }

    fn opens_early(&self) -> bool {
        false
    }

    fn delta(&mut self, delta: &Delta, _: &Counts) -> Option<String> {
        self.tells_tokens
            .then(|| self.object(&delta.text, delta.count))
    }

    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String> {
        if !self.tells_tokens {
            return vec![self.object(&end.text, end.counts.completion_tokens)];
        }
        let is_told = delta.ids.is_empty();
        (!is_told)
            .then(|| self.object(&delta.text, delta.count))
            .into_iter()
            .collect()
    }

    fn has_end_frame(&self) -> bool {
        false
    }

    fn error_frames(&self, message: &str) -> Vec<String> {
        vec![error(message)]
    }

    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let id = self.id.replace(quoted("other"));
        let data = self.delta(delta, counts);
        self.id = id;
        data
    }

    fn whole(&mut self, end: &End) -> Answer {
        let body = self.object(&end.text, end.counts.completion_tokens);
        self.talk.chunked("200 OK", JSON, &body)
    }

    fn failed(&self, message: &str) -> Answer {
        match self.is_events {
            true => {
                let frame = format!("data: {}\n\n", error(message));
                self.talk.chunked("400 Bad Request", EVENTS, &frame)
            }
            false => self.talk.chunked("400 Bad Request", JSON, &error(message)),
        }
    }

    fn overloaded(&self) -> Answer {
        let message = "[request id: <id_unknown>] Exceeds maximum queue size";
        self.talk.json("503 Service Unavailable", &error(message))
    }

    fn dead(&self) -> Answer {
        let name = self.model.trim_matches('"');
        self.failed(&format!("Stub process '{name}_0_0' is not healthy."))
    }
}
