//! Reading a task's events over connections that break.

use contracts_api_types::stream::EndEvent;
use contracts_api_types::task::FinishReason;
use llama_orch_sdk::{SdkError, StreamEvent, TaskStream};
use serde_json::json;
use uuid::Uuid;

use crate::server::{Answer, Server, Then};

const ID: Uuid = Uuid::from_u128(7);

fn frame(name: &str, id: Option<&str>, data: &serde_json::Value) -> String {
    let mut bytes = Vec::new();
    contracts_sse::encode(&mut bytes, Some(name), id, &data.to_string());
    String::from_utf8(bytes).expect("frames are text")
}

fn started() -> String {
    let data = json!({
        "queue_position": 0, "predicted_start_ms": 0, "engine": "llamacpp",
        "engine_version": "b1", "model_digest": "sha256:0", "pool_id": "p", "replica_id": "r",
        "device_class": "cpu-ci", "kv_warmth": false, "seed": 1,
    });
    frame("started", None, &data)
}

fn token(i: u64) -> String {
    frame(
        "token",
        Some(&format!("id-{i}")),
        &json!({ "t": format!("<{i}>"), "i": i }),
    )
}

fn tokens(range: std::ops::Range<u64>) -> String {
    range.map(token).collect()
}

fn metrics() -> String {
    frame(
        "metrics",
        None,
        &json!({ "queue_depth": 1, "on_time_probability": null,
        "kv_warmth": false, "added_later": 1 }),
    )
}

fn end() -> String {
    let data = json!({
        "tokens_in": 1, "tokens_out": 2, "decode_time_ms": 3, "queue_time_ms": 4,
        "finish_reason": "stop", "text_digest": "d",
    });
    frame("end", None, &data)
}

async fn open(server: &Server) -> TaskStream {
    server
        .client()
        .stream(ID, None)
        .await
        .expect("the stream opens")
}

/// Everything until the end: the text, the number of other events, and the terminal item.
async fn read(stream: &mut TaskStream) -> (String, usize, Result<StreamEvent, SdkError>) {
    let mut text = String::new();
    let mut others = 0;
    let terminal = loop {
        match stream
            .next()
            .await
            .expect("a terminal item comes before the end")
        {
            Ok(StreamEvent::Token { token, id }) => {
                assert_eq!(id, format!("id-{}", token.i));
                text.push_str(&token.t);
            }
            Ok(event) if event.is_terminal() => break Ok(event),
            Ok(_) => others += 1,
            Err(error) => break Err(error),
        }
    };
    assert!(stream.next().await.is_none(), "something followed the end");
    (text, others, terminal)
}

#[track_caller]
fn assert_good_end(terminal: &Result<StreamEvent, SdkError>) {
    let good = matches!(
        terminal,
        Ok(StreamEvent::End(EndEvent {
            finish_reason: FinishReason::Stop,
            tokens_out: 2,
            ..
        }))
    );
    assert!(good, "{terminal:?}");
}

#[track_caller]
fn problem(terminal: Result<StreamEvent, SdkError>) -> String {
    match terminal {
        Err(SdkError::Protocol { problem, .. }) => problem,
        other => panic!("expected a breach of the contract, got {other:?}"),
    }
}

// spec: ORCH-2002
#[tokio::test]
async fn every_event_arrives_in_its_own_type() {
    let later = "event: added-later\ndata: {}\n\n: ping\n\n";
    let body = [
        started(),
        metrics(),
        token(0),
        later.into(),
        token(1),
        end(),
    ]
    .concat();
    let server = Server::start([Answer::stream(body, Then::Hang)]).await;
    let mut stream = open(&server).await;
    assert!(matches!(stream.next().await, Some(Ok(StreamEvent::Started(s))) if s.seed == 1));
    assert!(matches!(stream.next().await, Some(Ok(StreamEvent::Metrics(m))) if m.queue_depth == 1));
    let (text, others, terminal) = read(&mut stream).await;
    assert_eq!((text.as_str(), others), ("<0><1>", 0));
    assert_good_end(&terminal);
    let head = server.asked()[0].to_lowercase();
    assert!(
        head.starts_with(&format!("get /v1/tasks/{ID}/stream http/1.1\r\n")),
        "{head}"
    );
    assert!(!head.contains("last-event-id"), "{head}");
}

