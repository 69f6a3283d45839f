//! vLLM's OpenAI server.

mod completion;
mod metrics;
mod request;

use std::sync::Arc;

use super::{Routed, Wellness, wellness};
use crate::answer::{Answer, date, head, json, quoted, unique_hex};
use crate::engine::{Engine, Phase};
use crate::http::Request;
use crate::vocabulary::{self, BOS, TokenId};

/// What the recorded server says of itself: version and a hash of its settings.
const FINGERPRINT: &str = "vllm-0.32.0-de5af9b2";

pub(super) fn route(engine: &Arc<Engine>, request: &Request) -> Routed {
    let talk = Talk::new(engine, request);
    let path = request.path.as_str();
    if path == "/health" || path == "/ping" {
        return match wellness(engine) {
            Wellness::Silent => Routed::Silence,
            Wellness::Dead => Routed::Answer(talk.empty("503 Service Unavailable")),
            Wellness::Well | Wellness::Loading => Routed::Answer(talk.empty("200 OK")),
        };
    }
    if engine.is_hung() {
        return Routed::Silence;
    }
    if path.starts_with("/v1/") && !is_allowed(engine, request) {
        return Routed::Answer(talk.unauthorized());
    }
    if engine.phase() == Phase::Stopping && path == "/v1/completions" {
        return Routed::Answer(talk.stopping());
    }
    match (request.method.as_str(), path) {
        ("POST", "/v1/completions") => match completion::asked(engine, request, &talk) {
            Ok(asked) => Routed::Generate(Box::new(asked)),
            Err(answer) => {
                engine.count(|counters| counters.refused += 1);
                Routed::Answer(*answer)
            }
        },
        _ => Routed::Answer(query(engine, request, &talk)),
    }
}

fn is_allowed(engine: &Engine, request: &Request) -> bool {
    let key = engine.script.api_key.as_deref();
    key.is_none_or(|key| request.bearer() == Some(key))
}

fn query(engine: &Engine, request: &Request, talk: &Talk) -> Answer {
    const PATHS: [(&str, &str); 7] = [
        ("/version", "GET"),
        ("/load", "GET"),
        ("/metrics", "GET"),
        ("/v1/models", "GET"),
        ("/tokenize", "POST"),
        ("/detokenize", "POST"),
        ("/v1/completions", "POST"),
    ];
    let Some((path, method)) = PATHS.iter().find(|(path, _)| *path == request.path) else {
        return talk.json("404 Not Found", "{\"detail\":\"Not Found\"}");
    };
    if request.method != *method {
        return talk.wrong_method(method);
    }
    match *path {
        "/version" => talk.json("200 OK", "{\"version\":\"0.32.0\"}"),
        "/load" => talk.json("200 OK", "{\"server_load\":0}"),
        "/metrics" => talk.text(&metrics::text(engine)),
        "/v1/models" => talk.json("200 OK", &models(engine)),
        "/tokenize" => tokenize(engine, request, talk),
        _ => detokenize(request, talk),
    }
}

fn models(engine: &Engine) -> String {
    let name = quoted(&engine.script.model);
    let root = quoted(&format!("/models/{}", engine.script.model));
    let now = crate::engine::unix_s();
    format!(
        "{{\"object\":\"list\",\"data\":[{{\"id\":{name},\"object\":\"model\",\"created\":{now},\
         \"owned_by\":\"vllm\",\"root\":{root},\"parent\":null,\"max_model_len\":{},\
         \"permission\":[{{\"id\":\"modelperm-{}\",\"object\":\"model_permission\",\
         \"created\":{now},\"allow_create_engine\":false,\"allow_sampling\":true,\
         \"allow_logprobs\":true,\"allow_search_indices\":false,\"allow_view\":true,\
         \"allow_fine_tuning\":false,\"organization\":\"*\",\"group\":null,\
         \"is_blocking\":false}}]}}]}}",
        engine.script.ctx,
        unique_hex(16),
    )
}

/// The tokens of a prompt, with the one that begins a text.
fn prompt_tokens(text: &str) -> Vec<TokenId> {
    [vec![BOS], vocabulary::tokenize(text)].concat()
}

fn tokenize(engine: &Engine, request: &Request, talk: &Talk) -> Answer {
    let body = match request::parsed(request, talk) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let tokens = prompt_tokens(body["prompt"].as_str().unwrap_or_default());
    talk.json(
        "200 OK",
        &format!(
            "{{\"count\":{},\"max_model_len\":{},\"tokens\":{},\"token_strs\":null}}",
            tokens.len(),
            engine.script.ctx,
            json(&tokens),
        ),
    )
}

