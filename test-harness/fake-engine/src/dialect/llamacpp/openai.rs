//! `POST /v1/completions`.

use super::completion::{job, timings};
use super::{BUILD, Talk, error_data};
use crate::answer::{Answer, quoted, unique_hex};
use crate::dialect::{Asked, Voice};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Reason};
use crate::flow::Delta;
use crate::http::Request;

pub(super) fn asked(engine: &Engine, request: &Request) -> Result<Asked, Answer> {
    let talk = Talk::new(request);
    let body = talk.parsed(request)?;
    let job = job(engine, &body, &talk)?;
    let voice = OpenAiVoice {
        talk,
        // Everything between the choices and the numbers is the same in every frame.
        model: quoted(&engine.script.model),
        id: unique_hex(32),
        created: crate::engine::unix_s(),
    };
    Ok(Asked {
        path: request.path.clone(),
        job,
        voice: Box::new(voice),
    })
}

struct OpenAiVoice {
    talk: Talk,
    model: String,
    id: String,
    created: u64,
}

impl OpenAiVoice {
    fn object(&self, text: &str, finish_reason: &str, numbers: Option<&Counts>) -> String {
        let Self {
            model, id, created, ..
        } = self;
        let text = quoted(text);
        let (usage, timings) = match numbers {
            Some(counts) => (usage(counts), format!(",\"timings\":{}", timings(counts))),
            None => (String::new(), String::new()),
        };
        format!(
            "{{\"choices\":[{{\"text\":{text},\"index\":0,\"logprobs\":null,\
             \"finish_reason\":{finish_reason}}}],\"created\":{created},\"model\":{model},\
             \"system_fingerprint\":\"{BUILD}\",\"object\":\"text_completion\",{usage}\
             \"id\":\"chatcmpl-{id}\"{timings}}}"
        )
    }
}

fn usage(counts: &Counts) -> String {
    format!(
        "\"usage\":{{\"completion_tokens\":{},\"prompt_tokens\":{},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{}}}}},",
        counts.completion_tokens,
        counts.prompt_tokens,
        counts.completion_tokens + counts.prompt_tokens,
        counts.cached_tokens,
    )
}

fn finish_reason(end: &End) -> &'static str {
    match end.reason {
        Reason::Length | Reason::Abort => "\"length\"",
        Reason::Eos | Reason::Stop(_) => "\"stop\"",
    }
}

impl Voice for OpenAiVoice {
    fn stream_head(&self) -> Vec<u8> {
        self.talk.stream_head()
    }

    fn opens_early(&self) -> bool {
        false
    }

    fn delta(&mut self, delta: &Delta, _: &Counts) -> Option<String> {
        (!delta.is_held).then(|| self.object(&delta.text, "null", None))
    }

    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String> {
        let text = (!delta.text.is_empty()).then(|| self.object(&delta.text, "null", None));
        let last = self.object("", finish_reason(end), Some(&end.counts));
        text.into_iter().chain([last]).collect()
    }

    fn done(&self) -> Option<&'static str> {
        Some("[DONE]")
    }

    fn error_frames(&self, message: &str) -> Vec<String> {
        vec![error_data(message)]
    }

    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String> {
        let id = std::mem::replace(&mut self.id, unique_hex(32));
        let data = self.delta(delta, counts);
        self.id = id;
        data
    }

    fn whole(&mut self, end: &End) -> Answer {
        self.talk
            .ok(&self.object(&end.text, finish_reason(end), Some(&end.counts)))
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
