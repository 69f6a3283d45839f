//! Everything about the server and its models that generates nothing.

use serde_json::Value;

use super::inputs::{INPUTS, OUTPUTS};
use super::{Talk, error, missing};
use crate::answer::{Answer, quoted};
use crate::engine::Engine;
use crate::engine::repository::{Model, NotLoaded, State};
use crate::http::Request;

const SERVER: &str = r#"{"name":"triton","version":"2.51.0","extensions":["classification","sequence","model_repository","model_repository(unload_dependents)","schedule_policy","model_configuration","system_shared_memory","cuda_shared_memory","binary_tensor_data","parameters","statistics","trace","logging"]}"#;

pub(super) fn answer(engine: &Engine, request: &Request, segments: &[&str], talk: &Talk) -> Answer {
    match (request.method.as_str(), segments) {
        ("GET", ["v2"]) => talk.json("200 OK", SERVER),
        ("POST", ["v2", "repository", "index"]) => talk.json("200 OK", &index(engine, request)),
        ("POST", ["v2", "repository", "models", model, "load"]) => load(engine, model, talk),
        ("POST", ["v2", "repository", "models", model, "unload"]) => {
            engine.unload_model(model);
            talk.json("200 OK", "")
        }
        ("GET", ["v2", "models", model, "ready"]) => match missing(engine, model, None) {
            None => talk.plain("200 OK", ""),
            Some(_) => talk.plain("400 Bad Request", &error("Model version not ready")),
        },
        ("GET", ["v2", "models", model, rest @ ..]) => match missing(engine, model, None) {
            Some(problem) => talk.json("404 Not Found", &error(&problem)),
            None => match rest {
                [] => talk.json("200 OK", &metadata(model)),
                ["config"] => talk.json("200 OK", &config(engine, model)),
                ["stats"] => talk.json("200 OK", &statistics(engine, model)),
                _ => talk.not_found(),
            },
        },
        _ => talk.not_found(),
    }
}

fn index(engine: &Engine, request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let only_ready = body["ready"] == true;
    let repository = engine.repository();
    let wanted = |model: &&Model| !only_ready || model.state == State::Ready;
    let models: Vec<String> = repository
        .models()
        .iter()
        .filter(wanted)
        .map(entry)
        .collect();
    format!("[{}]", models.join(","))
}

fn entry(model: &Model) -> String {
    let name = quoted(&model.name);
    match &model.state {
        State::NeverLoaded => format!("{{\"name\":{name}}}"),
        State::Ready => format!("{{\"name\":{name},\"version\":\"1\",\"state\":\"READY\"}}"),
        State::Unloaded => format!(
            "{{\"name\":{name},\"version\":\"1\",\"state\":\"UNAVAILABLE\",\"reason\":\"unloaded\"}}"
        ),
        State::Failed(reason) => format!(
            "{{\"name\":{name},\"version\":\"1\",\"state\":\"UNAVAILABLE\",\"reason\":{}}}",
            quoted(reason)
        ),
    }
}

fn load(engine: &Engine, model: &str, talk: &Talk) -> Answer {
    match engine.load_model(model) {
        Ok(()) => talk.json("200 OK", ""),
        Err(NotLoaded::Unknown) => {
            let problem = format!("failed to load '{model}', failed to poll from model repository");
            talk.json("500 Internal Server Error", &error(&problem))
        }
        Err(NotLoaded::Failed(reason)) => {
            let problem = format!(
                "load failed for model '{model}': version 1 is at UNAVAILABLE state: {reason};\n"
            );
            talk.json("400 Bad Request", &error(&problem))
        }
    }
}

fn metadata(model: &str) -> String {
    let tensor = |(name, datatype, shape): (&str, &str, &str)| {
        format!("{{\"name\":\"{name}\",\"datatype\":\"{datatype}\",\"shape\":[{shape}]}}")
    };
    let inputs = INPUTS.map(|(name, datatype, shape, _)| tensor((name, datatype, shape)));
    let outputs = OUTPUTS.map(tensor);
    format!(
        "{{\"name\":{},\"versions\":[\"1\"],\"platform\":\"python\",\"inputs\":[{}],\"outputs\":[{}]}}",
        quoted(model),
        inputs.join(","),
        outputs.join(","),
    )
}

