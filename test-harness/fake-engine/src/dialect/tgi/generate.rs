//! `POST /generate`, `/generate_stream`, and `/`, which is either.

use std::time::Duration;

use super::request::{Generate, Parameters, checked, parsed};
use super::{OVERLOADED, SHARD_GONE, Talk, error_data, prompt_tokens};
use crate::answer::{Answer, Hex, json, quoted};
use crate::dialect::{Asked, Routed, Voice};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Job, OnLeave, Reason};
use crate::flow::{Delta, Incomplete};
use crate::http::Request;
use crate::script::behaviour::TgiBackend;
use crate::vocabulary::TokenId;

/// What the real router's fake shard gave as the likelihood of every token.
const LOGPROB: &str = "-0.5";

pub(super) fn route(engine: &Engine, request: &Request, talk: &Talk) -> Routed {
    let body = match parsed::<Generate>(request, talk) {
        Ok(body) => body,
        Err(answer) => return Routed::Answer(*answer),
    };
    let is_root = request.path == "/";
    let stream = request.path == "/generate_stream" || is_root && body.stream;
    let tokens = prompt_tokens(&body.inputs);
    match checked(engine, &body, tokens.len() as u32) {
        Ok(max_tokens) => {
            let voice = GenerateVoice::new(engine, &body, talk, (is_root, stream));
            let job = job(engine, body, tokens, (max_tokens, stream));
            Routed::Generate(Box::new(Asked {
                path: request.path.clone(),
                job,
                voice: Box::new(voice),
            }))
        }
        Err(problem) => {
            engine.count(|counters| counters.refused += 1);
            let message = format!("Input validation error: {problem}");
            let characters = body.inputs.chars().count();
            Routed::Answer(refused(talk, stream.then_some(characters), &message))
        }
    }
}

/// A stream tells its refusals in a 200.
fn refused(talk: &Talk, stream_characters: Option<usize>, message: &str) -> Answer {
    match stream_characters {
        Some(characters) => talk.stream_of(characters, &[error_data(message, "validation")]),
        None => talk.error("422 Unprocessable Entity", message, "validation"),
    }
}

/// The seed as the backend keeps it.
pub(super) fn kept_seed(engine: &Engine, seed: Option<u64>) -> Option<u64> {
    match engine.script.tgi.backend {
        TgiBackend::V3 => seed,
        TgiBackend::Llamacpp => seed.map(|seed| seed & u64::from(u32::MAX)),
    }
}

fn job(
    engine: &Engine,
    body: Generate,
    tokens: Vec<TokenId>,
    (max_tokens, stream): (u32, bool),
) -> Job {
    let Parameters {
        do_sample,
        seed,
        temperature,
        stop,
        ..
    } = body.parameters;
    let seed = kept_seed(engine, seed);
    let job = plain_job(engine, (body.inputs, tokens), (max_tokens, stream));
    let is_greedy = engine.script.tgi.backend == TgiBackend::V3 && !do_sample;
    let temperature = if is_greedy {
        0.0
    } else {
        f64::from(temperature.unwrap_or(1.0))
    };
    Job {
        // This backend has no greedy mode: without a seed it samples by a random one.
        seed: seed.filter(|seed| {
            engine.script.tgi.backend == TgiBackend::V3 || *seed != u64::from(u32::MAX)
        }),
        temperature,
        stops: stop,
        ..job
    }
}

/// A generation with nothing but a prompt and a length.
pub(super) fn plain_job(
    engine: &Engine,
    (text, tokens): (String, Vec<TokenId>),
    (max_tokens, stream): (u32, bool),
) -> Job {
    let backend = engine.script.tgi.backend;
    Job {
        text,
        prompt: tokens.into(),
        max_tokens,
        is_truncated: false,
        seed: None,
        temperature: 1.0,
        stops: Vec::new(),
        ignore_eos: false,
        stream,
        slot: None,
        reuse_cache: true,
        on_leave: match backend {
            TgiBackend::V3 => OnLeave::Abort,
            TgiBackend::Llamacpp => OnLeave::Continue,
        },
        incomplete: match backend {
            TgiBackend::V3 => Incomplete::Held,
            TgiBackend::Llamacpp => Incomplete::Shown,
        },
        slot_params: "".into(),
        ping: None,
    }
}

struct GenerateVoice {
    talk: Talk,
    characters: usize,
    /// What stands in front of the whole text.
    prefix: String,
    seed: String,
    with_details: bool,
    is_root: bool,
    stream: bool,
    index: u32,
}

impl GenerateVoice {
    fn new(engine: &Engine, body: &Generate, talk: &Talk, (is_root, stream): (bool, bool)) -> Self {
        let full_text = body.parameters.return_full_text.unwrap_or(is_root);
        Self {
            talk: talk.clone(),
            characters: body.inputs.chars().count(),
            prefix: if full_text {
                body.inputs.clone()
            } else {
                String::new()
            },
            seed: json(&kept_seed(engine, body.parameters.seed)),
            with_details: body.parameters.details,
            is_root,
            stream,
            index: 0,
        }
    }

