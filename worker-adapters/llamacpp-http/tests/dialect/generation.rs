//! A generation that goes well, or is refused by the server's own words.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use worker_adapters_adapter_api::generation::{Completion, FinishReason};
use worker_adapters_adapter_api::sampling::Sampling;
use worker_adapters_adapter_api::{AdapterError, FaultKind, WorkerAdapter};

use crate::replay::Then;
use crate::{fixture, generate, read, request, server};

const RECORDED: &str = fixture!("completion-limit.sse");
const RECORDED_TEXT: &str = "\u{1c}\u{1e}\u{fffd}\u{fffd} ling c";

fn recorded_end() -> Completion {
    Completion {
        finish_reason: FinishReason::Length,
        tokens_in: 8,
        tokens_cached: 7,
        tokens_out: 8,
        prefill: Duration::from_micros(3979),
        decode: Duration::from_micros(347),
    }
}

// spec: OC-ADAPT-5001, OC-ADAPT-5010, OC-ADAPT-5105, OC-ADAPT-5109, ORCH-3054
#[tokio::test]
async fn a_recorded_stream_gives_the_engines_text_and_account() {
    let (adapter, _running) = server(|replay| replay.stream([RECORDED], Then::End)).await;
    assert_eq!(
        generate(&adapter).await,
        (RECORDED_TEXT.to_owned(), Ok(recorded_end()))
    );
}

// spec: OC-ADAPT-5105
#[tokio::test]
async fn held_back_tokens_are_in_the_count() {
    let recorded = fixture!("completion-held-bytes.sse");
    let (adapter, _running) = server(|replay| replay.stream([recorded], Then::End)).await;
    let (text, end) = generate(&adapter).await;
    let end = end.unwrap();
    assert_eq!(
        (end.tokens_in, end.tokens_cached, end.tokens_out),
        (8, 7, 20)
    );
    assert!(text.ends_with("\u{fffd}verublublublublubl"), "{text}");
    // Sixteen pieces with text came for twenty tokens.
    assert_eq!(recorded.matches("\"stop\":false").count(), 17);
}

// spec: OC-ADAPT-5108, ORCH-3433
#[tokio::test]
async fn a_stream_cut_at_any_byte_gives_the_same_text() {
    let bytes = RECORDED.as_bytes();
    let (adapter, running) = server(|replay| {
        for at in 0..bytes.len() {
            replay.stream([&bytes[..at], &bytes[at..]], Then::End);
        }
        replay.stream(bytes.chunks(1), Then::End);
    })
    .await;
    for at in 0..=bytes.len() {
        let outcome = generate(&adapter).await;
        assert_eq!(
            outcome,
            (RECORDED_TEXT.to_owned(), Ok(recorded_end())),
            "cut at {at}"
        );
    }
    assert_eq!(running.asked("POST /completion").len(), bytes.len() + 1);
}

// spec: OC-ADAPT-5103
#[tokio::test]
async fn pings_between_frames_are_no_content() {
    let with_pings = RECORDED.replace("\n\n", "\n\n:\n\n");
    let (adapter, _running) = server(|replay| replay.stream([with_pings], Then::End)).await;
    assert_eq!(generate(&adapter).await.0, RECORDED_TEXT);
}

// spec: OC-ADAPT-5123
#[tokio::test]
async fn the_stop_type_decides_the_finish_reason() {
    let ending = |stop_type: &str| {
        RECORDED.replace(
            "\"stop_type\":\"limit\"",
            &format!("\"stop_type\":\"{stop_type}\""),
        )
    };
    let (adapter, _running) = server(|replay| {
        for stop_type in ["eos", "word", "limit", "none", "other"] {
            replay.stream([ending(stop_type)], Then::End);
        }
    })
    .await;
    let mut ends = Vec::new();
    for _ in 0..5 {
        let (text, end) = generate(&adapter).await;
        assert_eq!(text, RECORDED_TEXT);
        ends.push(
            end.map(|end| end.finish_reason)
                .map_err(|error| error.kind()),
        );
    }
    use FinishReason::{Length, Stop};
    let failed = Err(FaultKind::EngineFailed);
    assert_eq!(ends, [Ok(Stop), Ok(Stop), Ok(Length), failed, failed]);
}

#[tokio::test]
async fn the_end_of_a_full_context_is_a_length_end() {
    let frame = format!("data: {}\n\n", fixture!("completion-context-end.json"));
    let (adapter, _running) = server(|replay| replay.stream([frame], Then::End)).await;
    let mut long = request();
    long.max_tokens = 5000;
    let (text, end) = read(adapter.generate(long).await.unwrap()).await;
    let end = end.unwrap();
    assert_eq!(
        (end.finish_reason, end.tokens_out),
        (FinishReason::Length, 504)
    );
    assert!(text.starts_with("\u{1c}ines$ inter"));
}

