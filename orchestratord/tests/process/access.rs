//! Keys, tenants and correlation ids.

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::node::{with_pool, with_settings};
use crate::support::{Daemon, Reply, task};

fn key(name: &str, tenant: &str, scopes: &str) -> String {
    let digest: String = Sha256::digest(format!("{name}-secret"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "    - {{ name: {name}, tenant: {tenant}, sha256: \"{digest}\", scopes: [{scopes}] }}\n"
    )
}

fn closed() -> String {
    let keys = [
        key("ann", "a", "data"),
        key("bob", "b", "data"),
        key("ops", "ops", "data, control"),
    ];
    format!(
        "auth:\n  open_on_loopback: false\n  keys:\n{}",
        keys.concat()
    )
}

async fn call(
    daemon: &Daemon,
    method: Method,
    path: &str,
    key: &str,
    body: Option<&Value>,
) -> Reply {
    let call = daemon.call(method, path, |request| {
        let request = request.bearer_auth(format!("{key}-secret"));
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    });
    call.await
}

// spec: ORCH-3035, OC-CTRL-2040
#[tokio::test]
async fn without_a_key_only_the_probes_answer() {
    let (daemon, _engine, _node) = with_settings(&closed(), 1).await;
    assert_eq!(daemon.get("/healthz").await.status, 200);
    assert_eq!(daemon.get("/readyz").await.status, 200);
    let task_path = "/v1/tasks/6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";
    for path in [
        "/v1/capabilities",
        "/v1/pools",
        "/v1/nodes",
        "/v1/pools/p0/health",
        "/metrics",
        task_path,
    ] {
        let reply = daemon.get(path).await;
        reply.check_refused(401, "UNAUTHORIZED", None);
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        let wrong = call(&daemon, Method::GET, path, "eve", None).await;
        wrong.check_refused(401, "UNAUTHORIZED", None);
    }
    daemon
        .submit(&task(json!({})))
        .await
        .check_refused(401, "UNAUTHORIZED", None);
    daemon
        .cancel("6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e")
        .await
        .check_refused(401, "UNAUTHORIZED", None);
}

// spec: ORCH-3035, OC-CTRL-2040
#[tokio::test]
async fn a_key_opens_what_its_scopes_name() {
    let (daemon, _engine, _node) = with_settings(&closed(), 1).await;
    for path in ["/v1/capabilities", "/v1/pools", "/v1/nodes", "/metrics"] {
        let reply = call(&daemon, Method::GET, path, "ann", None).await;
        reply.check_refused(403, "FORBIDDEN", None);
        assert_eq!(
            call(&daemon, Method::GET, path, "ops", None).await.status,
            200
        );
    }
    let state = json!({});
    let reply = call(&daemon, Method::PUT, "/v1/nodes/x", "ops", Some(&state)).await;
    reply.check_refused(401, "UNAUTHORIZED", None);
}

// spec: ORCH-3464
#[tokio::test]
async fn another_tenants_task_does_not_exist() {
    let (daemon, mut engine, _node) = with_settings(&closed(), 1).await;
    let submit = call(
        &daemon,
        Method::POST,
        "/v1/tasks",
        "ann",
        Some(&task(json!({}))),
    )
    .await;
    let id = submit.json()["task_id"].as_str().unwrap().to_owned();
    let _running = engine.generation().await;
    let (read, stream) = (format!("/v1/tasks/{id}"), format!("/v1/tasks/{id}/stream"));
    let cancel = format!("/v1/tasks/{id}/cancel");
    for (method, path) in [
        (Method::GET, &read),
        (Method::GET, &stream),
        (Method::POST, &cancel),
    ] {
        call(&daemon, method, path, "bob", None)
            .await
            .check_refused(404, "NOT_FOUND", None);
    }
    assert_eq!(
        call(&daemon, Method::GET, &read, "ann", None).await.json()["state"],
        "running"
    );
    assert_eq!(
        call(&daemon, Method::POST, &cancel, "ann", None)
            .await
            .status,
        204
    );
}

// spec: ORCH-2009, OC-CTRL-2052, ORCH-3302
#[tokio::test]
async fn a_correlation_id_is_echoed_everywhere_and_logged() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let with_id = |method, path: &'static str| {
        daemon.call(method, path, |request| {
            request.header("X-Correlation-Id", "my.id_1-2")
        })
    };
    for (method, path) in [
        (Method::GET, "/healthz"),
        (Method::GET, "/v1/pools"),
        (Method::GET, "/nowhere"),
        (Method::DELETE, "/v1/tasks"),
        (Method::POST, "/v1/tasks"),
    ] {
        assert_eq!(
            with_id(method, path).await.header("x-correlation-id"),
            "my.id_1-2",
            "{path}"
        );
    }
    let reply = daemon
        .call(Method::POST, "/v1/tasks", |request| {
            request
                .header("X-Correlation-Id", "job-77")
                .json(&task(json!({})))
        })
        .await;
    assert_eq!(reply.json()["correlation_id"], "job-77");
    engine.generation().await.end().await;
    let id = reply.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(
        daemon.task_in(&id, "done").await["correlation_id"],
        "job-77"
    );
    let lines = daemon.log();
    let ours: Vec<_> = lines
        .iter()
        .filter(|line| line["correlation_id"] == "job-77")
        .collect();
    assert!(
        ours.iter().any(|line| line["human"].is_string()),
        "{lines:?}"
    );
    let all = serde_json::to_string(&lines).unwrap();
    assert!(
        !all.contains(crate::engine::KEY) && !all.contains(&daemon.node_token()),
        "a secret was logged"
    );
}

// spec: OC-CTRL-2070
#[tokio::test]
async fn no_answer_lets_foreign_pages_in() {
    let daemon = Daemon::start().await;
    let reply = daemon
        .call(Method::OPTIONS, "/v1/tasks", |request| {
            request
                .header("origin", "http://evil.example")
                .header("access-control-request-method", "POST")
        })
        .await;
    assert_eq!(reply.status, 405);
    let read = daemon.call(Method::GET, "/v1/pools", |request| {
        request.header("origin", "http://evil.example")
    });
    for headers in [reply.headers, read.await.headers] {
        assert!(
            headers
                .keys()
                .all(|name| !name.as_str().starts_with("access-control")),
            "{headers:?}"
        );
    }
}
