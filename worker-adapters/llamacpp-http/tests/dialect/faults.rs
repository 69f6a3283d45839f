//! Streams that break.

use std::time::Duration;

use futures_util::StreamExt;
use worker_adapters_adapter_api::{AdapterError, FaultKind, WorkerAdapter};

use crate::replay::Then;
use crate::{fixture, generate, request, server};

const RECORDED: &str = fixture!("completion-limit.sse");
const FRAME: &str = "data: {\"index\":0,\"content\":\"a\",\"tokens\":[1],\"stop\":false,\
    \"id_slot\":-1,\"tokens_predicted\":1,\"tokens_evaluated\":8}\n\n";

/// What is left of a generation whose stream is one frame and then `rest`.
async fn after_one_frame(rest: &str, then: Then) -> FaultKind {
    let (adapter, _running) = server(|replay| replay.stream([FRAME, rest], then)).await;
    let (text, end) = generate(&adapter).await;
    assert_eq!(text, "a");
    end.expect_err("the stream is broken").kind()
}

// spec: OC-ADAPT-5101, OC-ADAPT-5123
#[tokio::test]
async fn an_end_before_the_last_frame_is_a_cut_wherever_it_comes() {
    let last = RECORDED.rfind("data: ").unwrap();
    for at in [0, 10, last - 2, last, RECORDED.len() - 10] {
        for then in [Then::End, Then::Cut] {
            let (adapter, _running) = server(|replay| replay.stream([&RECORDED[..at]], then)).await;
            let end = generate(&adapter).await.1;
            assert_eq!(end.unwrap_err().kind(), FaultKind::CutOff, "cut at {at}");
        }
    }
}

// spec: OC-ADAPT-5100
#[tokio::test]
async fn an_error_frame_ends_the_stream_with_its_words() {
    let failed = "data: {\"error\":{\"code\":500,\"message\":\"Context size has been exceeded.\",\
                  \"type\":\"server_error\"}}\n\n";
    let (adapter, _running) = server(|replay| replay.stream([FRAME, failed], Then::End)).await;
    let message = "Context size has been exceeded.".to_owned();
    let end = Err(AdapterError::EngineFailed { message });
    assert_eq!(generate(&adapter).await, ("a".to_owned(), end));
    let refused = "data: {\"error\":{\"code\":400,\"message\":\"no\"}}\n\n";
    assert_eq!(
        after_one_frame(refused, Then::End).await,
        FaultKind::Rejected
    );
}

// spec: OC-ADAPT-5101
#[tokio::test]
async fn what_is_no_frame_is_garbled() {
    let not_predicted = "data: {\"content\":\"a\",\"stop\":true,\"stop_type\":\"eos\"}\n\n";
    let other_slot = &RECORDED[RECORDED.rfind("data: ").unwrap()..].replace("slot\":1", "slot\":0");
    let negative = &RECORDED[RECORDED.rfind("data: ").unwrap()..].replace("3.979", "-3.979");
    for rest in [
        "data: [DONE]\n\n",
        "data: {\"content\":\n\n",
        "data: {}\n\n",
        "data: {\"content\":7,\"stop\":false,\"tokens_predicted\":1}\n\n",
        "data: \"a\"\n\n",
        not_predicted,
        other_slot,
        negative,
    ] {
        assert_eq!(
            after_one_frame(rest, Then::End).await,
            FaultKind::Garbled,
            "{rest}"
        );
    }
}

// spec: OC-ADAPT-5110
#[tokio::test]
async fn more_tokens_than_were_asked_for_abort_the_attempt() {
    let rest = FRAME.replace("\"tokens_predicted\":1", "\"tokens_predicted\":21");
    assert_eq!(after_one_frame(&rest, Then::Hang).await, FaultKind::Garbled);
}

// spec: OC-ADAPT-5108
#[tokio::test]
async fn a_line_of_ten_megabytes_is_not_swallowed() {
    let (adapter, _running) = server(|replay| {
        let endless = vec![vec![b'x'; 1 << 20]; 10];
        replay.stream(
            [FRAME.as_bytes().to_vec()].into_iter().chain(endless),
            Then::Hang,
        );
    })
    .await;
    let (text, end) = generate(&adapter).await;
    assert_eq!(
        (text.as_str(), end.unwrap_err().kind()),
        ("a", FaultKind::Garbled)
    );
}

