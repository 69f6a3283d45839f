//! `GET /metrics`, on its own port. There is no gauge of what runs, unless the model is TensorRT-LLM's.

use crate::engine::{Engine, Snapshot};

pub(super) fn text(engine: &Engine) -> String {
    let now = engine.snapshot();
    let model = &engine.script.model;
    let counters = &now.counters;
    let labels = format!("model=\"{model}\",version=\"1\"");
    let us = |seconds: f64| (seconds * 1e6) as u64;
    let total = us(counters.queue_s + counters.prompt_s + counters.decode_s);
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value) in samples {
            text.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let one = |value: u64| vec![(format!("{{{labels}}}"), value)];
    let failures = ["OTHER", "BACKEND", "CANCELED", "REJECTED"];
    let failures = failures.map(|reason| {
        (
            format!("{{model=\"{model}\",reason=\"{reason}\",version=\"1\"}}"),
            0,
        )
    });
    family(
        "nv_inference_request_success",
        "counter",
        "Number of successful inference requests, all batch sizes",
        &one(counters.requests),
    );
    family(
        "nv_inference_request_failure",
        "counter",
        "Number of failed inference requests, all batch sizes",
        &failures,
    );
    family(
        "nv_inference_count",
        "counter",
        "Number of inferences performed (does not include cached requests)",
        &one(counters.requests),
    );
    family(
        "nv_inference_exec_count",
        "counter",
        "Number of model executions performed (does not include cached requests)",
        &one(counters.requests),
    );
    family(
        "nv_inference_request_duration_us",
        "counter",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        &one(total),
    );
    family(
        "nv_inference_queue_duration_us",
        "counter",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        &one(us(counters.queue_s)),
    );
    family(
        "nv_inference_compute_input_duration_us",
        "counter",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        &one(us(counters.prompt_s)),
    );
    family(
        "nv_inference_compute_infer_duration_us",
        "counter",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        &one(us(counters.decode_s)),
    );
    family(
        "nv_inference_compute_output_duration_us",
        "counter",
        "Cumulative inference compute output duration in microseconds (does not include cached requests)",
        &one(0),
    );
    // A decoupled model takes every request at once: Triton's own queue is always empty.
    family(
        "nv_inference_pending_request_count",
        "gauge",
        "Instantaneous number of pending requests awaiting execution per-model.",
        &one(0),
    );
    let machine = |value: u64| vec![(String::new(), value)];
    family(
        "nv_pinned_memory_pool_total_bytes",
        "gauge",
        "Pinned memory pool total memory size, in bytes",
        &machine(268_435_456),
    );
    family(
        "nv_pinned_memory_pool_used_bytes",
        "gauge",
        "Pinned memory pool used memory size, in bytes",
        &machine(0),
    );
    family(
        "nv_cpu_utilization",
        "gauge",
        "CPU utilization rate [0.0 - 1.0]",
        &machine(0),
    );
    family(
        "nv_cpu_memory_total_bytes",
        "gauge",
        "CPU total memory (RAM), in bytes",
        &machine(0),
    );
    family(
        "nv_cpu_memory_used_bytes",
        "gauge",
        "CPU used memory (RAM), in bytes",
        &machine(0),
    );
    if engine.script.triton.trtllm_gauges {
        text.push_str(&tensorrt_llm(engine, &now));
    }
    text
}

fn tensorrt_llm(engine: &Engine, now: &Snapshot) -> String {
    let model = &engine.script.model;
    let requests = [
        ("scheduled", now.busy),
        ("max", now.slots.len()),
        ("active", now.busy),
        ("context", 0),
        ("waiting", now.waiting),
    ];
    let samples = requests.map(|(kind, value)| {
        format!(
            "nv_trt_llm_request_metrics{{model=\"{model}\",request_type=\"{kind}\",version=\"1\"}} {value}\n"
        )
    });
    format!(
        "# HELP nv_trt_llm_request_metrics TRT LLM request metrics\n\
         # TYPE nv_trt_llm_request_metrics gauge\n{}",
        samples.concat()
    )
}
