//! Text Generation Inference: the router before its v3 backend, or before its llama.cpp backend.

mod generate;
mod metrics;
mod openai;
mod request;

use std::sync::Arc;

use super::{Routed, Wellness, wellness};
use crate::answer::{Answer, date, head, quoted};
use crate::engine::Engine;
use crate::http::Request;
use crate::vocabulary::{self, BOS, TokenId};

const VERSION: &str = "3.3.6-dev0";

/// The paths and their one method.
const PATHS: [(&str, &str); 8] = [
    ("/health", "GET"),
    ("/ping", "GET"),
    ("/info", "GET"),
    ("/metrics", "GET"),
    ("/v1/models", "GET"),
    ("/generate", "POST"),
    ("/generate_stream", "POST"),
    ("/v1/completions", "POST"),
];

pub(super) fn route(engine: &Arc<Engine>, request: &Request) -> Routed {
    let talk = Talk {
        closes: request.closes(),
    };
    let (method, path) = (request.method.as_str(), request.path.as_str());
    if method == "GET" && matches!(path, "/health" | "/ping" | "/") {
        return match wellness(engine) {
            Wellness::Silent => Routed::Silence,
            Wellness::Dead => Routed::Answer(talk.unhealthy()),
            Wellness::Well | Wellness::Loading => Routed::Answer(talk.empty("200 OK", None)),
        };
    }
    if engine.is_hung() {
        return Routed::Silence;
    }
    let is_known = |known: &&(&str, &str)| known.0 == path;
    match PATHS.iter().find(is_known).map(|(_, allowed)| *allowed) {
        Some(allowed) if allowed != method => {
            return Routed::Answer(talk.empty("405 Method Not Allowed", Some(allowed)));
        }
        None if path != "/" && path != "/tokenize" => {
            return Routed::Answer(talk.empty("404 Not Found", None));
        }
        _ => {}
    }
    if method == "POST" && !is_allowed(engine, request) {
        return Routed::Answer(talk.empty("401 Unauthorized", None));
    }
    match path {
        "/" | "/generate" | "/generate_stream" => generate::route(engine, request, &talk),
        "/v1/completions" => openai::route(engine, request, &talk),
        "/tokenize" => Routed::Answer(tokenize(request, &talk)),
        _ => Routed::Answer(query(engine, path, &talk)),
    }
}

/// Keys are compared without regard to case, as the real router does.
fn is_allowed(engine: &Engine, request: &Request) -> bool {
    let key = engine.script.api_key.as_deref();
    key.is_none_or(|key| {
        request
            .bearer()
            .is_some_and(|given| given.eq_ignore_ascii_case(key))
    })
}

fn query(engine: &Engine, path: &str, talk: &Talk) -> Answer {
    match path {
        "/info" => talk.json("200 OK", &info(engine)),
        "/v1/models" => {
            let name = quoted(&engine.script.model);
            let body = format!(
                "{{\"object\":\"list\",\"data\":[{{\"id\":{name},\"object\":\"model\",\
                 \"created\":0,\"owned_by\":{name}}}]}}"
            );
            talk.json("200 OK", &body)
        }
        _ => talk.whole(
            "200 OK",
            &[("content-type", "text/plain; charset=utf-8")],
            &metrics::text(engine),
        ),
    }
}

fn info(engine: &Engine) -> String {
    let script = &engine.script;
    format!(
        "{{\"model_id\":{},\"model_sha\":null,\"model_pipeline_tag\":null,\
         \"max_concurrent_requests\":{},\"max_best_of\":{},\"max_stop_sequences\":{},\
         \"max_input_tokens\":{},\"max_total_tokens\":{},\"validation_workers\":2,\
         \"max_client_batch_size\":4,\"router\":\"text-generation-router\",\
         \"version\":\"{VERSION}\",\"sha\":\"db931fcf42da018a3657580c64bf2720f167f9ab\",\
         \"docker_label\":null}}",
        quoted(&script.model),
        script.overload_at.unwrap_or(128),
        script.tgi.max_best_of,
        max_stops(engine),
        script.tgi.max_input_tokens.unwrap_or(script.ctx - 1),
        script.ctx,
    )
}

