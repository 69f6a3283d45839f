//! Triton Inference Server with a decoupled text model: HTTP only.

mod generate;
mod inputs;
mod metrics;
mod repository;

use std::sync::Arc;

use super::{Door, Routed, Wellness, wellness};
use crate::answer::{Answer, head, quoted};
use crate::engine::Engine;
use crate::engine::repository::State;
use crate::http::Request;

pub(super) fn route(engine: &Arc<Engine>, door: Door, request: &Request) -> Routed {
    let talk = Talk {
        closes: request.closes(),
    };
    let method = request.method.as_str();
    let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    if let ["v2", "health", "live" | "ready"] = segments[..] {
        if method != "GET" {
            return Routed::Answer(talk.plain("405 Not Allowed", &error("Method Not Allowed")));
        }
        return health(engine, segments[2] == "ready", &talk);
    }
    if engine.is_hung() {
        return Routed::Silence;
    }
    if door == Door::Metrics {
        return Routed::Answer(match segments[..] {
            ["metrics"] => talk.with_type(
                "200 OK",
                "text/plain; charset=utf-8",
                &metrics::text(engine),
            ),
            _ => talk.not_found(),
        });
    }
    let target = match segments[..] {
        ["v2", "models", model, "versions", version, verb] => (model, Some(version), verb),
        ["v2", "models", model, verb] => (model, None, verb),
        _ => return Routed::Answer(repository::answer(engine, request, &segments, &talk)),
    };
    match target {
        (_, _, "generate" | "generate_stream" | "infer") if method != "POST" => {
            Routed::Answer(talk.json("405 Not Allowed", &error("Method Not Allowed")))
        }
        (model, version, "generate" | "generate_stream") => {
            match generate::asked(engine, request, (model, version), &talk) {
                Ok(asked) => Routed::Generate(Box::new(asked)),
                Err(answer) => Routed::Answer(*answer),
            }
        }
        (model, version, "infer") => Routed::Answer(infer(engine, model, version, &talk)),
        _ => Routed::Answer(repository::answer(engine, request, &segments, &talk)),
    }
}

/// A dead backend is not noticed: readiness goes on.
fn health(engine: &Engine, asks_ready: bool, talk: &Talk) -> Routed {
    match wellness(engine) {
        Wellness::Silent => Routed::Silence,
        Wellness::Well if asks_ready && !engine.models_are_ready() => {
            Routed::Answer(talk.plain("400 Bad Request", ""))
        }
        Wellness::Well | Wellness::Loading | Wellness::Dead => {
            Routed::Answer(talk.plain("200 OK", ""))
        }
    }
}

/// Tensors are not spoken: a decoupled model refuses them anyway.
fn infer(engine: &Engine, model: &str, version: Option<&str>, talk: &Talk) -> Answer {
    match missing(engine, model, version) {
        Some(problem) => talk.plain("404 Not Found", &error(&problem)),
        None => talk.plain(
            "501 Not Implemented",
            &error("HTTP end point doesn't support models with decoupled transaction policy"),
        ),
    }
}

/// Why a model cannot be asked.
fn missing(engine: &Engine, model: &str, version: Option<&str>) -> Option<String> {
    match (engine.model_state(model), version) {
        (None, _) => Some(format!("Request for unknown model: '{model}' is not found")),
        (Some(State::Ready), None | Some("1")) => None,
        (Some(State::Ready), Some(version)) => Some(format!(
            "Request for unknown model: '{model}' version {version} is not found"
        )),
        (Some(_), _) => Some(format!(
            "Request for unknown model: '{model}' has no available versions"
        )),
    }
}

/// The body of every error.
fn error(message: &str) -> String {
    format!("{{\"error\":{}}}", quoted(message))
}

/// What answers take over from their request.
#[derive(Clone, Debug)]
struct Talk {
    closes: bool,
}

impl Talk {
    fn with_type(&self, status: &str, content_type: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        let headers = [
            ("Content-Type", content_type),
            ("Content-Length", length.as_str()),
        ];
        Answer {
            head: head(status, &headers),
            body: body.into(),
            closes: self.closes,
        }
    }

    fn json(&self, status: &str, body: &str) -> Answer {
        self.with_type(status, "application/json", body)
    }

    /// What the HTTP layer answers by itself has its headers in the other order.
    fn plain(&self, status: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        let headers = [
            ("Content-Length", length.as_str()),
            ("Content-Type", "text/plain"),
        ];
        Answer {
            head: head(status, &headers),
            body: body.into(),
            closes: self.closes,
        }
    }

    fn not_found(&self) -> Answer {
        self.plain("404 Not Found", &error("Not Found"))
    }

    /// An answer in chunks, as everything that a model said is.
    fn chunked(&self, status: &str, content_type: &str, payload: &str) -> Answer {
        use crate::answer::{Hex, LAST_CHUNK, chunk};
        let headers = [
            ("Content-Type", content_type),
            ("Transfer-Encoding", "chunked"),
        ];
        Answer {
            head: head(status, &headers),
            body: [chunk(Hex::Lower, payload.as_bytes()).as_slice(), LAST_CHUNK].concat(),
            closes: self.closes,
        }
    }
}
