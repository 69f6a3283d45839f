//! Pools, nodes, capabilities and probes.

use contracts_api_types::API_VERSION;
use serde_json::{Value, json};

use crate::engine::{CTX, Engine};
use crate::node::{DIGEST, Node, loading_pool, pool, push, with_pool};
use crate::support::{Daemon, task};

// spec: ORCH-3095, ORCH-3096, OC-CTRL-2060, OC-CTRL-2061
#[tokio::test]
async fn capabilities_show_what_the_pools_can_do() {
    let daemon = Daemon::start().await;
    let none = daemon.get("/v1/capabilities").await;
    assert_eq!(
        none.json(),
        json!({ "api_version": API_VERSION, "pools": [] })
    );
    let engine = Engine::start(2).await;
    Node::new("host-a")
        .push(&daemon, json!([pool("p0", &engine, 2)]))
        .await;
    let shown = daemon.get("/v1/capabilities").await.json();
    let pool = &shown["pools"][0];
    assert_eq!(pool["pool_id"], "p0");
    assert_eq!(pool["ctx_max"], CTX);
    assert_eq!(pool["concurrency"], 2);
    assert_eq!(pool["model_digest"], DIGEST);
    assert_eq!(pool["engine_version"], "b1-test");
    assert_eq!(pool["device_class"], "cpu-ci");
    assert!(
        pool["models"].as_array().unwrap().contains(&json!("haiku")),
        "{pool}"
    );
}

// spec: ORCH-2105
#[tokio::test]
async fn pools_are_listed_with_their_replicas_and_load() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    daemon.submitted(&task(json!({}))).await;
    let _running = engine.generation().await;
    daemon
        .submitted(&task(json!({ "priority": "batch" })))
        .await;
    let pools = daemon.get("/v1/pools").await.json();
    assert_eq!(pools.as_array().unwrap().len(), 1);
    let pool = &pools[0];
    assert_eq!(
        (&pool["id"], &pool["node_id"]),
        (&json!("p0"), &json!("host-a"))
    );
    assert_eq!(
        (&pool["queued_interactive"], &pool["queued_batch"]),
        (&json!(0), &json!(1))
    );
    let replica = &pool["replicas"][0];
    assert_eq!(
        (&replica["phase"], &replica["busy"]),
        (&json!("ready"), &json!(1))
    );
    assert!(
        !pools.to_string().contains(crate::engine::KEY),
        "the worker's key is shown"
    );
}

