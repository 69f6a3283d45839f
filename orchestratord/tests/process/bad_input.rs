//! What a client can get wrong, and the answer that tells it so.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::with_pool;
use crate::support::{Daemon, Reply, eventually, soon, task};

const UNKNOWN_TASK: &str = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";

async fn raw(daemon: &Daemon, kind: &str, body: Vec<u8>) -> Reply {
    let send = daemon.call(Method::POST, "/v1/tasks", |request| {
        request.header("content-type", kind).body(body)
    });
    send.await
}

// spec: ORCH-2013, OC-CTRL-2101, OC-CTRL-2119, ORCH-3014, ORCH-3015, ORCH-3451, ORCH-3473
#[tokio::test]
async fn a_field_that_is_wrong_is_named() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let words = "word ".repeat(600);
    let table: [(Value, &str); 20] = [
        (json!({ "colour": "red" }), "colour"),
        (
            json!({ "sampling": { "mirostat": 2 } }),
            "sampling.mirostat",
        ),
        (json!({ "ctx": "large" }), "ctx"),
        (json!({ "ctx": 0 }), "ctx"),
        (json!({ "ctx": 100_000 }), "ctx"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "max_tokens": 5_000 }), "max_tokens"),
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": words }), "prompt"),
        (json!({ "inputs": ["a"] }), "inputs"),
        (json!({ "seed": 4_294_967_295_u64 }), "seed"),
        (json!({ "seed": 1.5 }), "seed"),
        (json!({ "task_id": "seven" }), "task_id"),
        (json!({ "engine": "gpt" }), "engine"),
        (
            json!({ "workload": "embedding", "prompt": null, "inputs": ["a"] }),
            "workload",
        ),
        (
            json!({ "sampling": { "temperature": 99 } }),
            "sampling.temperature",
        ),
        (json!({ "model_ref": null }), "model_ref"),
    ];
    for (changes, field) in table {
        let reply = daemon.submit(&task(changes)).await;
        reply.check_refused(400, "INVALID_PARAMS", Some(field));
        assert_eq!(reply.json()["retriable"], false);
    }
    assert!(!engine.has_generation(), "a refused task was run");
}

// spec: OC-CTRL-2113
#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_not_waited_for() {
    let daemon = Daemon::start().await;
    let mut socket = soon(TcpStream::connect(daemon.address)).await.unwrap();
    let head = "POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2000000\r\nconnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

// spec: OC-CTRL-2041
#[tokio::test]
async fn what_a_refused_body_holds_is_told_to_its_client_and_not_to_the_log() {
    let daemon = Daemon::start().await;
    let reply = daemon.submit(&task(json!({ "inputs": "my-diary" }))).await;
    reply.check_refused(400, "INVALID_PARAMS", Some("inputs"));
    let log = eventually(|| async {
        let log = daemon.log();
        let refused = log.iter().any(|line| line["message"] == "request refused");
        refused.then_some(log)
    });
    let log = format!("{:?}", log.await);
    assert!(log.contains("`inputs` cannot be accepted"), "{log}");
    assert!(!log.contains("my-diary"), "{log}");
}

// spec: OC-CTRL-2117, OC-CTRL-2118, OC-CTRL-2119
#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let daemon = Daemon::start().await;
    let deep = format!("{{\"labels\":{}", "{\"a\":".repeat(50_000)).into_bytes();
    for body in [
        b"{".to_vec(),
        b"".to_vec(),
        b"{\"prompt\": \"\xff\xfe\"}".to_vec(),
        b"{} {}".to_vec(),
        b"nonsense".to_vec(),
        b"\0".to_vec(),
    ] {
        let reply = raw(&daemon, "application/json", body).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (400, &json!("INVALID_PARAMS"))
        );
        assert!(!reply.header("x-correlation-id").is_empty());
    }
    let reply = raw(&daemon, "application/json", deep).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["code"]),
        (400, &json!("INVALID_PARAMS"))
    );
    let good = task(json!({})).to_string().into_bytes();
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        raw(&daemon, kind, good.clone())
            .await
            .check_refused(415, "INVALID_PARAMS", None);
    }
    assert_eq!(daemon.get("/healthz").await.status, 200);
}

// spec: OC-CTRL-2113
#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let daemon = Daemon::start_with("admission: { max_body: 2KiB }").await;
    let large = task(json!({ "prompt": "x".repeat(3_000) }));
    let reply = daemon.submit(&large).await;
    reply.check_refused(413, "INVALID_PARAMS", None);
    assert!(reply.json()["message"].as_str().unwrap().contains("2048"));
}

// spec: ORCH-3451
#[tokio::test]
async fn an_unknown_model_lists_what_is_served() {
    let (daemon, _engine, _node) = with_pool(1).await;
    for changes in [
        json!({ "model_ref": "gpt-99" }),
        json!({ "engine": "vllm" }),
    ] {
        let reply = daemon.submit(&task(changes)).await;
        reply.check_refused(404, "NOT_FOUND", Some("model_ref"));
        let available = reply.json()["details"]["available"].to_string();
        assert!(available.contains("haiku"), "{available}");
    }
}

// spec: OC-CTRL-2116
#[tokio::test]
async fn an_unknown_task_and_an_id_that_is_none_are_told_apart() {
    let daemon = Daemon::start().await;
    for (method, tail) in [
        (Method::GET, ""),
        (Method::GET, "/stream"),
        (Method::POST, "/cancel"),
    ] {
        let call = |id: &'static str| {
            let (method, path) = (method.clone(), format!("/v1/tasks/{id}{tail}"));
            let daemon = &daemon;
            async move { daemon.call(method, &path, |request| request).await }
        };
        call(UNKNOWN_TASK)
            .await
            .check_refused(404, "NOT_FOUND", None);
        for bad in [
            "7",
            "..%2f..%2fetc%2fpasswd",
            "%00",
            "%ff",
            "6f0c1f9e58d44ac58d8f0d8a3b1f2c4e",
        ] {
            call(bad)
                .await
                .check_refused(400, "INVALID_PARAMS", Some("task_id"));
        }
    }
}

// spec: ORCH-2006, ORCH-2016, ORCH-2010, OC-ADAPT-5002
#[tokio::test]
async fn unknown_paths_have_an_envelope_and_wrong_methods_none() {
    let daemon = Daemon::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v2/tasks",
        "/v1/tasks/",
        "/v1/models",
        "/v1/completions",
        "/v1/chat/completions",
    ] {
        daemon.get(path).await.check_refused(404, "NOT_FOUND", None);
    }
    for (method, path) in [(Method::DELETE, "/v1/pools"), (Method::PUT, "/v1/tasks")] {
        let reply = daemon.call(method, path, |request| request).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.len()),
            (405, 0),
            "{path}"
        );
    }
}
