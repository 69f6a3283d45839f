//! Triton.

use test_harness_fake_engine::Dialect::Triton;
use test_harness_fake_engine::log::Event;

use super::{answering, check_families, replay, replay_one};
use crate::mask::Mask;
use crate::{client, engine, wait_for};

const MASK: Mask = Mask {
    keys: &["cum_log_probs"],
    headers: &[],
};

const SETUP: &str = "model: ensemble\ntriton: {other_models: [{name: broken, loads: false}, {name: plain, loads: true}]}";

// spec: OC-TEST-7302
#[tokio::test]
async fn questions_and_refusals_are_answered_as_by_the_real_server() {
    let numbers = [
        "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "13", "18", "19", "20",
        "21", "22", "23", "26", "28", "29", "30", "50", "51", "55", "87", "88",
    ];
    replay(Triton, SETUP, &MASK, &numbers).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn loading_and_unloading_go_as_with_the_real_server() {
    // In this order: a model that was unloaded makes the whole server unready.
    replay(
        Triton,
        SETUP,
        &MASK,
        &["42", "43", "44", "45", "46", "02", "47", "02"],
    )
    .await;
    let lenient = SETUP.replace("{other", "{strict_readiness: false, other");
    replay(Triton, &lenient, &MASK, &["43", "104"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn generations_are_told_as_by_the_real_server() {
    let said = r#""bun", "gé", "mir", "rar", "ran", "pen""#;
    replay(
        Triton,
        &answering(SETUP, "hello", said),
        &MASK,
        &["14", "15", "16"],
    )
    .await;
    let greedy = r#""da ", "ko ", "min", "hor", "pi ", "zu ""#;
    replay(
        Triton,
        &answering(SETUP, "hello", greedy),
        &MASK,
        &["17", "27"],
    )
    .await;
    replay(
        Triton,
        &answering(SETUP, "hello", r#""yen", "ko ""#),
        &MASK,
        &["25"],
    )
    .await;
    let unseeded = r#""bun", "rur", "ni ", "rur""#;
    replay(
        Triton,
        &answering(SETUP, "hello", unseeded),
        &MASK,
        &["103"],
    )
    .await;
    // 4294967298 tokens are taken for 2.
    replay(
        Triton,
        &answering(SETUP, "a", r#""vin", "ner", "no""#),
        &MASK,
        &["86", "89"],
    )
    .await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_real_ensemble_marks_its_sequences() {
    let setup = "model: real_ensemble\ntriton: {ensemble: true}";
    let said = r#""bun", "gé", "mir", "rar""#;
    replay(
        Triton,
        &answering(setup, " hello ", said),
        &MASK,
        &["65", "67"],
    )
    .await;
    let greedy = r#""da ", "ko ", "min", "hor""#;
    replay(Triton, &answering(setup, " hello ", greedy), &MASK, &["66"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_models_errors_are_told_as_by_the_real_server() {
    let fails = |token: u32, message: &str| {
        format!(
            "{SETUP}\nfaults: [{{at: {{token: {token}}}, fault: {{error_frame: {{message: {message}}}}}}}]"
        )
    };
    let before = fails(0, "model says no before any token");
    replay(Triton, &before, &MASK, &["31", "32"]).await;
    let middle = fails(3, "model failed mid stream");
    let said = r#""har", "yo ", "mun", "x""#;
    replay(Triton, &answering(&middle, "FAILMID", said), &MASK, &["33"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_full_queue_is_told_as_by_the_real_server() {
    let script = "model: limited\noverload_at: 0";
    let engine = engine(Triton, script).await;
    let recorded = crate::fixture::exchange("triton", "61");
    // The recorded model wanted no number of tokens.
    let request = client::post(
        "/v2/models/limited/generate",
        r#"{"text_input": "SLOW", "max_tokens": 1}"#,
    );
    let answer = client::ask(engine.address(), &request).await;
    assert_eq!(answer.head, recorded.head);
    assert_eq!(answer.body, recorded.body);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_dead_backend_is_hidden_by_health_and_healed_by_unload_and_load_alone() {
    let script = format!(
        "{SETUP}\nfaults: [{{at: {{token: 3}}, fault: engine_death, when: {{request: 0}}}}]"
    );
    let engine = engine(Triton, &script).await;
    let body = r#"{"text_input": "x", "max_tokens": 200, "stream": true}"#;
    let mut hung = client::send(
        engine.address(),
        &client::post("/v2/models/ensemble/generate_stream", body),
    )
    .await;
    wait_for(&engine, |event| matches!(event, Event::Faulted { .. })).await;
    assert!(!client::read_some(&mut hung, 300).await.is_empty());
    for number in ["02", "05", "81"] {
        replay_one(&engine, Triton, &MASK, number).await;
    }
    let address = engine.address();
    let act = |verb: &str| client::post(&format!("/v2/repository/models/ensemble/{verb}"), "{}");
    let generate = client::post(
        "/v2/models/ensemble/generate",
        r#"{"text_input": "a", "max_tokens": 2}"#,
    );
    assert_eq!(client::ask(address, &act("load")).await.status(), 200);
    assert_eq!(
        client::ask(address, &generate).await.status(),
        400,
        "load alone heals nothing"
    );
    assert_eq!(client::ask(address, &act("unload")).await.status(), 200);
    assert_eq!(client::ask(address, &act("load")).await.status(), 200);
    assert_eq!(client::ask(address, &generate).await.status(), 200);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn metrics_are_the_real_servers_on_a_port_of_their_own() {
    let engine = engine(Triton, "model: ensemble\ntriton: {trtllm_gauges: true}").await;
    let metrics = client::get("/metrics");
    let address = engine.metrics_address().unwrap();
    assert_eq!(client::ask(engine.address(), &metrics).await.status(), 404);
    let told = client::ask(address, &metrics).await.text();
    let (plain, trtllm) = told.split_at(told.find("# HELP nv_trt_llm").unwrap());
    let needed = ["nv_inference_pending_request_count{model=\"ensemble\",version=\"1\"} 0"];
    check_families(plain, "triton/metrics-families.txt", &needed);
    let needed =
        ["nv_trt_llm_request_metrics{model=\"ensemble\",request_type=\"waiting\",version=\"1\"} 0"];
    check_families(trtllm, "triton/metrics-trtllm-families.txt", &needed);
}
