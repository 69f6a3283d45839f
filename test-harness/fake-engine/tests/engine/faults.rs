//! Every fault, as a client sees it.

use std::time::Duration;

use test_harness_fake_engine::Dialect::{Llamacpp, Tgi, Triton, Vllm};
use test_harness_fake_engine::log::Event;
use tokio::time::timeout;

use crate::asking::{
    ALL, Ask, dones, expected, fault, request, streamed, streamed_text, whole_text,
};
use crate::client;
use crate::{engine, wait_for};

// spec: OC-TEST-7302
#[tokio::test]
async fn all_dialects_tell_the_same_text_as_a_stream_and_as_a_whole() {
    for dialect in ALL {
        let engine = engine(dialect, "").await;
        for (prompt, seed) in [("hello world", 7), ("hello world", 8), ("日本語 🦙", 7)] {
            let ask = Ask {
                prompt,
                seed,
                max_tokens: 60,
                ..Ask::default()
            };
            let streamed = client::ask(engine.address(), &request(dialect, ask)).await;
            assert_eq!(
                streamed_text(dialect, &streamed),
                expected(ask),
                "{dialect:?}"
            );
            let ask = Ask {
                stream: false,
                ..ask
            };
            let whole = client::ask(engine.address(), &request(dialect, ask)).await;
            assert_eq!(whole_text(dialect, &whole), expected(ask), "{dialect:?}");
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn legal_oddities_of_framing_change_nothing() {
    let script = "frames: {tokens_per_frame: 3, empty_delta_every: 2, comment_every: 2, bytes_per_write: 1, \
                  line_ends: mixed, bom: true}";
    for dialect in ALL {
        let ask = Ask {
            max_tokens: 40,
            ..Ask::default()
        };
        let answer = streamed(dialect, script, ask).await;
        assert!(answer.is_whole, "{dialect:?}");
        assert_eq!(
            streamed_text(dialect, &answer),
            expected(ask),
            "{dialect:?}"
        );
        assert!(
            answer.body.starts_with("\u{feff}".as_bytes()),
            "{dialect:?}"
        );
        assert!(
            answer.text().contains("\r\r") && answer.text().contains("\r\n\r\n"),
            "{dialect:?}"
        );
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn every_frame_is_a_chunk_of_its_own_with_its_size_as_the_engine_writes_it() {
    for dialect in ALL {
        let answer = streamed(
            dialect,
            "",
            Ask {
                max_tokens: 30,
                ..Ask::default()
            },
        )
        .await;
        let wire = String::from_utf8_lossy(&answer.wire).into_owned();
        for chunk in &answer.chunks {
            assert_eq!(
                chunk.windows(6).filter(|it| it == b"data: ").count(),
                1,
                "{dialect:?}"
            );
            assert!(chunk.ends_with(b"\n\n"), "{dialect:?}");
            let size = match dialect {
                Tgi => format!("\r\n{:X}\r\n", chunk.len()),
                Llamacpp | Vllm | Triton => format!("\r\n{:x}\r\n", chunk.len()),
            };
            assert!(wire.contains(&size), "{dialect:?}: {size:?}");
        }
        assert!(wire.ends_with("\r\n0\r\n\r\n"), "{dialect:?}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn an_answer_is_cut_at_exactly_the_scripted_byte() {
    let plain = streamed(Triton, "", Ask::default()).await;
    for byte in [1, 17, 95, 96, 97, 150, plain.wire.len() - 1] {
        let cut = streamed(
            Triton,
            &fault(&format!("byte: {byte}"), "fin"),
            Ask::default(),
        )
        .await;
        assert_eq!(cut.wire, plain.wire[..byte], "{byte}");
        assert!(!cut.is_whole && !cut.was_reset, "{byte}");
    }
    let head = plain.wire.len()
        - plain
            .wire
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
    let head = plain.wire.len() - head + 4;
    let cut = streamed(Triton, &fault("body_byte: 5", "fin"), Ask::default()).await;
    assert_eq!(cut.wire, plain.wire[..head + 5]);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_connection_is_reset_where_the_script_says() {
    for dialect in ALL {
        for at in ["byte: 60", "body_byte: 33", "token: 4"] {
            let answer = streamed(dialect, &fault(at, "rst"), Ask::default()).await;
            assert!(answer.was_reset && !answer.is_whole, "{dialect:?} {at}");
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_stalled_stream_is_silent_and_holds_its_slot_until_the_client_leaves() {
    for dialect in ALL {
        for at in ["token: 3", "body_byte: 200"] {
            let engine = engine(dialect, &fault(at, "{stall: {}}")).await;
            let mut stream =
                client::send(engine.address(), &request(dialect, Ask::default())).await;
            wait_for(&engine, |event| matches!(event, Event::Faulted { .. })).await;
            let silence =
                timeout(Duration::from_millis(80), client::read_answer(&mut stream)).await;
            assert!(silence.is_err(), "{dialect:?} {at}");
            assert!(
                !engine
                    .log()
                    .iter()
                    .any(|entry| matches!(entry.event, Event::SlotFreed { .. }))
            );
            drop(stream);
            wait_for(&engine, |event| matches!(event, Event::SlotFreed { .. })).await;
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_stall_with_an_end_delays_and_loses_nothing() {
    for dialect in ALL {
        let began = std::time::Instant::now();
        let answer = streamed(
            dialect,
            &fault("body_byte: 200", "{stall: {ms: 150}}"),
            Ask::default(),
        )
        .await;
        assert!(began.elapsed() >= Duration::from_millis(150));
        assert_eq!(
            streamed_text(dialect, &answer),
            expected(Ask::default()),
            "{dialect:?}"
        );
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn garbage_comes_where_it_should_and_the_stream_goes_on() {
    let cases: [(&str, &[u8]); 8] = [
        ("invalid_json", b"no end\n"),
        ("invalid_utf8", b"\xff\xfe\xc3"),
        ("{long_line: {bytes: 100000}}", &[b'a'; 100_000]),
        ("empty_data", b"data: \n\n"),
        ("unknown_event", b"event: surprise\n"),
        ("comment", b": just a comment\n"),
        ("bom", b"\xef\xbb\xbf"),
        ("foreign_frame", b" late"),
    ];
    for dialect in ALL {
        for (garbage, mark) in cases {
            let script = fault("token: 2", &format!("{{garbage: {garbage}}}"));
            let answer = streamed(dialect, &script, Ask::default()).await;
            let found = answer
                .body
                .windows(mark.len())
                .position(|window| window == mark);
            assert!(found.is_some(), "{dialect:?} {garbage}: {}", answer.text());
            assert!(answer.is_whole, "{dialect:?} {garbage}");
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn half_a_frame_swallows_the_next_and_lies_about_chunks_break_the_transport() {
    for dialect in ALL {
        let half = streamed(
            dialect,
            &fault("token: 2", "{garbage: half_frame}"),
            Ask::default(),
        )
        .await;
        assert!(half.is_whole);
        assert_ne!(streamed_text(dialect, &half), expected(Ask::default()));
        for lie in ["chunk_size_lie", "chunk_size_garbage"] {
            let script = fault("token: 2", &format!("{{garbage: {lie}}}"));
            let engine = engine(dialect, &script).await;
            let mut stream =
                client::send(engine.address(), &request(dialect, Ask::default())).await;
            let answer =
                timeout(Duration::from_millis(500), client::read_answer(&mut stream)).await;
            assert!(
                !answer.is_ok_and(|answer| answer.is_whole),
                "{dialect:?} {lie}"
            );
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn errors_come_in_mid_stream_of_a_200_and_free_the_slot() {
    for dialect in ALL {
        let engine = engine(
            dialect,
            &fault("token: 3", "{error_frame: {message: it broke}}"),
        )
        .await;
        let answer = client::ask(engine.address(), &request(dialect, Ask::default())).await;
        assert_eq!(answer.status(), 200, "{dialect:?}");
        assert!(
            answer.text().contains("it broke") && answer.is_whole,
            "{dialect:?}"
        );
        assert_eq!(
            dones(&answer),
            usize::from(dialect == Vllm),
            "[DONE] is no success"
        );
        wait_for(&engine, |event| matches!(event, Event::SlotFreed { .. })).await;
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn refusals_come_instead_of_an_answer_and_take_no_slot() {
    for (dialect, overloaded, broken) in [
        (Vllm, 503, 500),
        (Tgi, 429, 424),
        (Triton, 503, 400),
        (Llamacpp, 503, 500),
    ] {
        for (fault, status) in [
            ("overloaded", overloaded),
            ("{server_error: {message: no}}", broken),
            ("html", 200),
        ] {
            let engine = engine(dialect, &format!("faults: [{{fault: {fault}}}]")).await;
            let ask = Ask {
                stream: false,
                ..Ask::default()
            };
            let answer = client::ask(engine.address(), &request(dialect, ask)).await;
            assert_eq!(
                answer.status(),
                status,
                "{dialect:?} {fault}: {}",
                answer.text()
            );
            assert_eq!(answer.text().starts_with("<!DOCTYPE"), fault == "html");
            let took_slot = |event: &Event| matches!(event, Event::SlotTaken { .. });
            assert!(!engine.log().iter().any(|entry| took_slot(&entry.event)));
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn one_failing_request_takes_its_neighbours_along() {
    let script = "decode_tokens_per_s: 100\nfaults: [{when: {prompt: FAIL}, at: {token: 3}, fault: {batch_failure: {message: CUDA error}}}]";
    let engine = engine(Tgi, script).await;
    let innocent = request(
        Tgi,
        Ask {
            max_tokens: 500,
            ..Ask::default()
        },
    );
    let failing = request(
        Tgi,
        Ask {
            prompt: "FAIL",
            ..Ask::default()
        },
    );
    let (innocent, failing) = tokio::join!(
        client::ask(engine.address(), &innocent),
        client::ask(engine.address(), &failing)
    );
    for answer in [innocent, failing] {
        assert!(answer.text().contains("CUDA error"), "{}", answer.text());
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn faults_befall_the_generations_that_the_script_means() {
    let script = "faults:\n  - {when: {request: 1}, at: {byte: 0}, fault: fin}\n  - {when: {prompt: MARK}, at: {byte: 0}, fault: fin}\n  \
                  - {when: {every: 5, prompt: often}, at: {byte: 0}, fault: fin}\n";
    let engine = engine(Llamacpp, script).await;
    let mut fell = Vec::new();
    for prompt in [
        "a", "a", "a MARK b", "often", "a", "often", "a", "a", "a", "a", "often",
    ] {
        let ask = Ask {
            prompt,
            max_tokens: 1,
            ..Ask::default()
        };
        let answer = client::ask(engine.address(), &request(Llamacpp, ask)).await;
        fell.push(answer.wire.is_empty());
    }
    let expected: Vec<bool> = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1]
        .map(|fell| fell == 1)
        .to_vec();
    assert_eq!(fell, expected);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_hung_engine_answers_nothing_and_its_health_may_lie() {
    let health = |dialect| match dialect {
        Triton => "/v2/health/ready",
        Llamacpp | Vllm | Tgi => "/health",
    };
    for dialect in ALL {
        for (script, answers) in [("honest", false), ("hangs", false), ("lies", true)] {
            let script =
                format!("hang_after_requests: 1\ndecode_tokens_per_s: 50\nhealth: {script}");
            let engine = engine(dialect, &script).await;
            let ask = Ask {
                max_tokens: 500,
                ..Ask::default()
            };
            let mut running = client::send(engine.address(), &request(dialect, ask)).await;
            wait_for(&engine, |event| {
                matches!(event, Event::Token { count: 2.., .. })
            })
            .await;
            let mut silent = client::send(engine.address(), &request(dialect, ask)).await;
            wait_for(&engine, |event| {
                matches!(event, Event::Request { request: 1, .. })
            })
            .await;
            let asked = client::get(health(dialect));
            let told = timeout(
                Duration::from_millis(100),
                client::ask(engine.address(), &asked),
            )
            .await;
            assert_eq!(
                told.is_ok_and(|answer| answer.status() == 200),
                answers,
                "{dialect:?} {script}"
            );
            let tokens = || {
                engine
                    .log()
                    .iter()
                    .filter(|it| matches!(it.event, Event::Token { .. }))
                    .count()
            };
            let before = tokens();
            let quiet = timeout(Duration::from_millis(100), client::read_answer(&mut silent)).await;
            assert!(quiet.is_err());
            assert!(
                tokens() <= before + 1,
                "{dialect:?}: the stream that ran goes on"
            );
            drop(client::read_some(&mut running, 1).await);
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn the_log_is_the_truth_about_every_stream() {
    for dialect in ALL {
        let engine = engine(dialect, "slots: 2").await;
        let address = engine.address();
        let requests: Vec<Vec<u8>> = (0..4)
            .map(|seed| {
                request(
                    dialect,
                    Ask {
                        seed,
                        max_tokens: 20,
                        ..Ask::default()
                    },
                )
            })
            .collect();
        let asks = requests.iter().map(|request| client::ask(address, request));
        let mut told = Vec::new();
        for ask in asks {
            told.push(streamed_text(dialect, &ask.await));
        }
        let log = engine.log();
        for (index, text) in told.iter().enumerate() {
            let of_request = || {
                log.iter()
                    .filter(|entry| entry.event.request() == Some(index as u64))
            };
            let logged: String = of_request()
                .filter_map(|entry| match &entry.event {
                    Event::Token { text, .. } => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(&logged, text, "{dialect:?}");
            let names: Vec<_> = of_request()
                .map(|entry| std::mem::discriminant(&entry.event))
                .collect();
            assert!(names.len() > 5, "{dialect:?}");
        }
        let order: Vec<u64> = log.iter().map(|entry| entry.t_us).collect();
        assert!(order.is_sorted(), "{dialect:?}");
    }
}
