//! `GET /metrics`: gauges and counters. The histograms' buckets are left out.
//!
//! Empty until the first request, like the real router's; its llama.cpp backend has no gauges.

use crate::engine::Engine;
use crate::script::behaviour::TgiBackend;

pub(super) fn text(engine: &Engine) -> String {
    let now = engine.snapshot();
    let counters = &now.counters;
    if counters.requests + counters.refused == 0 {
        return String::new();
    }
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, f64)]| {
        if !help.is_empty() {
            text.push_str(&format!("# HELP {name} {help}\n"));
        }
        text.push_str(&format!("# TYPE {name} {kind}\n"));
        for (labels, value) in samples {
            text.push_str(&format!("{name}{labels} {value}\n"));
        }
        text.push('\n');
    };
    family(
        "tgi_request_success",
        "counter",
        "Number of successful requests",
        &[("", counters.finished() as f64)],
    );
    let asked = (counters.requests + counters.refused) as f64;
    family(
        "tgi_request_count",
        "counter",
        "Total number of requests",
        &[("", asked)],
    );
    let failures = [
        ("{err=\"dropped\"}", counters.dropped as f64),
        ("{err=\"generation\"}", counters.failed as f64),
        ("{err=\"validation\"}", counters.refused as f64),
        ("{err=\"overloaded\"}", counters.overloaded as f64),
    ];
    let failures: Vec<_> = failures
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .collect();
    if !failures.is_empty() {
        family("tgi_request_failure", "counter", "", &failures);
    }
    if engine.script.tgi.backend == TgiBackend::V3 {
        let room: u32 = now
            .slots
            .iter()
            .filter(|slot| slot.is_busy)
            .map(|slot| slot.prompt_tokens + slot.max_tokens)
            .sum();
        family(
            "tgi_queue_size",
            "gauge",
            "Current queue size",
            &[("", now.waiting as f64)],
        );
        family(
            "tgi_batch_current_max_tokens",
            "gauge",
            "Maximum tokens for the current batch",
            &[("", f64::from(room))],
        );
        family(
            "tgi_batch_current_size",
            "gauge",
            "Current batch size",
            &[("", now.busy as f64)],
        );
    }
    text
}
