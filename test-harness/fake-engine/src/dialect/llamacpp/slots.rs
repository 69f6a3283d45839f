//! `GET /slots` and `POST /slots/N?action=…`.

use serde_json::Value;

use super::Talk;
use crate::answer::{Answer, quoted};
use crate::engine::Engine;
use crate::engine::slots::Slot;
use crate::http::Request;

/// What one token takes in a saved slot, so that sizes look like sizes.
const BYTES_PER_TOKEN: usize = 528;

pub(super) fn list(engine: &Engine, request: &Request, talk: &Talk) -> Answer {
    let slots = engine.snapshot().slots;
    let is_full = slots.iter().all(|slot| slot.is_busy);
    if is_full && request.query_value("fail_on_no_slot").is_some() {
        return talk.error(503, "no slot available", "unavailable_error");
    }
    let ctx = engine.script.ctx;
    let shown: Vec<String> = slots
        .iter()
        .enumerate()
        .map(|(id, slot)| show(id, slot, ctx))
        .collect();
    talk.ok(&format!("[{}]", shown.join(",")))
}

/// A slot that was never used has no more to say than that; an idle one tells of its last task.
fn show(id: usize, slot: &Slot, ctx: u32) -> String {
    let is_busy = slot.is_busy;
    let start =
        format!("{{\"id\":{id},\"n_ctx\":{ctx},\"speculative\":false,\"is_processing\":{is_busy}");
    let Some(task) = slot.request else {
        return start + "}";
    };
    let remain = i64::from(slot.max_tokens) - i64::from(slot.decoded);
    let (held, processed, cached, decoded, remain) = if is_busy {
        let processed = slot.prompt_tokens - slot.cached_tokens;
        let held = slot.prompt_tokens + slot.decoded;
        (held, processed, slot.cached_tokens, slot.decoded, remain)
    } else {
        // The last token was never computed on.
        (
            slot.prompt_tokens + slot.decoded.saturating_sub(1),
            0,
            0,
            0,
            -1,
        )
    };
    let params = if slot.params.is_empty() {
        "{}"
    } else {
        &slot.params
    };
    format!(
        "{start},\"id_task\":{task},\"n_prompt_tokens\":{held},\
         \"n_prompt_tokens_processed\":{processed},\"n_prompt_tokens_cache\":{cached},\
         \"params\":{params},\"next_token\":[{{\"has_next_token\":{is_busy},\
         \"has_new_line\":{},\"n_remain\":{remain},\"n_decoded\":{decoded}}}]}}",
        slot.has_new_line,
    )
}

/// Saves, restores or erases. Numbers are taken modulo the slots there are, as the server does.
pub(super) fn act(engine: &Engine, request: &Request, talk: &Talk) -> Answer {
    let number = request.path.trim_start_matches("/slots/").parse::<usize>();
    let Ok(id) = number else {
        return talk.invalid("Invalid slot ID");
    };
    let slot = id % engine.script.slots as usize;
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let file = body["filename"].as_str().unwrap_or_default();
    let action = request.query_value("action").unwrap_or_default();
    if matches!(action, "save" | "restore") && !is_plain_name(file) {
        return talk.invalid("Invalid filename");
    }
    let held = engine.cached_in_slot(slot);
    let (name, size) = (quoted(file), held * BYTES_PER_TOKEN);
    let body = match action {
        "save" => format!(
            "{{\"id_slot\":{id},\"filename\":{name},\"n_saved\":{held},\"n_written\":{size},\
             \"timings\":{{\"save_ms\":0.1}}}}"
        ),
        "restore" => format!(
            "{{\"id_slot\":{id},\"filename\":{name},\"n_restored\":{held},\"n_read\":{size},\
             \"timings\":{{\"restore_ms\":0.1}}}}"
        ),
        "erase" => format!(
            "{{\"id_slot\":{id},\"n_erased\":{}}}",
            engine.erase_slot(slot)
        ),
        _ => return talk.invalid("Invalid action"),
    };
    talk.ok(&body)
}

fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && !file.contains(['/', '\\']) && !file.contains("..")
}
