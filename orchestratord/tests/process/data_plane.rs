//! Submitting, reading and canceling.

use serde_json::json;

use crate::engine::Engine;
use crate::node::{Node, loading_pool, pool, with_pool};
use crate::support::{Daemon, data, eventually, task, text};

const ID: &str = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";

// spec: ORCH-2001, ORCH-2014, ORCH-3025, OC-CTRL-2050, ORCH-2011, OC-POOL-3113
#[tokio::test]
async fn a_submitted_task_is_admitted_runs_and_ends() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let body = task(json!({ "task_id": ID, "session_id": "1d3b7c52-0f6e-4b8a-9a51-6e2f8c704d19" }));
    let reply = daemon.submit(&body).await;
    assert_eq!(reply.status, 202);
    let admission = reply.json();
    assert_eq!(reply.header("location"), format!("/v1/tasks/{ID}"));
    assert_eq!(admission["task_id"], ID);
    assert_eq!(
        admission["session_id"],
        "1d3b7c52-0f6e-4b8a-9a51-6e2f8c704d19"
    );
    assert_eq!(
        admission["correlation_id"],
        reply.header("x-correlation-id")
    );
    assert_eq!(admission["queue_position"], 0);
    assert_eq!(admission["stream_url"], format!("/v1/tasks/{ID}/stream"));

    let mut generation = engine.generation().await;
    assert_eq!(generation.request["prompt"], "moon");
    assert_eq!(generation.request["seed"], 7);
    assert_eq!(generation.request["n_predict"], 32);
    generation.say("pale ").await;
    generation.say("moon").await;
    let running = daemon.task_in(ID, "running").await;
    assert_eq!(running["placement"]["replica_id"], "p0-0");
    generation.end().await;

    let done = daemon.task_in(ID, "done").await;
    assert_eq!(done["tokens_in"], 4);
    assert_eq!(done["tokens_out"], 2);
    assert_eq!(done["decode_time_ms"], 10);
    assert_eq!(done["finish_reason"], "stop");
    assert_eq!(done["seed"], 7);
    let events = daemon.follow(ID, None).await.rest().await;
    assert_eq!(text(&events), "pale moon");
    assert_eq!(
        data(events.last().unwrap())["text_digest"],
        done["text_digest"]
    );
}

// spec: ORCH-3462, ORCH-3463
#[tokio::test]
async fn a_repeat_gets_the_same_answer_and_another_body_a_conflict() {
    let (daemon, mut engine, _node) = with_pool(2).await;
    let body = task(json!({ "task_id": ID }));
    let first = daemon.submit(&body).await;
    assert_eq!(first.status, 202);
    let repeat = daemon
        .submit(&task(json!({ "task_id": ID, "priority": "interactive" })))
        .await;
    assert_eq!((repeat.status, repeat.json()), (first.status, first.json()));
    let other = daemon
        .submit(&task(json!({ "task_id": ID, "prompt": "sun" })))
        .await;
    other.check_refused(409, "CONFLICT", Some("task_id"));
    let mut generation = engine.generation().await;
    generation.say("x").await;
    assert!(!engine.has_generation(), "the repeat was run");
}

// spec: ORCH-2003, ORCH-3026, ORCH-3428, OC-CTRL-2012
#[tokio::test]
async fn a_cancel_while_tokens_flow_ends_the_stream_and_the_generation() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    generation.say("one").await;
    let mut reader = daemon.follow(&id, None).await;
    reader.event("token").await;

    let reply = daemon.cancel(&id).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    let sealed = daemon.follow(&id, None).await.rest().await;
    generation.say("two").await;
    generation.closed().await;
    let rest = reader.rest().await;
    assert_eq!(text(&rest), "", "a token came after the cancel");
    let end = rest.last().unwrap();
    assert_eq!(
        (end.name.as_str(), &data(end)["finish_reason"]),
        ("end", &json!("canceled"))
    );
    assert_eq!(daemon.follow(&id, None).await.rest().await, sealed);
    assert_eq!(daemon.task(&id).await["state"], "canceled");

    // The engine still holds the slot, so the next task waits until it lets go.
    let next = daemon.submitted(&task(json!({}))).await;
    assert_eq!(daemon.task(&next).await["state"], "queued");
    drop(generation);
    engine.generation().await.end().await;
    daemon.task_in(&next, "done").await;
}

// spec: ORCH-2003, OC-CORE-1005
#[tokio::test]
async fn a_queued_task_that_is_canceled_never_runs_and_a_second_cancel_is_fine() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let running = daemon.submitted(&task(json!({}))).await;
    let generation = engine.generation().await;
    let queued = daemon.submitted(&task(json!({}))).await;
    assert_eq!(daemon.task(&queued).await["queue_position"], 0);
    for _ in 0..2 {
        assert_eq!(daemon.cancel(&queued).await.status, 204);
    }
    generation.end().await;
    daemon.task_in(&running, "done").await;
    assert_eq!(daemon.cancel(&running).await.status, 204);
    assert_eq!(daemon.task(&running).await["state"], "done");
    let events = daemon.follow(&queued, None).await.rest().await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["end"]);
    assert!(!engine.has_generation(), "the canceled task was run");
}

