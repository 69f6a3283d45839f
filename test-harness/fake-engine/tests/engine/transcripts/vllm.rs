//! vLLM.

use test_harness_fake_engine::Dialect::Vllm;
use test_harness_fake_engine::log::Event;

use super::{answering, check_families, replay, replay_one};
use crate::mask::Mask;
use crate::{client, engine, fixture, wait_for};

const MASK: Mask = Mask {
    keys: &["id", "created"],
    headers: &["date"],
};

/// Where the client names the request, its id is compared.
const MASK_KEEPING_IDS: Mask = Mask {
    keys: &["created"],
    headers: &["date"],
};

/// Where the server names the request, nothing can be compared but that it does.
const MASK_OF_NAMES: Mask = Mask {
    keys: &["id", "created"],
    headers: &["date", "x-request-id"],
};

const SETUP: &str = "ctx: 512";

const GREEDY: &str = r#"219, "ro", "-", "able", " inter", 224, "ro", "es""#;

// spec: OC-TEST-7302
#[tokio::test]
async fn questions_and_refusals_are_answered_as_by_the_real_server() {
    let numbers = [
        "01", "02", "03", "04", "05", "06", "23", "24", "25", "26", "27", "28", "29", "30", "31",
        "32", "33", "34", "35", "38", "39", "40", "42", "43", "44", "99",
    ];
    replay(Vllm, SETUP, &MASK, &numbers).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn generations_are_told_as_by_the_real_server() {
    let script = answering(SETUP, "hello world", GREEDY);
    replay(
        Vllm,
        &script,
        &MASK,
        &["08", "11", "12", "13", "14", "20", "41"],
    )
    .await;
    replay(Vllm, &script, &MASK_KEEPING_IDS, &["17"]).await;
    let seeded = r#"255, " or", "fer", "der", "ding", 255, " inter", "p""#;
    replay(
        Vllm,
        &answering(SETUP, "hello world", seeded),
        &MASK,
        &["09"],
    )
    .await;
    let stopped = r#"219, 217, " perm""#;
    replay(
        Vllm,
        &answering(SETUP, "hello world", stopped),
        &MASK,
        &["18"],
    )
    .await;
    let continued = r#""icen", " c", "icen""#;
    replay(Vllm, &answering(SETUP, "hell", continued), &MASK, &["16"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn defaults_and_odd_flags_are_taken_as_by_the_real_server() {
    let longest = r#"" inter", " d", " d", " d", 255, "   ", 255, "ding", "=", " O", "ater", 255, "fer",
                     "   ", "ater", "   ""#;
    replay(
        Vllm,
        &answering(SETUP, "hello", longest),
        &MASK,
        &["100", "102"],
    )
    .await;
    replay(
        Vllm,
        &answering(SETUP, "hello", "\"ay\", 130, \"x\""),
        &MASK,
        &["101"],
    )
    .await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_key_guards_the_api_and_request_ids_are_shown() {
    let setup = format!("{SETUP}\napi_key: sekrit\nvllm: {{request_id_headers: true}}");
    let script = answering(&setup, "hello", r#"" inter", " d", " d""#);
    replay(Vllm, &script, &MASK_KEEPING_IDS, &["63"]).await;
    replay(
        Vllm,
        &script,
        &MASK_OF_NAMES,
        &["61", "62", "64", "67", "68"],
    )
    .await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_full_queue_is_told_as_by_the_real_server() {
    let script = format!("{SETUP}\noverload_at: 0");
    replay(Vllm, &script, &MASK, &["90", "91"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_body_is_waited_for_with_100_continue() {
    let engine = engine(Vllm, SETUP).await;
    let head = b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n\
                 Content-Length: 36\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = client::send(engine.address(), head).await;
    let told = client::read_some(&mut stream, 25).await;
    assert_eq!(told, b"HTTP/1.1 100 Continue\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"{\"prompt\": \"hello\", \"max_tokens\": 2}")
        .await
        .unwrap();
    assert_eq!(client::read_answer(&mut stream).await.status(), 200);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn metrics_are_a_part_of_the_real_servers() {
    let engine = engine(Vllm, SETUP).await;
    let answer = client::ask(engine.address(), &client::get("/metrics")).await;
    let needed = [
        "vllm:num_requests_running{engine=\"0\",model_name=\"tiny\"} 0.0",
        "vllm:num_requests_waiting{engine=\"0\",model_name=\"tiny\"} 0.0",
        "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"tiny\",reason=\"capacity\"} 0.0",
        "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"tiny\"} 0.0",
        "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"tiny\"} 0.0",
        "vllm:admission_rejections_total{model_name=\"tiny\",reason=\"max_num_queued_reqs\"} 0.0",
    ];
    check_families(&answer.text(), "vllm/metrics-families.txt", &needed);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_request_while_it_stops_is_refused_as_by_the_real_server() {
    let script = format!("{SETUP}\nfaults: [{{at: {{token: 2}}, fault: {{stall: {{}}}}}}]");
    let engine = engine(Vllm, &script).await;
    let ask = client::post("/v1/completions", r#"{"prompt": "a", "stream": true}"#);
    let _stalled = client::send(engine.address(), &ask).await;
    wait_for(&engine, |event| matches!(event, Event::Faulted { .. })).await;
    let asking = async {
        wait_for(&engine, |event| *event == Event::Terminating).await;
        replay_one(&engine, Vllm, &MASK, "74").await;
    };
    tokio::join!(engine.terminate(), asking);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_dead_engine_is_told_as_by_the_real_server() {
    let script = format!(
        "{SETUP}\nvllm: {{request_id_headers: true}}\nfaults: [{{at: {{token: 3}}, fault: engine_death}}]"
    );
    let engine = engine(Vllm, &script).await;
    let recorded = fixture::exchange("vllm", "71");
    let answer = client::ask(engine.address(), &recorded.request).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.body, recorded.body);
    assert_eq!(
        MASK_OF_NAMES.head(&answer.head, &answer.body),
        MASK_OF_NAMES.head(&recorded.head, &recorded.body)
    );
}