#[tokio::test]
async fn a_last_frame_that_repeats_a_long_prompt_is_read() {
    let mut long = request();
    long.prompt = "\u{1}".repeat(300_000);
    let echoed = "\\u0001".repeat(300_000);
    let frames = RECORDED.replace(
        "\"prompt\":\"hello world\"",
        &format!("\"prompt\":\"{echoed}\""),
    );
    assert!(frames.len() > 1 << 20);
    let (adapter, _running) = server(|replay| replay.stream([frames], Then::End)).await;
    let stream = adapter.generate(long).await.unwrap();
    assert_eq!(crate::read(stream).await.1.unwrap().tokens_out, 8);
}

#[tokio::test]
async fn bytes_that_are_no_utf8_or_no_http_are_faults() {
    let (adapter, _running) = server(|replay| {
        replay.stream(
            [b"data: {\"content\":\"\xff\"}\n\n".as_slice(), b"\n"],
            Then::Hang,
        );
        replay.raw("POST /completion", "SSH-2.0-x\r\n", Then::Cut);
    })
    .await;
    assert_eq!(
        generate(&adapter).await.1.unwrap_err().kind(),
        FaultKind::Garbled
    );
    assert_eq!(
        generate(&adapter).await.1.unwrap_err().kind(),
        FaultKind::CutOff
    );
}

// spec: ORCH-3016, OC-ADAPT-5102
#[tokio::test]
async fn silence_ends_a_generation_before_its_head_before_its_first_token_and_after() {
    let (adapter, _running) = server(|replay| {
        replay.raw("POST /completion", "", Then::Hang);
        replay.stream([":\n\n"], Then::Hang);
        replay.stream([FRAME], Then::Hang);
    })
    .await;
    let mut hasty = request();
    hasty.limits.first_token = Duration::from_millis(150);
    hasty.limits.gap = Duration::from_millis(50);
    adapter.props().await.unwrap();
    for what in ["first token", "first token", "next token"] {
        let end = match adapter.generate(hasty.clone()).await {
            Ok(stream) => crate::read(stream).await.1.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(end, AdapterError::TimedOut { what: silent, .. } if silent == what),
            "{end} instead of {what}"
        );
    }
}

#[tokio::test]
async fn clients_read_what_broke_and_not_where_the_server_listens() {
    let (adapter, running) = server(|replay| {
        replay.raw("POST /completion", "", Then::Cut);
        replay.stream([FRAME], Then::Cut);
    })
    .await;
    let port = running.base_url.rsplit(':').next().unwrap().to_owned();
    let mut errors = Vec::new();
    for _ in 0..2 {
        errors.push(generate(&adapter).await.1.unwrap_err());
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let nobody = crate::adapter(format!("http://{address}"));
    errors.push(nobody.health().await.unwrap_err());
    let kinds: Vec<_> = errors.iter().map(AdapterError::kind).collect();
    let kinds_wanted = [FaultKind::CutOff, FaultKind::CutOff, FaultKind::Unreachable];
    assert_eq!(kinds, kinds_wanted);
    for error in errors {
        let text = error.to_string();
        let shown = [port.as_str(), &address.port().to_string(), "127.0.0.1"]
            .iter()
            .any(|part| text.contains(part));
        assert!(!shown, "{text}");
    }
}

// spec: ORCH-3017, OC-ADAPT-5124
#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let adapter = crate::adapter(format!("http://{}", listener.local_addr().unwrap()));
    let serve = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut closed = 0;
        for body in [fixture!("props.json"), FRAME] {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            let answer = format!("{head}{:x}\r\n{body}\r\n", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            if body == FRAME {
                // Resolves when the client has closed its side.
                closed += stream.read(&mut [0; 64]).await.unwrap_or(0) + 1;
            } else {
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
        closed
    };
    let cancel = async {
        let mut stream = adapter.generate(request()).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
    };
    let both = async { tokio::join!(serve, cancel).0 };
    let closed = tokio::time::timeout(Duration::from_secs(10), both).await;
    assert_eq!(closed, Ok(1));
}