// spec: ORCH-2103, OC-CTRL-2001
#[tokio::test]
async fn a_pools_health_says_whether_it_takes_work_and_why_not() {
    let daemon = Daemon::start().await;
    let engine = Engine::start(1).await;
    let mut node = Node::new("host-a");
    node.push(&daemon, json!([loading_pool("p0", &engine)]))
        .await;
    let loading = daemon.get("/v1/pools/p0/health").await.json();
    assert_eq!(
        (&loading["live"], &loading["ready"]),
        (&json!(true), &json!(false))
    );
    assert!(
        loading["last_error"]
            .as_str()
            .unwrap()
            .contains("the model is loading"),
        "{loading}"
    );
    node.push(&daemon, json!([pool("p0", &engine, 1)])).await;
    let ready = daemon.get("/v1/pools/p0/health").await.json();
    assert_eq!(
        (&ready["ready"], &ready["draining"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&ready["device_class"], &ready["metrics"]["slots"]),
        (&json!("cpu-ci"), &json!(1))
    );
    let unknown = daemon.get("/v1/pools/p1/health").await;
    unknown.check_refused(404, "NOT_FOUND", None);
    assert_eq!(unknown.json()["pool_id"], "p1");
    daemon
        .get("/v1/pools/..%2f..%2fetc/health")
        .await
        .check_refused(400, "INVALID_PARAMS", Some("pool_id"));
}

// spec: ORCH-3403
#[tokio::test]
async fn whoever_has_an_answer_sees_what_the_call_changed() {
    let daemon = Daemon::start().await;
    let engine = Engine::start(1).await;
    let mut node = Node::new("host-a");
    for _ in 0..40 {
        node.push(&daemon, json!([loading_pool("p0", &engine)]))
            .await;
        assert_eq!(
            daemon.get("/v1/pools/p0/health").await.json()["ready"],
            false
        );
        node.push(&daemon, json!([pool("p0", &engine, 1)])).await;
        assert_eq!(
            daemon.get("/v1/pools/p0/health").await.json()["ready"],
            true
        );
    }
}

// spec: ORCH-2105, ORCH-3403, ORCH-3500
#[tokio::test]
async fn nodes_register_with_their_token_and_get_a_lease() {
    let daemon = Daemon::start().await;
    let engine = Engine::start(1).await;
    let mut node = Node::new("host-a");
    let lease = node.push(&daemon, json!([pool("p0", &engine, 1)])).await;
    assert_eq!(lease.status, 200);
    let lease = lease.json();
    assert!(
        lease["lease_ms"].as_u64().unwrap() > lease["renew_ms"].as_u64().unwrap(),
        "{lease}"
    );
    let nodes = daemon.get("/v1/nodes").await.json();
    assert_eq!(
        (&nodes[0]["id"], &nodes[0]["live"]),
        (&json!("host-a"), &json!(true))
    );
    assert_eq!(nodes[0]["pools"], json!(["p0"]));
    assert_eq!(nodes[0]["version"], "0.1.0");
}

// spec: ORCH-3403
#[tokio::test]
async fn a_push_that_cannot_be_taken_changes_nothing() {
    let daemon = Daemon::start().await;
    let engine = Engine::start(1).await;
    let mut node = Node::new("host-a");
    let state = node.state(json!([pool("p0", &engine, 1)]));
    let put = |token: String, state: Value| {
        let daemon = &daemon;
        async move { push(daemon, "host-b", &token, &state).await }
    };
    let token = daemon.node_token();
    put("0".repeat(64), state.clone())
        .await
        .check_refused(401, "UNAUTHORIZED", None);
    let mut unknown = state.clone();
    unknown["pools"][0]["colour"] = json!("red");
    put(token.clone(), unknown)
        .await
        .check_refused(400, "INVALID_PARAMS", Some("pools[0].colour"));
    let mut zero = state.clone();
    zero["pools"][0]["ctx"] = json!(0);
    put(token.clone(), zero)
        .await
        .check_refused(400, "INVALID_PARAMS", Some("pools[0].ctx"));
    assert_eq!(daemon.get("/v1/nodes").await.json(), json!([]));

    node.push(&daemon, json!([pool("p0", &engine, 1)])).await;
    let taken = put(token.clone(), state.clone()).await;
    taken.check_refused(409, "CONFLICT", Some("pools"));
    assert_eq!(taken.json()["pool_id"], "p0");
    push(&daemon, "a%20b", &token, &state).await.check_refused(
        400,
        "INVALID_PARAMS",
        Some("node_id"),
    );
}

// spec: OC-CTRL-2139
#[tokio::test]
async fn the_probes_tell_alive_from_ready() {
    let daemon = Daemon::start().await;
    assert_eq!(daemon.get("/healthz").await.status, 200);
    let waiting = daemon.get("/readyz").await;
    waiting.check_refused(503, "POOL_UNAVAILABLE", None);
    let engine = Engine::start(1).await;
    let mut node = Node::new("host-a");
    node.push(&daemon, json!([loading_pool("p0", &engine)]))
        .await;
    daemon
        .get("/readyz")
        .await
        .check_refused(503, "POOL_UNREADY", None);
    node.push(&daemon, json!([pool("p0", &engine, 1)])).await;
    assert_eq!(daemon.get("/readyz").await.status, 200);
}

// spec: ORCH-3028, OC-CTRL-2051
#[tokio::test]
async fn the_series_are_in_the_text_format() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    engine.generation().await.end().await;
    daemon.task_in(&id, "done").await;
    let reply = daemon.get("/metrics").await;
    assert_eq!(
        reply.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(
        text.contains("# TYPE tasks_enqueued_total counter\n"),
        "{text}"
    );
    assert!(!text.contains(&id), "a task id became a label");
}
