//! `GET /metrics`: the series that say something about load, cache and outcomes. The histograms, the
//! `_created` twins and the process's own series of the real server are left out.

use crate::engine::Engine;

/// One family: name, type, help, and its samples as labels and value.
type Family<'a> = (&'a str, &'a str, &'a str, Vec<(String, f64)>);

pub(super) fn text(engine: &Engine) -> String {
    families(engine).iter().map(show).collect()
}

fn show((name, kind, help, samples): &Family<'_>) -> String {
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (labels, value) in samples {
        text.push_str(&format!("{name}{{{labels}}} {value:?}\n"));
    }
    text
}

fn families(engine: &Engine) -> Vec<Family<'static>> {
    let now = engine.snapshot();
    let counters = &now.counters;
    let model = &engine.script.model;
    let all = format!("engine=\"0\",model_name=\"{model}\"");
    let one = |value: f64| vec![(all.clone(), value)];
    let split = |label: &str, values: &[(&str, f64)]| -> Vec<(String, f64)> {
        let labels = |name: &str| format!("{all},{label}=\"{name}\"");
        values
            .iter()
            .map(|(name, value)| (labels(name), *value))
            .collect()
    };
    let finished = |reason: &str, value: u64| {
        let labels = format!("engine=\"0\",finished_reason=\"{reason}\",model_name=\"{model}\"");
        (labels, value as f64)
    };
    let capacity = f64::from(engine.script.slots) * f64::from(engine.script.ctx);
    let held: u32 = now
        .slots
        .iter()
        .filter(|slot| slot.is_busy)
        .map(|slot| slot.prompt_tokens + slot.decoded)
        .sum();
    let (running, waiting) = (now.busy as f64, now.waiting as f64);
    vec![
        (
            "vllm:num_requests_running",
            "gauge",
            "Number of requests in model execution batches.",
            one(running),
        ),
        (
            "vllm:num_requests_waiting",
            "gauge",
            "Number of requests waiting to be processed.",
            one(waiting),
        ),
        (
            "vllm:num_requests_waiting_by_reason",
            "gauge",
            "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.",
            split("reason", &[("capacity", waiting), ("deferred", 0.0)]),
        ),
        (
            "vllm:engine_sleep_state",
            "gauge",
            "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
            split(
                "sleep_state",
                &[
                    ("awake", 1.0),
                    ("weights_offloaded", 0.0),
                    ("discard_all", 0.0),
                ],
            ),
        ),
        (
            "vllm:kv_cache_usage_perc",
            "gauge",
            "KV-cache usage. 1 means 100 percent usage.",
            one(f64::from(held) / capacity),
        ),
        (
            "vllm:prefix_cache_queries_total",
            "counter",
            "Prefix cache queries, in terms of number of queried tokens.",
            one(counters.prompt_tokens as f64),
        ),
        (
            "vllm:prefix_cache_hits_total",
            "counter",
            "Prefix cache hits, in terms of number of cached tokens.",
            one(counters.cached_tokens as f64),
        ),
        (
            "vllm:num_preemptions_total",
            "counter",
            "Cumulative number of preemption from the engine.",
            one(0.0),
        ),
        (
            "vllm:prompt_tokens_total",
            "counter",
            "Number of prefill tokens processed.",
            one(counters.prompt_tokens as f64),
        ),
        (
            "vllm:prompt_tokens_cached_total",
            "counter",
            "Number of cached prompt tokens (local + external).",
            one(counters.cached_tokens as f64),
        ),
        (
            "vllm:generation_tokens_total",
            "counter",
            "Number of generation tokens processed.",
            one(counters.decoded_tokens as f64),
        ),
        (
            "vllm:request_success_total",
            "counter",
            "Count of successfully processed requests.",
            vec![
                finished("stop", counters.finished_by_stop),
                finished("length", counters.finished_by_length),
                // Clients that leave are not counted by the real server either.
                finished("abort", 0),
                finished("error", counters.failed),
                finished("repetition", 0),
            ],
        ),
        (
            "vllm:admission_rejections_total",
            "counter",
            "Number of admission attempts rejected by a queue limit, by reason.",
            vec![
                (
                    format!("model_name=\"{model}\",reason=\"max_num_queued_reqs\""),
                    counters.overloaded as f64,
                ),
                (
                    format!("model_name=\"{model}\",reason=\"max_num_queued_tokens\""),
                    0.0,
                ),
            ],
        ),
    ]
}