    fn object(&mut self, delta: &Delta, behind: &str) -> String {
        self.index += 1;
        let id = delta.ids.last().copied().unwrap_or_default();
        format!(
            "{{\"index\":{},\"token\":{},{behind}}}",
            self.index,
            token(id, &delta.text)
        )
    }

    fn whole_text(&self, end: &End) -> String {
        quoted(&format!("{}{}", self.prefix, end.text))
    }
}

fn token(id: TokenId, text: &str) -> String {
    let is_special = id == crate::vocabulary::EOS;
    let text = if is_special { "</s>" } else { text };
    format!(
        "{{\"id\":{id},\"text\":{},\"logprob\":{LOGPROB},\"special\":{is_special}}}",
        quoted(text)
    )
}

fn finish_reason(end: &End) -> &'static str {
    match end.reason {
        Reason::Length | Reason::Abort => "length",
        Reason::Eos => "eos_token",
        Reason::Stop(_) => "stop_sequence",
    }
}

impl Voice for GenerateVoice {
    fn stream_head(&self) -> Vec<u8> {
        self.talk.stream_head(self.characters)
    }

    fn opens_early(&self) -> bool {
        true
    }

    fn hex(&self) -> Hex {
        Hex::Upper
    }

    fn delta(&mut self, delta: &Delta, _: &Counts) -> Option<String> {
        Some(self.object(delta, "\"generated_text\":null,\"details\":null"))
    }

    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String> {
        let details = if self.with_details {
            format!(
                "{{\"finish_reason\":\"{}\",\"generated_tokens\":{},\"seed\":{},\"input_length\":{}}}",
                finish_reason(end),
                end.counts.completion_tokens,
                self.seed,
                end.counts.prompt_tokens,
            )
        } else {
            "null".to_owned()
        };
        let text = self.whole_text(end);
        vec![self.object(
            delta,
            &format!("\"generated_text\":{text},\"details\":{details}"),
        )]
    }

    fn error_frames(&self, message: &str) -> Vec<String> {
        vec![error_data(message, "generation")]
    }

    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let index = std::mem::replace(&mut self.index, 9_000);
        let data = self.delta(delta, counts);
        self.index = index;
        data
    }

    fn whole(&mut self, end: &End) -> Answer {
        let details = if self.with_details {
            let tokens: Vec<String> = end
                .tokens
                .iter()
                .map(|(id, text)| token(*id, text))
                .collect();
            format!(
                ",\"details\":{{\"finish_reason\":\"{}\",\"generated_tokens\":{},\"seed\":{},\
                 \"prefill\":[],\"tokens\":[{}]}}",
                finish_reason(end),
                end.counts.completion_tokens,
                self.seed,
                tokens.join(","),
            )
        } else {
            String::new()
        };
        let object = format!("{{\"generated_text\":{}{details}}}", self.whole_text(end));
        let body = if self.is_root {
            format!("[{object}]")
        } else {
            object
        };
        self.talk.whole(
            "200 OK",
            &numbers(&end.counts, self.characters).each(),
            &body,
        )
    }

    fn failed(&self, message: &str) -> Answer {
        match self.stream {
            true => self
                .talk
                .stream_of(self.characters, &self.error_frames(message)),
            false => self
                .talk
                .error("424 Failed Dependency", message, "generation"),
        }
    }

    fn overloaded(&self) -> Answer {
        let frame = [error_data(OVERLOADED, "overloaded")];
        match self.stream {
            true => self.talk.stream_of(self.characters, &frame),
            false => self
                .talk
                .error("429 Too Many Requests", OVERLOADED, "overloaded"),
        }
    }

    fn dead(&self) -> Answer {
        self.failed(SHARD_GONE)
    }
}

/// The numbers that a whole answer has in its head.
struct Numbers([(&'static str, String); 10]);

impl Numbers {
    fn each(&self) -> Vec<(&str, &str)> {
        let content_type = [("content-type", "application/json")];
        let numbers = self.0.iter().map(|(name, value)| (*name, value.as_str()));
        content_type.into_iter().chain(numbers).collect()
    }
}

fn numbers(counts: &Counts, characters: usize) -> Numbers {
    let inference = counts.prefill + counts.decode;
    let total = counts.queued + inference;
    let per_token = inference
        .checked_div(counts.completion_tokens)
        .unwrap_or(Duration::ZERO);
    let ms = |span: Duration| span.as_millis().to_string();
    Numbers([
        ("x-compute-type", "gpu+optimized".to_owned()),
        ("x-compute-time", total.as_secs_f64().to_string()),
        ("x-compute-characters", characters.to_string()),
        ("x-total-time", ms(total)),
        ("x-validation-time", "0".to_owned()),
        ("x-queue-time", ms(counts.queued)),
        ("x-inference-time", ms(inference)),
        ("x-time-per-token", ms(per_token)),
        ("x-prompt-tokens", counts.prompt_tokens.to_string()),
        ("x-generated-tokens", counts.completion_tokens.to_string()),
    ])
}