#[tokio::test]
async fn an_error_event_is_an_end_and_no_failure_of_the_client() {
    let data =
        json!({ "code": "WORKER_RESET", "message": "m", "retriable": true, "partial": true });
    let body = [token(0), frame("error", None, &data)].concat();
    let server = Server::start([Answer::stream(body, Then::End)]).await;
    let (text, _, terminal) = read(&mut open(&server).await).await;
    assert_eq!(text, "<0>");
    assert!(matches!(terminal, Ok(StreamEvent::Error(error)) if error.partial));
}

// spec: ORCH-3401, SDK-8106
#[tokio::test(start_paused = true)]
async fn a_broken_stream_goes_on_behind_the_last_token_without_gap_or_repeat() {
    let half_a_token = &token(3)[..12];
    let server = Server::start([
        Answer::stream(
            [&started(), &tokens(0..3), half_a_token].concat(),
            Then::Cut,
        ),
        Answer::stream([started(), metrics()].concat(), Then::End),
        Answer::stream(tokens(3..5), Then::Cut),
        Answer::stream([token(5), end()].concat(), Then::End),
    ])
    .await;
    let (text, others, terminal) = read(&mut open(&server).await).await;
    assert_eq!(text, "<0><1><2><3><4><5>");
    assert_good_end(&terminal);
    assert_eq!(others, 2, "`started` is passed on once");
    let resumed: Vec<Option<String>> = server
        .asked()
        .iter()
        .map(|asked| resumed_at(asked))
        .collect();
    let after = |id: &str| Some(id.to_owned());
    assert_eq!(resumed, [None, after("id-2"), after("id-2"), after("id-4")]);
}

fn resumed_at(asked: &str) -> Option<String> {
    asked
        .lines()
        .find_map(|line| Some(line.strip_prefix("last-event-id: ")?.to_owned()))
}

// spec: ORCH-3401
#[tokio::test]
async fn a_reader_may_begin_behind_an_id_of_its_own() {
    let server = Server::start([Answer::stream([tokens(4..6), end()].concat(), Then::End)]).await;
    let mut stream = server
        .client()
        .stream(ID, Some("id-3".into()))
        .await
        .unwrap();
    assert_eq!(read(&mut stream).await.0, "<4><5>");
    assert_eq!(resumed_at(&server.asked()[0]), Some("id-3".into()));
}

// spec: ORCH-3401
#[tokio::test(start_paused = true)]
async fn a_repeat_or_a_gap_is_never_passed_on() {
    for (first, second, text) in [
        ([token(0), token(1)].concat(), token(1), "<0><1>"),
        (token(0), token(2), "<0>"),
        (token(1), String::new(), ""),
    ] {
        let server = Server::start([
            Answer::stream(first, Then::Cut),
            Answer::stream(second, Then::Hang),
        ])
        .await;
        let (seen, _, terminal) = read(&mut open(&server).await).await;
        assert_eq!(seen, text);
        assert!(problem(terminal).contains("was due"));
    }
}

