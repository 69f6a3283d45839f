//! Each endpoint of the agent, and the cause that each kind of bad pool shows there.

use contracts_api_types::node::{NodeState, WorkerPhase};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Agent, engine, home, pool};

/// An agent whose only pool has no model.
fn without_model(dir: &tempfile::TempDir) -> Agent {
    engine(dir.path(), "exit 1");
    Agent::start(dir.path(), &[pool(json!({ "model": "file:missing.gguf" }))])
}

// spec: ORCH-3403, OC-POOL-3003
#[tokio::test]
async fn the_node_shows_its_whole_state() {
    let dir = home();
    let agent = without_model(&dir);
    let cause = agent.broken_cause().await;
    let state: NodeState = serde_json::from_value(agent.read("/v1/node").await).unwrap();
    assert_eq!(state.api_url, agent.base);
    let [pool] = state.pools.as_slice() else {
        panic!("{state:?}")
    };
    assert_eq!((pool.id.as_str(), pool.ctx, pool.slots), ("haiku", 4096, 1));
    assert_eq!(pool.aliases, ["missing", "missing.gguf"]);
    assert_eq!(pool.replicas[0].phase, WorkerPhase::Broken);
    assert_eq!(pool.replicas[0].cause.as_deref(), Some(cause.as_str()));
    assert!(pool.replicas[0].endpoint.is_none());
}

// spec: OC-POOL-3003, OC-POOL-3130
#[tokio::test]
async fn a_pool_shows_its_state_and_the_last_lines_of_its_workers() {
    let dir = home();
    engine(
        dir.path(),
        "echo first words; echo last words >&2; sleep 600",
    );
    let pools = [
        pool(json!({ "replicas": 2 })),
        pool(json!({ "id": "other" })),
    ];
    let agent = Agent::start(dir.path(), &pools);
    agent.wait_line("first words").await;
    agent.wait_line("last words").await;
    let pool = agent
        .wait_worker("it starts", |worker| worker["phase"] == "starting")
        .await;
    assert_eq!(pool["state"]["id"], "haiku");
    assert_eq!(pool["state"]["engine_version"], "b336-0c1e570");
    let digest = pool["state"]["model_digest"].as_str().unwrap();
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );
    let ids: Vec<_> = pool["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["replica_id"])
        .collect();
    assert_eq!(ids, ["haiku-0", "haiku-1"]);
    assert_eq!(agent.read("/v1/pools/other").await["state"]["id"], "other");
}

#[tokio::test]
async fn an_unknown_pool_path_or_name_is_a_typed_refusal() {
    let dir = home();
    let agent = without_model(&dir);
    let answer = agent.get_as("/v1/pools/sonnet", agent.token()).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["code"], &body["details"]["available"]),
        (&json!("NOT_FOUND"), &json!(["haiku"]))
    );
    let answer = agent.get_as("/v1/pools/%ff", agent.token()).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["details"]["field"],
        "pool_id"
    );
    let answer = agent.get("/v2/pools").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "NOT_FOUND");
}

// spec: OC-POOL-3115, ORCH-3501, ORCH-2009
#[tokio::test]
async fn what_is_below_v1_needs_the_node_token_and_every_answer_carries_an_id() {
    let dir = home();
    let agent = without_model(&dir);
    for path in ["/v1/node", "/v1/pools/haiku"] {
        for answer in [agent.get(path).await, agent.get_as(path, "wrong").await] {
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            let id = answer.headers()["x-correlation-id"]
                .to_str()
                .unwrap()
                .to_owned();
            let body: Value = answer.json().await.unwrap();
            assert_eq!(
                (&body["code"], &body["correlation_id"]),
                (&json!("UNAUTHORIZED"), &json!(id))
            );
        }
        assert_eq!(
            agent.get_as(path, agent.token()).await.status(),
            StatusCode::OK,
            "{path}"
        );
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(format!("{}/healthz", agent.base))
        .header("X-Correlation-Id", "me-7");
    assert_eq!(
        request.send().await.unwrap().headers()["x-correlation-id"],
        "me-7"
    );
}

#[tokio::test]
async fn health_names_this_start_of_the_agent() {
    let dir = home();
    let agent = without_model(&dir);
    let node = agent.read("/v1/node").await;
    let said = agent.get("/healthz").await.text().await.unwrap();
    assert_eq!(
        said,
        format!("ok {}\n", node["incarnation"].as_str().unwrap())
    );
    let earlier = said;
    assert_eq!(agent.stop().code(), Some(0));
    let agent = without_model(&dir);
    assert_ne!(agent.get("/healthz").await.text().await.unwrap(), earlier);
}

// spec: OC-POOL-3001, OC-POOL-3003
#[tokio::test]
async fn readiness_names_the_pool_and_the_cause_and_holds_without_pools() {
    let dir = home();
    let agent = without_model(&dir);
    agent.broken_cause().await;
    let answer = agent.get("/readyz").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (&body["code"], &body["pool_id"]),
        (&json!("POOL_UNREADY"), &json!("haiku"))
    );
    assert!(
        body["message"].as_str().unwrap().contains("missing.gguf"),
        "{body}"
    );
    assert_eq!(agent.stop().code(), Some(0));
    let agent = Agent::start(dir.path(), &[]);
    let answer = agent.get("/readyz").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await.unwrap(), "ready\n");
}

