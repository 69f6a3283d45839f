//! `POST /v1/completions`, of which only the stream was recorded.

use super::generate::{kept_seed, plain_job};
use super::request::{Completion, Generate, Parameters, checked, parsed};
use super::{OVERLOADED, SHARD_GONE, Talk, VERSION, prompt_tokens};
use crate::answer::{Answer, Hex, quoted};
use crate::dialect::{Asked, Routed, Voice};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Job, Reason};
use crate::flow::Delta;
use crate::http::Request;

pub(super) fn route(engine: &Engine, request: &Request, talk: &Talk) -> Routed {
    let body = match parsed::<Completion>(request, talk) {
        Ok(body) => body,
        Err(answer) => return Routed::Answer(*answer),
    };
    if !body.stream {
        return Routed::Answer(talk.empty("404 Not Found", None));
    }
    let tokens = prompt_tokens(&body.prompt);
    let voice = StreamVoice {
        talk: talk.clone(),
        characters: body.prompt.chars().count(),
        model: quoted(&engine.script.model),
        created: crate::engine::unix_s(),
        with_usage: body
            .stream_options
            .is_some_and(|options| options.include_usage),
    };
    let seed = kept_seed(engine, body.seed);
    let asked = Generate {
        inputs: body.prompt,
        parameters: Parameters {
            temperature: body.temperature.filter(|temperature| *temperature > 0.0),
            top_p: body.top_p,
            max_new_tokens: body.max_tokens,
            stop: body.stop,
            ..Parameters::default()
        },
        stream: true,
    };
    let max_tokens = match checked(engine, &asked, tokens.len() as u32) {
        Ok(max_tokens) => max_tokens,
        Err(problem) => {
            engine.count(|counters| counters.refused += 1);
            return Routed::Answer(voice.failed(&format!("Input validation error: {problem}")));
        }
    };
    let temperature = asked.parameters.temperature.map_or(0.0, f64::from);
    let job = plain_job(engine, (asked.inputs, tokens), (max_tokens, true));
    Routed::Generate(Box::new(Asked {
        path: request.path.clone(),
        job: Job {
            seed,
            temperature: if body.temperature.is_none() {
                1.0
            } else {
                temperature
            },
            stops: asked.parameters.stop,
            ..job
        },
        voice: Box::new(voice),
    }))
}

struct StreamVoice {
    talk: Talk,
    characters: usize,
    model: String,
    created: u64,
    with_usage: bool,
}

fn choice(text: &str, finish_reason: &str) -> String {
    format!(
        "\"choices\":[{{\"index\":0,\"text\":{},\"logprobs\":null,\"finish_reason\":\"{finish_reason}\"}}]",
        quoted(text)
    )
}

impl StreamVoice {
    fn error(&self, message: &str) -> String {
        let message = quoted(message);
        format!("{{\"error\":{{\"message\":{message},\"http_status_code\":422}}}}")
    }

    fn start(&self) -> String {
        format!(
            "{{\"object\":\"text_completion\",\"id\":\"\",\"created\":{}",
            self.created
        )
    }

    fn names(&self) -> String {
        format!(
            "\"model\":{},\"system_fingerprint\":\"{VERSION}-native\"",
            self.model
        )
    }
}

impl Voice for StreamVoice {
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
        Some(format!(
            "{},{},{}}}",
            self.start(),
            choice(&delta.text, ""),
            self.names()
        ))
    }

    /// Here the names stand before the choices.
    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String> {
        let finish_reason = match end.reason {
            Reason::Length | Reason::Abort => "length",
            Reason::Eos => "eos_token",
            Reason::Stop(_) => "stop_sequence",
        };
        let (prompt, completion) = (end.counts.prompt_tokens, end.counts.completion_tokens);
        let usage = if self.with_usage {
            format!(
                ",\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
                 \"total_tokens\":{}}}",
                prompt + completion
            )
        } else {
            String::new()
        };
        let choice = choice(&delta.text, finish_reason);
        vec![format!(
            "{},{},{choice}{usage}}}",
            self.start(),
            self.names()
        )]
    }

    fn done(&self) -> Option<&'static str> {
        Some("[DONE]")
    }

    fn error_frames(&self, message: &str) -> Vec<String> {
        vec![self.error(message), "[DONE]".to_owned()]
    }

    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let data = self.delta(delta, counts)?;
        Some(data.replacen("\"id\":\"\"", "\"id\":\"other\"", 1))
    }

    /// Unreachable by a client: what is no stream is not found.
    fn whole(&mut self, _: &End) -> Answer {
        self.talk.empty("404 Not Found", None)
    }

    fn failed(&self, message: &str) -> Answer {
        self.talk
            .stream_of(self.characters, &self.error_frames(message))
    }

    fn overloaded(&self) -> Answer {
        self.failed(OVERLOADED)
    }

    fn dead(&self) -> Answer {
        self.failed(SHARD_GONE)
    }
}
