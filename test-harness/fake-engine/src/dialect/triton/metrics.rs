//! `GET /metrics`, on its own port. There is no gauge of what runs, unless the model is
//! TensorRT-LLM's, and a decoupled model takes every request at once, so that Triton's own queue is
//! always empty.

use crate::answer::filled;
use crate::engine::Engine;

pub(super) fn text(engine: &Engine) -> String {
    let now = engine.snapshot();
    let counters = &now.counters;
    let us = |seconds: f64| ((seconds * 1e6) as u64).to_string();
    let total = counters.queue_s + counters.prompt_s + counters.decode_s;
    let values = [
        ("model", engine.script.model.clone()),
        ("requests", counters.requests.to_string()),
        ("total_us", us(total)),
        ("queue_us", us(counters.queue_s)),
        ("prompt_us", us(counters.prompt_s)),
        ("decode_us", us(counters.decode_s)),
        ("busy", now.busy.to_string()),
        ("slots", now.slots.len().to_string()),
        ("waiting", now.waiting.to_string()),
    ];
    let mut text = filled(include_str!("metrics.txt"), &values);
    if engine.script.triton.trtllm_gauges {
        text.push_str(&filled(include_str!("metrics-trtllm.txt"), &values));
    }
    text
}