/// The datatype as a config names it.
fn config_type(datatype: &str) -> String {
    match datatype {
        "BYTES" => "TYPE_STRING".to_owned(),
        other => format!("TYPE_{other}"),
    }
}

fn config(engine: &Engine, model: &str) -> String {
    // A config's dimensions leave out the batch.
    let dims = |shape: &str| {
        shape
            .split_once(',')
            .map_or(String::new(), |(_, rest)| rest.to_owned())
    };
    let input = |(name, datatype, shape, optional): (&str, &str, &str, bool)| {
        format!(
            "{{\"name\":\"{name}\",\"data_type\":\"{}\",\"format\":\"FORMAT_NONE\",\"dims\":[{}],\
             \"is_shape_tensor\":false,\"allow_ragged_batch\":false,\"optional\":{optional},\
             \"is_non_linear_format_io\":false}}",
            config_type(datatype),
            dims(shape),
        )
    };
    let output = |(name, datatype, shape): (&str, &str, &str)| {
        format!(
            "{{\"name\":\"{name}\",\"data_type\":\"{}\",\"dims\":[{}],\"label_filename\":\"\",\
             \"is_shape_tensor\":false,\"is_non_linear_format_io\":false}}",
            config_type(datatype),
            dims(shape),
        )
    };
    format!(
        "{{\"name\":{},\"platform\":\"\",\"backend\":\"python\",\"runtime\":\"\",\"version_policy\":\
         {{\"latest\":{{\"num_versions\":1}}}},\"max_batch_size\":{},\"input\":[{}],\"output\":[{}],\
         \"batch_input\":[],\"batch_output\":[],\"optimization\":{{\"priority\":\
         \"PRIORITY_DEFAULT\",\"input_pinned_memory\":{{\"enable\":true}},\
         \"output_pinned_memory\":{{\"enable\":true}},\"gather_kernel_buffer_threshold\":0,\
         \"eager_batching\":false}},\"instance_group\":[{{\"name\":{},\"kind\":\"KIND_CPU\",\
         \"count\":1,\"gpus\":[],\"secondary_devices\":[],\"profile\":[],\"passive\":false,\
         \"host_policy\":\"\"}}],\"default_model_filename\":\"model.py\",\"cc_model_filenames\":{{}},\
         \"metric_tags\":{{}},\"parameters\":{{\"gpt_model_path\":{{\"string_value\":\
         \"/models/tiny\"}}}},\"model_warmup\":[],\"model_transaction_policy\":{{\"decoupled\":true}}}}",
        quoted(model),
        engine.script.slots,
        INPUTS.map(input).join(","),
        OUTPUTS.map(output).join(","),
        quoted(&format!("{model}_0")),
    )
}

/// Counts as the real server has them for a decoupled model: every request is a success at
/// hand-over, canceled and failed ones as well.
fn statistics(engine: &Engine, model: &str) -> String {
    let requests = engine.snapshot().counters.requests;
    let last = if requests == 0 {
        0
    } else {
        crate::engine::unix_s() * 1000
    };
    let some = |count: u64| format!("{{\"count\":{count},\"ns\":0}}");
    let (ran, none) = (some(requests), some(0));
    let batches = match requests {
        0 => String::new(),
        _ => format!(
            "{{\"batch_size\":1,\"compute_input\":{ran},\"compute_infer\":{ran},\"compute_output\":{ran}}}"
        ),
    };
    format!(
        "{{\"model_stats\":[{{\"name\":{},\"version\":\"1\",\"last_inference\":{last},\
         \"inference_count\":{requests},\"execution_count\":{requests},\"inference_stats\":\
         {{\"success\":{ran},\"fail\":{none},\"queue\":{ran},\"compute_input\":{ran},\
         \"compute_infer\":{ran},\"compute_output\":{ran},\"cache_hit\":{none},\
         \"cache_miss\":{none}}},\"response_stats\":{{}},\"batch_stats\":[{batches}],\
         \"memory_usage\":[]}}]}}",
        quoted(model),
    )
}
