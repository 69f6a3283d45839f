//! Health, properties, slots, tokens and metrics.

use std::time::Duration;

use serde_json::Value;
use worker_adapters_adapter_api::adapter::{
    EngineMetrics, EngineProps, Health, SlotRelease, SlotState, WorkerAdapter,
};
use worker_adapters_adapter_api::{AdapterError, FaultKind};

use crate::replay::Then;
use crate::{adapter, fixture, server};

// spec: OC-ADAPT-5001, OC-ADAPT-5122
#[tokio::test]
async fn loading_is_not_a_failure_and_ready_is_ready() {
    let (adapter, running) = server(|replay| {
        replay.json("GET /health", 503, fixture!("health-loading.json"));
        replay.json("GET /health", 200, fixture!("health.json"));
        replay.json("GET /health", 200, "{}");
        replay.json("GET /health", 502, "<html>bad gateway</html>");
    })
    .await;
    assert_eq!(adapter.health().await, Ok(Health::Loading));
    assert_eq!(adapter.health().await, Ok(Health::Ready));
    assert_eq!(
        adapter.health().await.unwrap_err().kind(),
        FaultKind::Garbled
    );
    assert_eq!(
        adapter.health().await.unwrap_err().kind(),
        FaultKind::EngineFailed
    );
    let head = running.asked("GET /health")[0].head.to_lowercase();
    assert!(head.contains("authorization: bearer k1"), "{head}");
}

// spec: OC-ADAPT-5011
#[tokio::test]
async fn props_give_version_slots_and_context() {
    let (adapter, _running) = server(|_| {}).await;
    let props = adapter.props().await.unwrap();
    let engine_version = "b1-0c1e570".to_owned();
    assert_eq!(
        props,
        EngineProps {
            engine_version,
            slots: 2,
            ctx_per_slot: 512
        }
    );
}

// spec: OC-ADAPT-5001
#[tokio::test]
async fn slots_tell_who_is_busy() {
    let (adapter, _running) = server(|replay| {
        replay.json("GET /slots", 200, fixture!("slots-idle.json"));
        replay.json("GET /slots", 200, fixture!("slots-busy.json"));
        replay.json("GET /slots", 200, "[{\"id\":0}]");
    })
    .await;
    let state = |index, busy| SlotState { index, busy };
    assert_eq!(
        adapter.slots().await.unwrap(),
        [state(0, false), state(1, false)]
    );
    assert_eq!(
        adapter.slots().await.unwrap(),
        [state(0, true), state(1, true)]
    );
    assert_eq!(
        adapter.slots().await.unwrap_err().kind(),
        FaultKind::Garbled
    );
}

// spec: OC-ADAPT-5127
#[tokio::test]
async fn tokens_are_counted_with_the_special_ones() {
    let (adapter, running) = server(|replay| {
        replay.json("POST /tokenize", 200, fixture!("tokenize-pieces.json"));
        replay.json("POST /tokenize", 200, "{\"tokens\":[1,74,71]}");
    })
    .await;
    assert_eq!(adapter.count_tokens("hello world").await, Ok(8));
    assert_eq!(adapter.count_tokens("h\"\n").await, Ok(3));
    let asked = running.asked("POST /tokenize");
    let body: Value = serde_json::from_str(&asked[1].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "content": "h\"\n", "add_special": true })
    );
}

// spec: OC-ADAPT-5001, OC-ADAPT-5128
#[tokio::test]
async fn metrics_come_under_our_names_with_the_kv_share_of_the_slots() {
    let (adapter, _running) = server(|replay| {
        replay.json("GET /metrics", 200, fixture!("metrics-busy.txt"));
        replay.json("GET /metrics", 200, fixture!("metrics-idle.txt"));
        replay.json("GET /slots", 200, fixture!("slots-busy.json"));
        replay.json("GET /slots", 501, "{}");
    })
    .await;
    let busy = EngineMetrics {
        running: Some(2),
        waiting: Some(4),
        kv_cache_usage_ratio: Some(28.0 / 1024.0),
        tokens_in_total: Some(24),
        tokens_out_total: Some(1130),
    };
    assert_eq!(adapter.metrics().await, Ok(busy));
    let idle = EngineMetrics {
        running: Some(0),
        waiting: Some(0),
        kv_cache_usage_ratio: None,
        tokens_in_total: Some(0),
        tokens_out_total: Some(0),
    };
    assert_eq!(adapter.metrics().await, Ok(idle));
}

// spec: OC-ADAPT-5112
#[tokio::test]
async fn a_wrong_key_is_a_fault_of_the_set_up_and_not_of_the_request() {
    let (adapter, _running) = server(|replay| {
        replay.json("GET /slots", 401, fixture!("apikey-missing.json"));
    })
    .await;
    let error = adapter.slots().await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::EngineFailed);
    assert!(error.to_string().contains("API key") && error.to_string().contains("Invalid API Key"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(
        adapter(base_url).health().await.unwrap_err().kind(),
        FaultKind::Unreachable
    );
}

// spec: ORCH-3016
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (adapter, _running) = server(|replay| replay.raw("GET /slots", "", Then::Hang)).await;
    let waited = Duration::from_secs(10);
    assert_eq!(
        adapter.slots().await,
        Err(AdapterError::TimedOut {
            what: "answer",
            waited
        })
    );
}

#[tokio::test]
async fn an_answer_without_end_is_not_swallowed() {
    let (adapter, _running) = server(|replay| {
        let megabytes = vec![vec![b' '; 1 << 20]; 5];
        let json = (200, "application/json");
        replay.chunked("GET /slots", json, megabytes.clone(), Then::Hang);
        replay.chunked("GET /metrics", (500, "text/plain"), megabytes, Then::Hang);
        replay.chunked("GET /health", json, ["{\"sta"], Then::Cut);
    })
    .await;
    assert_eq!(
        adapter.slots().await.unwrap_err().kind(),
        FaultKind::Garbled
    );
    assert_eq!(
        adapter.metrics().await.unwrap_err().kind(),
        FaultKind::Garbled
    );
    assert_eq!(
        adapter.health().await.unwrap_err().kind(),
        FaultKind::CutOff
    );
}

// spec: ORCH-3017, OC-ADAPT-5111, OC-ADAPT-5124, ORCH-3430
#[tokio::test(start_paused = true)]
async fn a_release_is_confirmed_once_that_very_slot_is_idle() {
    let one_busy = fixture!("slots-idle.json").replacen("false}]", "true}]", 1);
    let (adapter, running) = server(|replay| {
        replay.json("GET /slots", 200, fixture!("slots-busy.json"));
        replay.raw("GET /slots", "", Then::Cut);
        replay.json("GET /slots", 200, &one_busy);
        replay.json("GET /slots", 200, &one_busy);
        replay.json("GET /slots", 200, fixture!("slots-idle.json"));
    })
    .await;
    let within = Duration::from_secs(3);
    assert_eq!(
        adapter.confirm_release(0, within).await,
        SlotRelease::Confirmed
    );
    assert_eq!(running.asked("GET /slots").len(), 3);
    assert_eq!(
        adapter.confirm_release(1, within).await,
        SlotRelease::Confirmed
    );
    assert_eq!(running.asked("GET /slots").len(), 5);
    assert_eq!(
        adapter.confirm_release(9, within).await,
        SlotRelease::Unknown
    );
}
