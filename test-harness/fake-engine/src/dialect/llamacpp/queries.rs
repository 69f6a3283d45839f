//! Everything that generates nothing: properties, models, metrics, tokens.

use serde_json::Value;

use super::settings::{Shown, settings};
use super::{BUILD, Talk};
use crate::answer::{Answer, filled, json, quoted, unique_hex};
use crate::engine::Engine;
use crate::http::Request;
use crate::vocabulary::{self, TokenId};

const CHAT_TEMPLATE: &str = "{%- for message in messages -%}\n  {{- '<|im_start|>' + message.role + \
    '\n' + message.content + '<|im_end|>\n' -}}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n  \
    {{- '<|im_start|>assistant\n' -}}\n{%- endif -%}";

pub(super) fn answer(engine: &Engine, request: &Request, talk: &Talk) -> Answer {
    let unsupported = |what: &str| talk.error(501, what, "not_supported_error");
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/props") => talk.ok(&props(engine)),
        ("POST", "/props") => unsupported(
            "This server does not support changing global properties. Start it with `--props`",
        ),
        ("POST", "/embedding" | "/embeddings" | "/v1/embeddings") => {
            unsupported("This server does not support embeddings. Start it with `--embeddings`")
        }
        ("GET", "/v1/models" | "/models") => talk.ok(&models(engine)),
        ("GET", "/metrics") => {
            engine.note_result();
            let began = engine.started_unix_s.to_string();
            let headers = [
                ("Process-Start-Time-Unix", began.as_str()),
                ("Content-Type", "text/plain; version=0.0.4"),
            ];
            talk.answer("200 OK", &headers, &metrics(engine))
        }
        ("POST", "/tokenize") => talk
            .parsed(request)
            .map_or_else(|bad| bad, |body| tokenize(&body, talk)),
        ("POST", "/detokenize") => talk
            .parsed(request)
            .map_or_else(|bad| bad, |body| detokenize(&body, talk)),
        _ => talk.error_in_order("File Not Found", "not_found_error", 404),
    }
}

fn props(engine: &Engine) -> String {
    let script = &engine.script;
    format!(
        "{{\"default_generation_settings\":{{\"params\":{},\"n_ctx\":{}}},\"total_slots\":{},\
         \"model_alias\":{},\"model_ftype\":\"all F32\",\"model_path\":{},\"modalities\":\
         {{\"vision\":false,\"video\":false,\"audio\":false}},\"media_marker\":\"<__media_{}__>\",\
         \"endpoint_slots\":true,\"endpoint_props\":false,\"endpoint_metrics\":true,\"ui\":false,\
         \"ui_settings\":{{}},\"chat_template\":{},\"chat_template_caps\":\
         {{\"supports_object_arguments\":false,\"supports_parallel_tool_calls\":false,\
         \"supports_preserve_reasoning\":false,\"supports_reasoning_effort\":false,\
         \"supports_string_content\":true,\"supports_system_role\":true,\
         \"supports_tool_calls\":false,\"supports_tools\":false,\
         \"supports_typed_content\":false}},\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\
         \"build_info\":\"{BUILD}\",\"is_sleeping\":false,\"cors_proxy_enabled\":false}}",
        settings(&Value::Null, Shown::Props),
        script.ctx,
        script.slots,
        quoted(&script.model),
        quoted(&format!("/models/{}.gguf", script.model)),
        unique_hex(32),
        quoted(CHAT_TEMPLATE),
    )
}

fn models(engine: &Engine) -> String {
    let name = quoted(&engine.script.model);
    format!(
        "{{\"models\":[{{\"name\":{name},\"model\":{name},\"modified_at\":\"\",\"size\":\"\",\
         \"digest\":\"\",\"type\":\"model\",\"description\":\"\",\"tags\":[\"\"],\
         \"capabilities\":[\"completion\"],\"parameters\":\"\",\"details\":{{\"parent_model\":\"\",\
         \"format\":\"gguf\",\"family\":\"\",\"families\":[\"\"],\"parameter_size\":\"\",\
         \"quantization_level\":\"\"}}}}],\"object\":\"list\",\"data\":[{{\"id\":{name},\
         \"aliases\":[{name}],\"tags\":[],\"object\":\"model\",\"created\":{},\
         \"owned_by\":\"llamacpp\",\"meta\":{{\"vocab_type\":2,\"n_vocab\":512,\"n_ctx\":{},\
         \"n_ctx_train\":1024,\"n_embd\":64,\"n_params\":147776,\"size\":591104,\
         \"ftype\":\"all F32\"}}}}]}}",
        crate::engine::unix_s(),
        engine.script.ctx,
    )
}

fn metrics(engine: &Engine) -> String {
    let now = engine.snapshot();
    let counters = &now.counters;
    let computed = counters.prompt_tokens - counters.cached_tokens;
    let rate = |amount: u64, of: f64| if of > 0.0 { amount as f64 / of } else { 0.0 };
    let decoded = counters.decoded_tokens;
    filled(
        include_str!("metrics.txt"),
        &[
            ("computed", computed.to_string()),
            ("cached", counters.cached_tokens.to_string()),
            ("prompt_s", counters.prompt_s.to_string()),
            ("decoded", decoded.to_string()),
            ("decode_s", counters.decode_s.to_string()),
            ("longest", counters.longest.to_string()),
            ("prompt_rate", rate(computed, counters.prompt_s).to_string()),
            ("decode_rate", rate(decoded, counters.decode_s).to_string()),
            ("busy", now.busy.to_string()),
            ("waiting", now.waiting.to_string()),
            (
                "busy_per_token",
                rate(counters.busy_per_token, decoded as f64).to_string(),
            ),
        ],
    )
}

fn tokenize(body: &Value, talk: &Talk) -> Answer {
    let tokens = vocabulary::tokenize(body["content"].as_str().unwrap_or_default());
    if body["with_pieces"] != true {
        return talk.ok(&format!("{{\"tokens\":{}}}", json(&tokens)));
    }
    let piece = |id: &TokenId| match std::str::from_utf8(vocabulary::piece(*id)) {
        Ok(text) => format!("{{\"id\":{id},\"piece\":{}}}", quoted(text)),
        Err(_) => format!(
            "{{\"id\":{id},\"piece\":{}}}",
            json(&vocabulary::piece(*id))
        ),
    };
    let pieces: Vec<String> = tokens.iter().map(piece).collect();
    talk.ok(&format!("{{\"tokens\":[{}]}}", pieces.join(",")))
}

fn detokenize(body: &Value, talk: &Talk) -> Answer {
    let ids = body["tokens"].as_array().into_iter().flatten();
    let ids: Vec<TokenId> = ids
        .filter_map(Value::as_u64)
        .filter_map(|id| id.try_into().ok())
        .collect();
    let text = String::from_utf8_lossy(&vocabulary::detokenize(&ids)).into_owned();
    talk.ok(&format!("{{\"content\":{}}}", quoted(&text)))
}