#[tokio::test]
async fn garbage_is_named_and_ends_the_stream() {
    let without_id = frame("token", None, &json!({ "t": "a", "i": 0 }));
    for (garbage, words) in [
        (
            "event: token\nid: x\ndata: {\"t\":1}\n\n"
                .as_bytes()
                .to_vec(),
            "event `token`",
        ),
        (b"event: end\ndata: nothing\n\n".to_vec(), "event `end`"),
        (without_id.into_bytes(), "without an id"),
        (b"data: \xff\n\n".to_vec(), "UTF-8"),
        (vec![b'x'; 2 << 20], "longer than"),
    ] {
        let server = Server::start([Answer::stream(garbage, Then::Hang)]).await;
        let (_, _, terminal) = read(&mut open(&server).await).await;
        let problem = problem(terminal);
        assert!(problem.contains(words), "{problem}");
    }
    let server = Server::start([Answer::json(200, "{}")]).await;
    let error = server.client().stream(ID, None).await.unwrap_err();
    assert_eq!(problem(Err(error)), "not an event stream");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_greets_and_hangs_up_again_and_again_is_given_up() {
    let greeting = Answer::stream([started(), metrics()].concat(), Then::End);
    let server = Server::start(vec![greeting; 20]).await;
    let (_, others, terminal) = read(&mut open(&server).await).await;
    assert!(
        matches!(terminal, Err(SdkError::Interrupted { times: 11, .. })),
        "{terminal:?}"
    );
    assert_eq!((server.asked().len(), others), (11, 12));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_come_back_is_given_up_in_bounded_time() {
    let server = Server::start([Answer::stream(token(0), Then::Cut)]).await;
    let begun = tokio::time::Instant::now();
    let (text, _, terminal) = read(&mut open(&server).await).await;
    assert_eq!(text, "<0>");
    assert!(
        matches!(terminal, Err(SdkError::Transport { .. })),
        "{terminal:?}"
    );
    assert_eq!(begun.elapsed().as_secs(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_middle_is_retried_only_where_that_can_help() {
    let refusal = |status: u16, code: &str, retriable: bool| {
        let body = json!({ "code": code, "message": "m", "retriable": retriable,
            "correlation_id": "c", "retry_after_ms": 5000 });
        Answer::json(status, body.to_string())
    };
    let server = Server::start([
        Answer::stream(token(0), Then::Cut),
        refusal(503, "STORAGE_UNAVAILABLE", true),
        Answer::stream([token(1), end()].concat(), Then::End),
    ])
    .await;
    let begun = tokio::time::Instant::now();
    let (text, _, terminal) = read(&mut open(&server).await).await;
    assert_eq!(text, "<0><1>");
    assert_good_end(&terminal);
    assert_eq!(
        begun.elapsed().as_millis() / 100,
        51,
        "100 ms by itself, 5 s as asked"
    );
    let server = Server::start([
        Answer::stream(token(0), Then::Cut),
        refusal(410, "STREAM_EXPIRED", false),
    ])
    .await;
    let (_, _, terminal) = read(&mut open(&server).await).await;
    assert!(
        matches!(terminal, Err(SdkError::Refused { status: 410, .. })),
        "{terminal:?}"
    );
}

// spec: ORCH-3016
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_and_the_servers_pause_is_kept() {
    let server = Server::start([
        Answer::stream(["retry: 7000\n", &token(0)].concat(), Then::Hang),
        Answer::stream([token(1), end()].concat(), Then::End),
    ])
    .await;
    let begun = tokio::time::Instant::now();
    let (text, _, terminal) = read(&mut open(&server).await).await;
    assert_eq!(text, "<0><1>");
    assert_good_end(&terminal);
    assert_eq!(begun.elapsed().as_secs(), 67);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_looks_elsewhere_in_between_loses_nothing() {
    let server = Server::start([
        Answer::stream(tokens(0..2), Then::Cut),
        Answer::stream([tokens(2..4), end()].concat(), Then::End),
    ])
    .await;
    let mut stream = open(&server).await;
    let mut text = String::new();
    let tick = std::time::Duration::from_millis(30);
    loop {
        match tokio::time::timeout(tick, stream.next()).await {
            Err(_) => {}
            Ok(Some(Ok(StreamEvent::Token { token, .. }))) => text.push_str(&token.t),
            Ok(Some(Ok(StreamEvent::End(_)))) => break,
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(text, "<0><1><2><3>");
}
