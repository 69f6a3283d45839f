//! Plain calls: what goes out, what comes back, and how refusals look.

use contracts_api_types::error::ErrorCode;
use contracts_api_types::task::TaskRequest;
use llama_orch_sdk::SdkError;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Answer, Server, Then};

const ID: Uuid = Uuid::from_u128(7);

fn task() -> TaskRequest {
    let body = json!({
        "workload": "completion", "engine": "llamacpp", "model_ref": "haiku",
        "prompt": "hi", "max_tokens": 4,
    });
    serde_json::from_value(body).expect("a valid task")
}

fn admission() -> Answer {
    let body = json!({
        "task_id": ID, "session_id": ID, "correlation_id": "c", "queue_position": 2,
        "predicted_start_ms": 30, "backoff_ms": 0, "on_time_probability": null,
        "stream_url": format!("/v1/tasks/{ID}/stream"), "added_later": true,
    });
    Answer::json(202, body.to_string())
}

fn refusal(status: u16, code: &str, retriable: bool) -> Answer {
    let body = json!({
        "code": code, "message": "say something else", "retriable": retriable,
        "correlation_id": "c", "retry_after_ms": 40,
    });
    Answer::json(status, body.to_string())
}

// spec: ORCH-2001, ORCH-3024, SDK-8103
#[tokio::test]
async fn a_submission_always_carries_an_id_and_keeps_one_that_is_given() {
    let server = Server::start([admission(), admission()]).await;
    let client = server.client();
    let admitted = client.submit(&task()).await.unwrap();
    assert_eq!((admitted.task_id, admitted.queue_position), (ID, 2));
    client
        .submit(&TaskRequest {
            task_id: Some(ID),
            ..task()
        })
        .await
        .unwrap();
    let sent: Vec<Value> = server.asked().iter().map(|asked| body_of(asked)).collect();
    let made: Uuid = sent[0]["task_id"].as_str().unwrap().parse().unwrap();
    assert_ne!(made, ID);
    assert_eq!(sent[1]["task_id"], ID.to_string());
    assert_eq!(sent[1]["prompt"], "hi");
    let head = server.asked()[0].to_lowercase();
    assert!(head.starts_with("post /v1/tasks http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer t0ken\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
}

fn body_of(asked: &str) -> Value {
    let (_, body) = asked.split_once("\r\n\r\n").expect("a whole request");
    serde_json::from_str(body).expect("JSON")
}

// spec: SDK-8101
#[tokio::test]
async fn each_call_goes_to_its_own_path() {
    let ok = |body: &str| Answer::json(200, body);
    let server = Server::start([
        ok("[]"),
        ok("[]"),
        ok(r#"{"api_version":"1.0.0","pools":[]}"#),
        Answer::json(204, ""),
        ok("{}"),
        Answer::json(503, "{}"),
        ok("tasks_started_total 1\n"),
        refusal(404, "NOT_FOUND", false),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.pools().await.unwrap(), []);
    assert_eq!(client.nodes().await.unwrap(), []);
    assert_eq!(client.capabilities().await.unwrap().api_version, "1.0.0");
    client.cancel(ID).await.unwrap();
    assert!(client.live().await.unwrap());
    assert!(!client.ready().await.unwrap());
    assert_eq!(client.metrics().await.unwrap(), "tasks_started_total 1\n");
    client.pool_health("a/b").await.unwrap_err();
    let lines: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| first_line(asked))
        .collect();
    assert_eq!(
        lines,
        [
            "GET /v1/pools HTTP/1.1",
            "GET /v1/nodes HTTP/1.1",
            "GET /v1/capabilities HTTP/1.1",
            &format!("POST /v1/tasks/{ID}/cancel HTTP/1.1"),
            "GET /healthz HTTP/1.1",
            "GET /readyz HTTP/1.1",
            "GET /metrics HTTP/1.1",
            "GET /v1/pools/a%2Fb/health HTTP/1.1",
        ]
    );
}

fn first_line(asked: &str) -> String {
    asked.lines().next().unwrap_or_default().to_owned()
}

// spec: ORCH-2006, SDK-8108
#[tokio::test]
async fn a_refusal_comes_with_its_code_and_hints() {
    let server = Server::start([
        refusal(429, "ADMISSION_REJECT", true),
        refusal(400, "INVALID_PARAMS", false),
    ])
    .await;
    let client = server.client();
    let error = client.submit(&task()).await.unwrap_err();
    assert!(error.retriable());
    let SdkError::Refused { status: 429, body } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (body.code, body.retry_after_ms),
        (ErrorCode::AdmissionReject, Some(40))
    );
    let error = client.task(ID).await.unwrap_err();
    assert_eq!(error.to_string(), "say something else (INVALID_PARAMS)");
    assert!(!error.retriable());
}

#[tokio::test]
async fn an_answer_outside_the_contract_is_named() {
    let server = Server::start([
        Answer::json(200, "[{\"id\":1}]"),
        Answer::json(502, "<html>bad gateway</html>"),
        Answer::new(200, "text/plain", vec![b'#'; 17 << 20], Then::Hang),
        Answer::new(200, "text/plain", vec![0xff], Then::End),
    ])
    .await;
    let client = server.client();
    let mut problems = Vec::new();
    for error in [
        client.pools().await.unwrap_err(),
        client.task(ID).await.unwrap_err(),
        client.metrics().await.unwrap_err(),
        client.metrics().await.unwrap_err(),
    ] {
        let SdkError::Protocol { problem, .. } = error else {
            panic!("{error:?}")
        };
        problems.push(problem);
    }
    assert!(problems[0].contains("invalid type"), "{problems:?}");
    assert_eq!(problems[1], "status 502 without an error envelope");
    assert_eq!(problems[2], "a body above 16777216 bytes");
    assert_eq!(problems[3], "no UTF-8");
}

#[tokio::test]
async fn nobody_there_and_a_cut_answer_are_failures_of_transport() {
    let cut = Answer::new(200, "application/json", b"[".to_vec(), Then::Cut);
    let server = Server::start([cut]).await;
    let client = server.client();
    for _ in 0..2 {
        let error = client.pools().await.unwrap_err();
        assert!(
            matches!(error, SdkError::Transport { .. }) && error.retriable(),
            "{error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let server = Server::start([Answer::new(200, "application/json", vec![], Then::Hang)]).await;
    let SdkError::Transport { source, .. } = server.client().pools().await.unwrap_err() else {
        panic!("expected a failure of transport");
    };
    assert!(source.is_timeout());
}