// spec: OC-ADAPT-5106, OC-ADAPT-5107, OC-ADAPT-5120, OC-ADAPT-5121
#[tokio::test]
async fn a_request_holds_every_field_of_the_allow_list_and_no_other() {
    let (adapter, running) = server(|replay| replay.stream([RECORDED], Then::End)).await;
    let mut asked = request();
    asked.sampling = Sampling {
        temperature: 1.5,
        top_k: 7,
        top_p: 0.5,
        min_p: 0.25,
        repeat_penalty: 1.125,
        stop: vec!["\n\n".into(), "END".into()],
    };
    read(adapter.generate(asked).await.unwrap())
        .await
        .1
        .unwrap();
    let sent: Value = serde_json::from_str(&running.asked("POST /completion")[0].body).unwrap();
    let expected = json!({
        "prompt": "hello world", "id_slot": 1, "n_predict": 20, "seed": 7,
        "stream": true, "cache_prompt": true,
        "temperature": 1.5, "top_k": 7, "top_p": 0.5, "min_p": 0.25, "repeat_penalty": 1.125,
        "stop": ["\n\n", "END"],
        "repeat_last_n": 64, "presence_penalty": 0.0, "frequency_penalty": 0.0, "typical_p": 1.0,
        "top_n_sigma": -1.0, "xtc_probability": 0.0, "xtc_threshold": 0.1, "dry_multiplier": 0.0,
        "mirostat": 0, "dynatemp_range": 0.0, "n_keep": 0, "ignore_eos": false,
        "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc",
            "temperature"],
    });
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&sent), keys(&expected));
    assert_eq!(sent, expected);
}

// spec: ORCH-3046, OC-ADAPT-5120
#[tokio::test]
async fn the_profile_is_sent_where_a_request_says_nothing() {
    let (adapter, running) = server(|replay| replay.stream([RECORDED], Then::End)).await;
    generate(&adapter).await.1.unwrap();
    let sent: Value = serde_json::from_str(&running.asked("POST /completion")[0].body).unwrap();
    let field = |name: &str| sent[name].clone();
    assert_eq!(field("temperature"), json!(0.8));
    assert_eq!(field("top_k"), json!(40));
    assert_eq!(field("top_p"), json!(0.95));
    assert_eq!(field("min_p"), json!(0.05));
    assert_eq!(field("repeat_penalty"), json!(1.0));
    assert_eq!(field("stop"), json!([]));
}

// spec: OC-ADAPT-5125
#[tokio::test]
async fn a_slot_that_the_server_would_wrap_around_is_refused_before_it_is_asked() {
    let (adapter, running) = server(|_| {}).await;
    let mut outside = request();
    outside.slot = 2;
    let error = adapter.generate(outside).await.err().unwrap();
    assert_eq!(error.kind(), FaultKind::Rejected);
    assert!(running.asked("POST /completion").is_empty());
    assert_eq!(running.asked("GET /props").len(), 1);
}

// spec: OC-ADAPT-5112, OC-ADAPT-5122, OC-ADAPT-5126
#[tokio::test]
async fn refusals_keep_the_servers_words_and_have_their_class() {
    let refused = |status, message: &str| {
        Err(AdapterError::Rejected {
            status,
            message: message.to_owned(),
        })
    };
    let (adapter, _running) = server(|replay| {
        let route = "POST /completion";
        replay.json(route, 400, fixture!("err-too-long.json"));
        replay.json(route, 400, fixture!("err-n-predict.json"));
        replay.json(route, 500, fixture!("err-bad-json.json"));
        replay.json(route, 503, fixture!("health-loading.json"));
        replay.json(route, 401, fixture!("apikey-missing.json"));
        replay.json(route, 200, fixture!("err-too-long.json"));
        replay.json(route, 200, "{\"content\":\"no stream\"}");
    })
    .await;
    let too_long = "request (2801 tokens) exceeds the available context size (512 tokens), \
                    try increasing it";
    assert_eq!(generate(&adapter).await.1, refused(400, too_long));
    let wrong_type = "Field 'n_predict': [json.exception.type_error.302] type must be \
                      number, but is string";
    assert_eq!(generate(&adapter).await.1, refused(400, wrong_type));
    for kind in [
        FaultKind::EngineFailed,
        FaultKind::Unreachable,
        FaultKind::EngineFailed,
    ] {
        assert_eq!(generate(&adapter).await.1.unwrap_err().kind(), kind);
    }
    assert_eq!(generate(&adapter).await.1, refused(400, too_long));
    assert_eq!(
        generate(&adapter).await.1.unwrap_err().kind(),
        FaultKind::Garbled
    );
}
