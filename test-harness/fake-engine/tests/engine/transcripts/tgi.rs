//! TGI: its router before the llama.cpp backend, and before the v3 backend.

use test_harness_fake_engine::Dialect::Tgi;

use super::{answering, check_families, replay};
use crate::mask::Mask;
use crate::{client, engine};

const HEADERS: &[&str] = &[
    "date",
    "x-compute-time",
    "x-total-time",
    "x-validation-time",
    "x-queue-time",
    "x-inference-time",
    "x-time-per-token",
];

const MASK: Mask = Mask {
    keys: &["logprob", "created"],
    headers: HEADERS,
};

/// The fake shard behind the v3 router had words that no vocabulary has.
const MASK_V3: Mask = Mask {
    keys: &["id", "created"],
    headers: HEADERS,
};

const LLAMACPP: &str = "ctx: 500\noverload_at: 4\n\
                        tgi: {backend: llamacpp, max_input_tokens: 200, max_best_of: 0, max_stop_sequences: 0}";

const V3: &str = "ctx: 1000\noverload_at: 6\napi_key: sekrit\n\
                  tgi: {max_input_tokens: 200, max_best_of: 2, max_stop_sequences: 4}";

const SEEDED: &str = r#""\\", "-", "cl", " l", " as", "ork", "fer", "~""#;

// spec: OC-TEST-7302
#[tokio::test]
async fn questions_and_refusals_are_answered_as_by_the_real_router() {
    let numbers = [
        "01", "02", "03", "04", "05", "17", "22", "23", "25", "26", "27", "28", "29", "30", "32",
        "33", "34", "35", "36", "37", "38", "39", "40", "41",
    ];
    replay(Tgi, LLAMACPP, &MASK, &numbers).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn generations_are_told_as_by_the_llamacpp_backend() {
    let script = answering(LLAMACPP, "hello world", SEEDED);
    let numbers = ["06", "07", "09", "10", "12", "13", "14", "15", "20", "42"];
    replay(Tgi, &script, &MASK, &numbers).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn an_overloaded_router_says_so_in_a_200_when_it_streams() {
    let script = LLAMACPP.replace("overload_at: 4", "overload_at: 0");
    replay(Tgi, &script, &MASK, &["52", "53", "54"]).await;
    let script = V3.replace("overload_at: 6", "overload_at: 0");
    replay(Tgi, &script, &MASK_V3, &["102", "103"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn generations_are_told_as_by_the_v3_backend() {
    let words = r#"" w112", " w119", " w126", " w133", " w140""#;
    replay(
        Tgi,
        &answering(V3, "hello world", words),
        &MASK_V3,
        &["80", "86", "87"],
    )
    .await;
    let greedy = r#"" w130", " w137", " w144", " w151", " w158""#;
    replay(
        Tgi,
        &answering(V3, "hello world", greedy),
        &MASK_V3,
        &["88"],
    )
    .await;
    replay(Tgi, V3, &MASK_V3, &["82", "83", "84", "85"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn errors_of_the_shard_are_told_as_by_the_v3_backend() {
    let script = |token: u32, message: &str| {
        format!(
            "{V3}\nfaults: [{{at: {{token: {token}}}, fault: {{error_frame: {{message: {message:?}}}}}}}]"
        )
    };
    let start = "Request failed during generation: Server error: CUDA ";
    let oom = script(
        0,
        &format!("{start}out of memory. Tried to allocate 2.00 GiB"),
    );
    replay(Tgi, &oom, &MASK_V3, &["90", "91"]).await;
    let assert = script(3, &format!("{start}error: device-side assert triggered"));
    let words = r#"" w112", " w119", " w126", " w133""#;
    replay(
        Tgi,
        &answering(&assert, "FAILMID", words),
        &MASK_V3,
        &["94", "95"],
    )
    .await;
    let others = r#"" w134", " w141", " w148", " w155""#;
    replay(
        Tgi,
        &answering(&assert, "FAILMID", others),
        &MASK_V3,
        &["96"],
    )
    .await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_dead_shard_shows_in_health_and_in_every_answer() {
    let script =
        format!("{V3}\nfaults: [{{at: {{token: 7}}, fault: engine_death, when: {{request: 0}}}}]");
    let engine = engine(Tgi, &script).await;
    let body = r#"{"inputs": "hello world", "parameters": {"max_new_tokens": 200}}"#;
    let request = String::from_utf8(client::post("/generate_stream", body)).unwrap();
    let request = request.replacen(
        "Host: engine",
        "Host: engine\r\nAuthorization: Bearer sekrit",
        1,
    );
    let killed = client::ask(engine.address(), request.as_bytes()).await;
    let last = killed.events().pop().unwrap();
    assert_eq!(
        last,
        r#"{"error":"Request failed during generation: Server error: transport error","error_type":"generation"}"#
    );
    for number in ["106", "107"] {
        super::replay_one(&engine, Tgi, &MASK_V3, number).await;
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn metrics_are_a_part_of_the_real_routers() {
    let engine = engine(Tgi, V3).await;
    let request = String::from_utf8(client::post("/generate", r#"{"inputs": "x"}"#)).unwrap();
    let request = request.replacen(
        "Host: engine",
        "Host: engine\r\nAuthorization: Bearer SEKRIT",
        1,
    );
    assert_eq!(
        client::ask(engine.address(), request.as_bytes())
            .await
            .status(),
        200
    );
    let answer = client::ask(engine.address(), &client::get("/metrics")).await;
    let needed = [
        "tgi_queue_size 0",
        "tgi_batch_current_size 0",
        "tgi_request_count 1",
        "tgi_request_success 1",
    ];
    check_families(&answer.text(), "tgi/metrics-families.txt", &needed);
}