fn max_stops(engine: &Engine) -> u32 {
    engine.script.tgi.max_stop_sequences.unwrap_or(4)
}

/// The tokens of a prompt, with the one that begins a text.
fn prompt_tokens(text: &str) -> Vec<TokenId> {
    [vec![BOS], vocabulary::tokenize(text)].concat()
}

fn tokenize(request: &Request, talk: &Talk) -> Answer {
    let inputs = match request::parsed::<request::Tokenize>(request, talk) {
        Ok(body) => body.inputs,
        Err(answer) => return *answer,
    };
    let mut at = 0;
    let mut tokens = vec![format!(
        "{{\"id\":{BOS},\"text\":\"\",\"start\":0,\"stop\":0}}"
    )];
    for id in vocabulary::tokenize(&inputs) {
        let piece = vocabulary::piece(id);
        let text = quoted(&String::from_utf8_lossy(piece));
        let stop = at + piece.len();
        tokens.push(format!(
            "{{\"id\":{id},\"text\":{text},\"start\":{at},\"stop\":{stop}}}"
        ));
        at = stop;
    }
    talk.json("200 OK", &format!("[{}]", tokens.join(",")))
}

/// What answers take over from their request.
#[derive(Clone, Debug)]
struct Talk {
    closes: bool,
}

const VARY: (&str, &str) = (
    "vary",
    "origin, access-control-request-method, access-control-request-headers",
);
const ANY_ORIGIN: (&str, &str) = ("access-control-allow-origin", "*");

impl Talk {
    fn whole(&self, status: &str, content: &[(&str, &str)], body: &str) -> Answer {
        let (length, date) = (body.len().to_string(), date());
        let mut headers = content.to_vec();
        headers.extend([VARY, ANY_ORIGIN]);
        headers.extend([("content-length", length.as_str()), ("date", &date)]);
        Answer {
            head: head(status, &headers),
            body: body.into(),
            closes: self.closes,
        }
    }

    fn empty(&self, status: &str, allow: Option<&str>) -> Answer {
        let date = date();
        let mut headers = vec![VARY, ANY_ORIGIN];
        headers.extend(allow.map(|allow| ("allow", allow)));
        headers.extend([("content-length", "0"), ("date", date.as_str())]);
        Answer {
            head: head(status, &headers),
            body: Vec::new(),
            closes: self.closes,
        }
    }

    fn json(&self, status: &str, body: &str) -> Answer {
        self.whole(status, &[("content-type", "application/json")], body)
    }

    fn plain(&self, status: &str, body: &str) -> Answer {
        self.whole(
            status,
            &[("content-type", "text/plain; charset=utf-8")],
            body,
        )
    }

    fn error(&self, status: &str, message: &str, kind: &str) -> Answer {
        self.json(status, &error_data(message, kind))
    }

    fn unhealthy(&self) -> Answer {
        self.error("503 Service Unavailable", "unhealthy", "healthcheck")
    }

    fn stream_head(&self, characters: usize) -> Vec<u8> {
        let (characters, date) = (characters.to_string(), date());
        let headers = [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-compute-type", "gpu+optimized"),
            ("x-compute-characters", &characters),
            ("x-accel-buffering", "no"),
            VARY,
            ANY_ORIGIN,
            ("transfer-encoding", "chunked"),
            ("date", &date),
        ];
        head("200 OK", &headers)
    }

    /// A stream of whole frames, as refusals are told.
    fn stream_of(&self, characters: usize, frames: &[String]) -> Answer {
        use crate::answer::{Hex, LAST_CHUNK, chunk};
        let mut body = Vec::new();
        for data in frames {
            body.extend(chunk(Hex::Upper, format!("data: {data}\n\n").as_bytes()));
        }
        body.extend_from_slice(LAST_CHUNK);
        Answer {
            head: self.stream_head(characters),
            body,
            closes: self.closes,
        }
    }
}

fn error_data(message: &str, kind: &str) -> String {
    format!(
        "{{\"error\":{},\"error_type\":\"{kind}\"}}",
        quoted(message)
    )
}

const OVERLOADED: &str = "Model is overloaded";

/// What is said once the shard is gone.
const SHARD_GONE: &str = "Request failed during generation: Server error: error trying to connect: \
                          Connection refused (os error 111)";
