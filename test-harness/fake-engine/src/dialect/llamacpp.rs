//! llama.cpp's `llama-server`.

mod completion;
mod openai;
mod queries;
mod settings;
mod slots;

use std::sync::Arc;

use serde_json::Value;

use super::{Asked, Routed, Wellness, wellness};
use crate::answer::{Answer, head, quoted};
use crate::engine::{Engine, Phase};
use crate::http::Request;

/// What the recorded server says of its build.
const BUILD: &str = "b1-0c1e570";

pub(super) fn route(engine: &Arc<Engine>, request: &Request) -> Routed {
    let path = request.path.as_str();
    let talk = Talk::new(request);
    if request.method == "GET" && matches!(path, "/health" | "/v1/health") {
        return match wellness(engine) {
            Wellness::Well | Wellness::Dead => Routed::Answer(talk.ok("{\"status\":\"ok\"}")),
            Wellness::Loading => Routed::Answer(talk.loading()),
            Wellness::Silent => Routed::Silence,
        };
    }
    if engine.is_hung() {
        return Routed::Silence;
    }
    if engine.phase() == Phase::Loading {
        return Routed::Answer(talk.loading());
    }
    if !is_allowed(engine, request) {
        return Routed::Answer(talk.error_in_order("Invalid API Key", "authentication_error", 401));
    }
    match (request.method.as_str(), path) {
        ("POST", "/completion" | "/completions") => generate(completion::asked(engine, request)),
        ("POST", "/v1/completions") => generate(openai::asked(engine, request)),
        ("GET", "/slots") => {
            engine.note_result();
            Routed::Answer(slots::list(engine, request, &talk))
        }
        ("POST", _) if path.starts_with("/slots/") => {
            Routed::Answer(slots::act(engine, request, &talk))
        }
        _ => Routed::Answer(queries::answer(engine, request, &talk)),
    }
}

fn is_allowed(engine: &Engine, request: &Request) -> bool {
    let Some(key) = engine.script.api_key.as_deref() else {
        return true;
    };
    request.bearer() == Some(key) || request.header("x-api-key") == Some(key)
}

fn generate(asked: Result<Asked, Answer>) -> Routed {
    match asked {
        Ok(asked) => Routed::Generate(Box::new(asked)),
        Err(answer) => Routed::Answer(answer),
    }
}

/// What answers take over from their request.
#[derive(Clone, Debug)]
struct Talk {
    origin: String,
    closes: bool,
}

impl Talk {
    fn new(request: &Request) -> Self {
        Self {
            origin: request.header("origin").unwrap_or_default().to_owned(),
            closes: request.closes(),
        }
    }

    fn answer(&self, status: &str, content: &[(&str, &str)], body: &str) -> Answer {
        let closes = self.closes || !status.starts_with("200");
        let length = body.len().to_string();
        let mut headers = vec![
            ("Server", "llama.cpp"),
            ("Access-Control-Allow-Origin", self.origin.as_str()),
        ];
        headers.extend_from_slice(content);
        headers.push(("Content-Length", &length));
        headers.push(if closes {
            ("Connection", "close")
        } else {
            ("Keep-Alive", "timeout=5, max=100")
        });
        Answer {
            head: head(status, &headers),
            body: body.into(),
            closes,
        }
    }

    fn json(&self, status: &str, body: &str) -> Answer {
        self.answer(
            status,
            &[("Content-Type", "application/json; charset=utf-8")],
            body,
        )
    }

    fn ok(&self, body: &str) -> Answer {
        self.json("200 OK", body)
    }

    /// An error of a handler: its fields are sorted by name.
    fn error(&self, code: u16, message: &str, kind: &str) -> Answer {
        let message = quoted(message);
        let body =
            format!("{{\"error\":{{\"code\":{code},\"message\":{message},\"type\":\"{kind}\"}}}}");
        self.json(status(code), &body)
    }

    /// An error from before the handlers: its fields stand in the order they were set.
    fn error_in_order(&self, message: &str, kind: &str, code: u16) -> Answer {
        let message = quoted(message);
        let body =
            format!("{{\"error\":{{\"message\":{message},\"type\":\"{kind}\",\"code\":{code}}}}}");
        self.json(status(code), &body)
    }

    fn loading(&self) -> Answer {
        self.error_in_order("Loading model", "unavailable_error", 503)
    }

    fn invalid(&self, message: &str) -> Answer {
        self.error(400, message, "invalid_request_error")
    }

    /// The body as JSON, or the parser's complaint.
    fn parsed(&self, request: &Request) -> Result<Value, Answer> {
        serde_json::from_slice(&request.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let (column, what) = if error.is_eof() {
                (
                    column + 1,
                    "unexpected end of input; expected '[', '{', or a literal",
                )
            } else {
                (column, "invalid literal")
            };
            let message = format!(
                "[json.exception.parse_error.101] parse error at line {line}, column {column}: \
                 syntax error while parsing value - {what}"
            );
            self.error(500, &message, "server_error")
        })
    }

    fn stream_head(&self) -> Vec<u8> {
        let headers = [
            ("Server", "llama.cpp"),
            ("Access-Control-Allow-Origin", self.origin.as_str()),
            ("X-Accel-Buffering", "no"),
            ("Content-Type", "text/event-stream"),
            ("Transfer-Encoding", "chunked"),
            ("Keep-Alive", "timeout=5, max=100"),
        ];
        head("200 OK", &headers)
    }
}

fn status(code: u16) -> &'static str {
    match code {
        400 => "400 Bad Request",
        401 => "401 Unauthorized",
        404 => "404 Not Found",
        501 => "501 Not Implemented",
        503 => "503 Service Unavailable",
        _ => "500 Internal Server Error",
    }
}

/// The data of an error in mid-stream.
fn error_data(message: &str) -> String {
    let message = quoted(message);
    format!("{{\"error\":{{\"code\":500,\"message\":{message},\"type\":\"server_error\"}}}}")
}
