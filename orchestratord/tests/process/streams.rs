//! Following a task: order, resuming, several readers, slow readers.

use insta::assert_snapshot;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::node::{Node, pool, with_pool, with_settings};
use crate::support::{Daemon, SOON, data, eventually, soon, task, text};

const ID: &str = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";

// spec: ORCH-2002, ORCH-3417, OC-CTRL-2020, OC-CTRL-2021, OC-CTRL-2022, ORCH-3312, ORCH-3476
// spec: HME-021, OC-CTRL-2023, OC-METRICS-7110, OC-TEST-7311
#[tokio::test]
async fn a_stream_is_the_one_of_the_contract() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    daemon.submitted(&task(json!({ "task_id": ID }))).await;
    let mut reader = daemon.follow(ID, None).await;
    assert_eq!(reader.header("content-type"), "text/event-stream");
    assert_eq!(reader.header("cache-control"), "no-store");
    assert_eq!(reader.header("x-accel-buffering"), "no");
    assert!(!reader.header("x-correlation-id").is_empty());
    let mut generation = engine.generation().await;
    for piece in ["The pale ", "moon\n", "sinks 月"] {
        generation.say(piece).await;
        assert_eq!(data(&reader.event("token").await)["t"], piece);
    }
    generation.end().await;
    reader.rest().await;
    assert_snapshot!(redacted(&reader.bytes));
}

/// Without the two times that differ from run to run.
fn redacted(stream: &[u8]) -> String {
    let mut text = std::str::from_utf8(stream).unwrap().to_owned();
    for field in ["\"queue_time_ms\":", "\"predicted_start_ms\":"] {
        let begin = text.find(field).unwrap() + field.len();
        let digits = text[begin..].find(|c: char| !c.is_ascii_digit()).unwrap();
        assert!(digits > 0, "{text}");
        text.replace_range(begin..begin + digits, "0");
    }
    text
}

// spec: ORCH-3401, ORCH-3410, ORCH-3443
#[tokio::test]
async fn a_reader_that_comes_back_gets_exactly_the_rest() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    let mut reader = daemon.follow(&id, None).await;
    let mut ids = Vec::new();
    for index in 0..6 {
        generation.say(&format!(" {index}ü")).await;
        ids.push(reader.event("token").await.id.unwrap());
    }
    // One comes back while the stream still runs, the others after its end.
    let mut early = daemon.follow(&id, Some(&ids[2])).await;
    assert_eq!(data(&early.event("token").await)["i"], 3);
    generation.end().await;
    reader.rest().await;
    early.rest().await;
    assert!(reader.bytes.ends_with(&early.bytes));
    for (index, last) in ids.iter().enumerate() {
        let mut late = daemon.follow(&id, Some(last)).await;
        let events = late.rest().await;
        assert!(reader.bytes.ends_with(&late.bytes));
        assert_eq!(text(&events).matches('ü').count(), 5 - index);
        assert_eq!(events.last().unwrap().name, "end");
    }
}

// spec: ORCH-3401, ORCH-3410
#[tokio::test]
async fn all_readers_see_the_same_bytes() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut readers = vec![daemon.follow(&id, None).await];
    let mut generation = engine.generation().await;
    for index in 0..20 {
        generation.say(&format!(" {index}")).await;
        if index % 5 == 0 {
            readers.push(daemon.follow(&id, None).await);
        }
    }
    generation.end().await;
    for reader in &mut readers {
        reader.rest().await;
    }
    for reader in &readers {
        assert!(reader.bytes == readers[0].bytes);
    }
}

// spec: ORCH-3401, OC-CTRL-2120, OC-CTRL-2121
#[tokio::test]
async fn a_reader_that_reads_nothing_holds_up_neither_engine_nor_others() {
    let daemon = Daemon::start().await;
    let mut engine = Engine::start(1).await;
    // An answer this long needs a larger context.
    let mut wide = pool("p0", &engine, 1);
    wide["ctx"] = json!(1 << 16);
    Node::new("host-a").push(&daemon, json!([wide])).await;
    let id = daemon
        .submitted(&task(json!({ "max_tokens": 30_000 })))
        .await;
    let mut generation = engine.generation().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stalled = soon(socket.connect(daemon.address)).await.unwrap();
    let request = format!("GET /v1/tasks/{id}/stream HTTP/1.1\r\nhost: x\r\n\r\n");
    stalled.write_all(request.as_bytes()).await.unwrap();
    let mut reader = daemon.follow(&id, None).await;
    // More than socket buffers and the engine's own four frames can hide.
    let piece = "x".repeat(120_000);
    for index in 0..60 {
        // `say` fails when the engine's connection is not drained.
        generation
            .say(if index % 2 == 0 { &piece } else { "y" })
            .await;
    }
    generation.end().await;
    let events = reader.rest().await;
    assert_eq!(text(&events).len(), 30 * 120_000 + 30);
    // The stalled one has lost nothing: its answer comes to its last chunk.
    let mut bytes = Vec::new();
    let done = async {
        while !bytes.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stalled.read_buf(&mut bytes).await.unwrap() > 0);
        }
    };
    timeout(SOON, done)
        .await
        .expect("the stalled reader can go on");
    assert!(bytes.len() > 30 * 120_000);
}

// spec: ORCH-3443
#[tokio::test]
async fn an_id_that_is_not_of_this_stream_is_refused() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    generation.say("one").await;
    let token = daemon
        .follow(&id, None)
        .await
        .event("token")
        .await
        .id
        .unwrap();
    let path = format!("/v1/tasks/{id}/stream");
    let future = token.replacen('0', "7", 1);
    for bad in ["", "7", "x-y-z", "0-3-0000000000000000", &future, "\"0\""] {
        let reply = daemon
            .call(http::Method::GET, &path, |request| {
                request.header("last-event-id", bad)
            })
            .await;
        reply.check_refused(400, "INVALID_PARAMS", Some("Last-Event-ID"));
    }
}

// spec: ORCH-3427
#[tokio::test]
async fn asking_for_the_head_alone_makes_no_reader_whose_leaving_counts() {
    let (daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon
        .submitted(&task(json!({ "on_disconnect": "cancel" })))
        .await;
    let mut generation = engine.generation().await;
    let path = format!("/v1/tasks/{id}/stream");
    let head = daemon.call(http::Method::HEAD, &path, |request| request);
    let head = head.await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), "text/event-stream");
    assert_eq!(daemon.task(&id).await["state"], "running");
    generation.say("one").await;
    generation.end().await;
    daemon.task_in(&id, "done").await;
}

// spec: ORCH-3434
#[tokio::test]
async fn an_expired_stream_answers_with_the_outcome() {
    let settings = "retention: { stream: 1ms }";
    let (daemon, mut engine, _node) = with_settings(settings, 1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    engine.generation().await.end().await;
    daemon.task_in(&id, "done").await;
    let path = format!("/v1/tasks/{id}/stream");
    let gone =
        eventually(|| async { Some(daemon.get(&path).await).filter(|reply| reply.status == 410) })
            .await;
    gone.check_refused(410, "STREAM_EXPIRED", None);
    assert_eq!(gone.json()["details"]["outcome"]["state"], "done");
    assert_eq!(gone.json()["details"]["outcome"]["task_id"], id);
}