// spec: ORCH-2007, OC-CTRL-2011
#[tokio::test]
async fn a_full_queue_answers_when_to_come_back() {
    let daemon = Daemon::start().await;
    let mut engine = Engine::start(1).await;
    let mut tight = pool("p0", &engine, 1);
    tight["queue"]["capacity"] = json!(1);
    Node::new("host-a").push(&daemon, json!([tight])).await;
    daemon.submitted(&task(json!({}))).await;
    let _running = engine.generation().await;
    daemon.submitted(&task(json!({}))).await;
    let refused = daemon.submit(&task(json!({}))).await;
    refused.check_refused(429, "ADMISSION_REJECT", None);
    let body = refused.json();
    assert_eq!(body["policy_label"], "reject");
    assert_eq!(
        (&body["engine"], &body["pool_id"]),
        (&json!("llamacpp"), &json!("p0"))
    );
    assert_eq!(body["retriable"], true);
    let wait_ms = body["retry_after_ms"].as_u64().unwrap();
    assert_eq!(refused.header("x-backoff-ms"), wait_ms.to_string());
    assert_eq!(
        refused.header("retry-after"),
        wait_ms.div_ceil(1000).max(1).to_string()
    );
    let rejected = r#"tasks_rejected_total{engine="llamacpp",reason="ADMISSION_REJECT"}"#;
    assert_eq!(daemon.series(rejected).await, 1.0);
}

// spec: ORCH-3460
#[tokio::test]
async fn a_task_for_a_pool_that_is_loading_waits_for_it() {
    let daemon = Daemon::start().await;
    let mut engine = Engine::start(1).await;
    let mut node = Node::new("host-a");
    node.push(&daemon, json!([loading_pool("p0", &engine)]))
        .await;
    let id = daemon.submitted(&task(json!({}))).await;
    assert_eq!(daemon.task(&id).await["state"], "queued");
    node.push(&daemon, json!([pool("p0", &engine, 1)])).await;
    engine.generation().await.end().await;
    daemon.task_in(&id, "done").await;
}

// spec: ORCH-3426, ORCH-3427
#[tokio::test]
async fn a_reader_that_leaves_cancels_only_a_task_that_wants_it() {
    let (daemon, mut engine, _node) = with_pool(2).await;
    let keep = daemon.submitted(&task(json!({}))).await;
    let mut kept = engine.generation().await;
    let cancel = daemon
        .submitted(&task(json!({ "on_disconnect": "cancel" })))
        .await;
    let mut canceled = engine.generation().await;
    for (id, generation) in [(&keep, &mut kept), (&cancel, &mut canceled)] {
        generation.say("one").await;
        let mut reader = daemon.follow(id, None).await;
        reader.event("token").await;
        drop(reader);
    }
    canceled.closed().await;
    assert_eq!(
        daemon.task_in(&cancel, "canceled").await["finish_reason"],
        "canceled"
    );
    kept.end().await;
    daemon.task_in(&keep, "done").await;
}

// spec: ORCH-3455
#[tokio::test]
async fn a_task_that_reaches_its_deadline_ends_with_an_error() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({ "deadline_ms": 300 }))).await;
    let mut generation = engine.generation().await;
    generation.say("one").await;
    let events = daemon.follow(&id, None).await.rest().await;
    let error = data(events.last().unwrap());
    assert_eq!(
        (&error["code"], &error["partial"]),
        (&json!("DEADLINE_UNMET"), &json!(true))
    );
    generation.closed().await;
    assert_eq!(daemon.task(&id).await["error"]["code"], "DEADLINE_UNMET");
}

// spec: ORCH-3416, ORCH-3018
#[tokio::test]
async fn an_engine_that_breaks_off_after_text_gives_one_error_and_the_slot_comes_back() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    generation.say("one").await;
    daemon.follow(&id, None).await.event("token").await;
    drop(generation);
    let failed = daemon.task_in(&id, "failed").await;
    assert_eq!(failed["error"]["code"], "WORKER_RESET");
    assert_eq!(failed["error"]["partial"], true);
    let next = daemon.submitted(&task(json!({}))).await;
    engine.generation().await.end().await;
    daemon.task_in(&next, "done").await;
}

// spec: OC-METRICS-7101, ORCH-3028
#[tokio::test]
async fn the_series_count_what_happened() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    let canceled = daemon
        .submitted(&task(json!({ "priority": "batch" })))
        .await;
    let at = r#"engine="llamacpp",engine_version="b1-test",pool_id="p0""#;
    let depth = format!(r#"queue_depth{{{at},priority="batch"}}"#);
    eventually(|| async { (daemon.series(&depth).await == 1.0).then_some(()) }).await;
    daemon.cancel(&canceled).await;
    generation.say("one").await;
    generation.end().await;
    daemon.task_in(&id, "done").await;
    let on = format!(r#"{at},replica_id="p0-0""#);
    for (series, value) in [
        (
            format!(r#"tasks_enqueued_total{{{at},priority="interactive",replica_id="none"}}"#),
            1.0,
        ),
        (
            format!(r#"tasks_started_total{{{at},priority="interactive",replica_id="p0-0"}}"#),
            1.0,
        ),
        (
            format!(r#"tasks_canceled_total{{{at},reason="client",replica_id="none"}}"#),
            1.0,
        ),
        (format!("tokens_in_total{{{on}}}"), 4.0),
        (format!("tokens_out_total{{{on}}}"), 1.0),
        (
            format!(r#"latency_first_token_ms_count{{{at},priority="interactive"}}"#),
            1.0,
        ),
        (depth, 0.0),
    ] {
        assert_eq!(daemon.series(&series).await, value, "{series}");
    }
}