fn detokenize(request: &Request, talk: &Talk) -> Answer {
    let body = match request::parsed(request, talk) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let tokens = request::token_list(&body["tokens"]).unwrap_or_default();
    let text = String::from_utf8_lossy(&vocabulary::detokenize(&tokens)).into_owned();
    talk.json("200 OK", &format!("{{\"prompt\":{}}}", quoted(&text)))
}

/// What answers take over from their request.
#[derive(Clone, Debug)]
struct Talk {
    /// The header that names the request, where the server is told to send it.
    request_id: Option<String>,
    closes: bool,
}

impl Talk {
    fn new(engine: &Engine, request: &Request) -> Self {
        let given = || request.header("x-request-id").map(str::to_owned);
        let shows = engine.script.vllm.request_id_headers;
        Self {
            request_id: shows.then(|| given().unwrap_or_else(|| unique_hex(32))),
            closes: request.closes(),
        }
    }

    fn head(&self, status: &str, content: &[(&str, &str)], varies: bool) -> Vec<u8> {
        let date = date();
        let mut headers = vec![("date", date.as_str()), ("server", "uvicorn")];
        headers.extend_from_slice(content);
        if varies {
            headers.push(("vary", "Origin"));
        }
        if let Some(id) = &self.request_id {
            headers.push(("x-request-id", id));
        }
        head(status, &headers)
    }

    fn whole(&self, head: Vec<u8>, body: &str) -> Answer {
        Answer {
            head,
            body: body.into(),
            closes: self.closes,
        }
    }

    fn empty(&self, status: &str) -> Answer {
        self.whole(self.head(status, &[("content-length", "0")], true), "")
    }

    fn json(&self, status: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        let content = [
            ("content-length", length.as_str()),
            ("content-type", "application/json"),
        ];
        self.whole(self.head(status, &content, true), body)
    }

    fn text(&self, body: &str) -> Answer {
        let length = body.len().to_string();
        let content = [
            ("content-length", length.as_str()),
            ("content-type", "text/plain; version=1.0.0; charset=utf-8"),
        ];
        self.whole(self.head("200 OK", &content, true), body)
    }

    fn wrong_method(&self, allowed: &str) -> Answer {
        let body = "{\"detail\":\"Method Not Allowed\"}";
        let length = body.len().to_string();
        let content = [
            ("allow", allowed),
            ("content-length", &length),
            ("content-type", "application/json"),
        ];
        self.whole(self.head("405 Method Not Allowed", &content, true), body)
    }

    /// Answers from outside of the application proper do not vary.
    fn bare(&self, status: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        let content = [
            ("content-length", length.as_str()),
            ("content-type", "application/json"),
        ];
        self.whole(self.head(status, &content, false), body)
    }

    fn unauthorized(&self) -> Answer {
        self.bare("401 Unauthorized", "{\"error\":\"Unauthorized\"}")
    }

    fn stopping(&self) -> Answer {
        let body = error_body(
            "cannot schedule new futures after shutdown",
            "InternalServerError",
            None,
            500,
        );
        self.bare("500 Internal Server Error", &body)
    }

    fn error(&self, code: u16, message: &str, kind: &str, param: Option<&str>) -> Answer {
        let status = match code {
            400 => "400 Bad Request",
            404 => "404 Not Found",
            503 => "503 Service Unavailable",
            _ => "500 Internal Server Error",
        };
        self.json(status, &error_body(message, kind, param, code))
    }

    fn stream_head(&self) -> Vec<u8> {
        let date = date();
        let mut headers = vec![
            ("date", date.as_str()),
            ("server", "uvicorn"),
            ("content-type", "text/event-stream; charset=utf-8"),
            ("vary", "Origin"),
        ];
        if let Some(id) = &self.request_id {
            headers.push(("x-request-id", id));
        }
        headers.push(("transfer-encoding", "chunked"));
        head("200 OK", &headers)
    }
}

fn error_body(message: &str, kind: &str, param: Option<&str>, code: u16) -> String {
    format!(
        "{{\"error\":{{\"message\":{},\"type\":\"{kind}\",\"param\":{},\"code\":{code}}}}}",
        quoted(message),
        json(&param),
    )
}