// spec: ORCH-3028, OC-POOL-3030
#[tokio::test]
async fn metrics_count_attempts_and_restarts() {
    let dir = home();
    engine(dir.path(), "exit 3");
    let agent = Agent::start(dir.path(), &[pool(json!({}))]);
    agent.broken_cause().await;
    let answer = agent.get("/metrics").await;
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = answer.text().await.unwrap();
    let labels = r#"engine="llamacpp",engine_version="b336-0c1e570""#;
    for line in [
        format!(r#"pool_preloads_total{{{labels},outcome="start",pool_id="haiku"}} 5"#),
        format!(
            r#"worker_restarts_total{{{labels},pool_id="haiku",reason="start",replica_id="haiku-0"}} 4"#
        ),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// The cause that `changes` to a pool lead to, for an engine that would do `body`.
async fn cause_of(changes: Value, body: &str) -> String {
    let dir = home();
    std::fs::write(dir.path().join("model.zip"), b"PK\x03\x04").unwrap();
    engine(dir.path(), body);
    let agent = Agent::start(dir.path(), &[pool(changes)]);
    let cause = agent.broken_cause().await;
    assert!(cause.contains("5 starts failed"), "{cause}");
    assert_eq!(agent.stop().code(), Some(0));
    cause
}

// spec: OC-POOL-3003, OC-POOL-3122, OC-POOL-3130, OC-POOL-3165, REF-1010
#[tokio::test]
async fn a_missing_file_a_wrong_file_and_a_missing_engine_are_named() {
    let cause = cause_of(json!({ "model": "file:missing.gguf" }), "exit 1").await;
    assert!(cause.contains("missing.gguf does not exist"), "{cause}");
    let cause = cause_of(json!({ "model": "file:model.zip" }), "exit 1").await;
    assert!(cause.contains("model.zip is not a GGUF file"), "{cause}");
    let provisioning = json!({ "mode": "binary", "binary": "no-such-engine" });
    let cause = cause_of(json!({ "provisioning": provisioning }), "exit 1").await;
    assert!(cause.contains("no-such-engine"), "{cause}");
}

// spec: OC-POOL-3003, OC-POOL-3130
#[tokio::test]
async fn an_engine_that_ends_at_its_start_is_quoted_and_explained() {
    let cause = cause_of(
        json!({}),
        "echo 'E cudaMalloc failed: out of memory' >&2; exit 3",
    )
    .await;
    for part in [
        "ended by itself with code 3",
        "not enough memory",
        "cudaMalloc failed",
    ] {
        assert!(cause.contains(part), "{part}: {cause}");
    }
    let cause = cause_of(
        json!({}),
        "echo \"couldn't bind HTTP server socket\"; exit 1",
    )
    .await;
    assert!(cause.contains("port was taken"), "{cause}");
    let cause = cause_of(json!({}), "kill -9 $$").await;
    assert!(cause.contains("ended by signal 9"), "{cause}");
}

// spec: OC-POOL-3124, OC-POOL-3131
#[tokio::test]
async fn an_engine_that_never_answers_is_given_up_with_its_last_words() {
    let body = "echo waiting for the moon; sleep 600";
    let cause = cause_of(json!({ "timeouts": { "preload": "200ms" } }), body).await;
    for part in ["took longer than it may", "waiting for the moon"] {
        assert!(cause.contains(part), "{part}: {cause}");
    }
}

// spec: ORCH-1102, OC-POOL-3012, OC-POOL-3020, ORCH-1101, HME-013
#[tokio::test]
async fn a_gpu_pool_without_its_gpu_is_told_what_to_do_and_never_falls_to_the_cpu() {
    let devices = json!({ "device_class": "nvidia", "devices": ["GPU-of-another-host"] });
    let cause = cause_of(devices, "echo started; sleep 600").await;
    let no_gpu = cause.contains("no NVIDIA GPU can be used")
        && cause.contains("allow_cpu_ci: true")
        && cause.contains("device_class: cpu-ci");
    let other_gpu = cause.contains("there is no GPU `GPU-of-another-host`");
    assert!(no_gpu || other_gpu, "{cause}");
    assert!(!cause.contains("started"), "{cause}");
}
