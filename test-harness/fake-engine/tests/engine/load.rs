//! Many streams, pace, and the prefix cache.

use std::time::{Duration, Instant};

use test_harness_fake_engine::Dialect::{Llamacpp, Triton, Vllm};
use test_harness_fake_engine::log::Event;
use test_harness_fake_engine::script::text::TextScript;
use test_harness_fake_engine::text;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::asking::{ALL, Ask, TEMPERATURE, request, streamed_text};
use crate::process::Program;
use crate::{client, engine};

const STREAMS: u64 = 200;

// spec: OC-TEST-7302
#[tokio::test]
async fn two_hundred_streams_at_once_all_get_their_own_bytes_from_one_thread() {
    for dialect in ALL {
        let program = Program::start(dialect, "slots: 200\ndecode_tokens_per_s: 100").await;
        let mut streams = JoinSet::new();
        for seed in 0..STREAMS {
            let address = program.address;
            streams.spawn(async move {
                let ask = Ask {
                    seed,
                    max_tokens: 50,
                    ..Ask::default()
                };
                let answer = client::ask(address, &request(dialect, ask)).await;
                assert!(answer.is_whole, "{dialect:?} {seed}");
                let of = text::Ask {
                    prompt: ask.prompt,
                    seed,
                    temperature: TEMPERATURE,
                };
                let expected = text::expected(&TextScript::default(), &of, ask.max_tokens);
                assert_eq!(
                    streamed_text(dialect, &answer),
                    expected,
                    "{dialect:?} {seed}"
                );
            });
        }
        while let Some(done) = streams.join_next().await {
            done.unwrap();
        }
        let (status, log) = program.terminate().await;
        assert!(status.success());
        let count =
            |what: fn(&Event) -> bool| log.iter().filter(|entry| what(&entry.event)).count() as u64;
        assert_eq!(
            count(|event| matches!(event, Event::SlotTaken { .. })),
            STREAMS
        );
        assert_eq!(
            count(|event| matches!(event, Event::SlotFreed { tokens: 50, .. })),
            STREAMS
        );
        assert_eq!(
            count(|event| matches!(event, Event::Finished { tokens: 50, .. })),
            STREAMS
        );
        let high = log.iter().rev().find_map(|entry| match entry.event {
            Event::HighWater { busy } => Some(busy),
            _ => None,
        });
        assert_eq!(high, Some(200), "{dialect:?}: they did not all run at once");
    }
}

async fn elapsed(address: std::net::SocketAddr, request: &[u8]) -> Duration {
    let began = Instant::now();
    assert!(client::ask(address, request).await.is_whole);
    began.elapsed()
}

// spec: OC-TEST-7302
#[tokio::test]
async fn tokens_come_at_the_scripted_rate_and_slower_with_neighbours() {
    let engine = engine(Triton, "decode_tokens_per_s: 200\nbatch_slowdown: 1.0").await;
    let asked = request(
        Triton,
        Ask {
            max_tokens: 60,
            ..Ask::default()
        },
    );
    let alone = elapsed(engine.address(), &asked).await;
    assert!((290..560).contains(&alone.as_millis()), "{alone:?}");
    let (one, other) = tokio::join!(
        elapsed(engine.address(), &asked),
        elapsed(engine.address(), &asked)
    );
    for together in [one, other] {
        assert!((570..2000).contains(&together.as_millis()), "{together:?}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_prompt_that_was_read_before_is_read_faster_and_reported_as_cached() {
    for dialect in [Llamacpp, Vllm] {
        let engine = engine(dialect, "prefill_tokens_per_s: 200").await;
        let prompt = "hello ".repeat(25);
        let asked = request(
            dialect,
            Ask {
                prompt: &prompt,
                max_tokens: 2,
                ..Ask::default()
            },
        );
        let cold = elapsed(engine.address(), &asked).await;
        let warm = elapsed(engine.address(), &asked).await;
        assert!(cold >= Duration::from_millis(480), "{dialect:?}: {cold:?}");
        assert!(warm < Duration::from_millis(250), "{dialect:?}: {warm:?}");
        let cached: Vec<u32> = engine
            .log()
            .iter()
            .filter_map(|entry| match entry.event {
                Event::Prefilled { cached_tokens, .. } => Some(cached_tokens),
                _ => None,
            })
            .collect();
        assert!(cached[0] == 0 && cached[1] >= 96, "{dialect:?}: {cached:?}");
        let metrics = client::ask(engine.address(), &client::get("/metrics"))
            .await
            .text();
        let name = match dialect {
            Llamacpp => "llamacpp:prompt_tokens_cached_total ",
            _ => "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"tiny\"} ",
        };
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        assert_eq!(
            value.parse::<f64>().unwrap(),
            f64::from(cached[1]),
            "{dialect:?}"
        );
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_cache_of_nothing_caches_nothing() {
    let engine = engine(Llamacpp, "cache_tokens: 0").await;
    for _ in 0..2 {
        let answer = client::ask(engine.address(), &request(Llamacpp, Ask::default())).await;
        assert!(answer.text().contains("\"cache_n\":0"), "{}", answer.text());
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_shows_its_busy_slots_and_takes_slot_numbers_modulo() {
    let engine = engine(Llamacpp, "slots: 2\nctx: 512\ndecode_tokens_per_s: 100").await;
    let body = r#"{"prompt": "hello world", "n_predict": 400, "id_slot": 2, "stream": true}"#;
    let _running = client::send(engine.address(), &client::post("/completion", body)).await;
    crate::wait_for(&engine, |event| matches!(event, Event::Token { .. })).await;
    let slots = client::ask(engine.address(), &client::get("/slots"))
        .await
        .json();
    assert_eq!(slots[0]["is_processing"], true);
    assert_eq!(slots[0]["params"]["n_predict"], 400);
    assert!(slots[0]["next_token"][0]["n_decoded"].as_u64() >= Some(1));
    assert_eq!(slots[1]["is_processing"], false);
    let idle = crate::fixture::exchange("llamacpp", "03");
    let idle: serde_json::Value = serde_json::from_slice(&idle.body).unwrap();
    assert_eq!(slots[1], idle[1], "a slot never used");
    let free = client::ask(engine.address(), &client::get("/slots?fail_on_no_slot=1")).await;
    assert_eq!(free.status(), 200);
    let body = body.replace("\"id_slot\": 2", "\"id_slot\": 1");
    let _other = client::send(engine.address(), &client::post("/completion", &body)).await;
    crate::wait_for(&engine, |event| {
        matches!(event, Event::Token { request: 1, .. })
    })
    .await;
    let full = client::ask(engine.address(), &client::get("/slots?fail_on_no_slot=1")).await;
    let recorded = crate::fixture::exchange("llamacpp", "34");
    assert_eq!((full.head, full.body), (recorded.head, recorded.body));
    let metrics = client::ask(engine.address(), &client::get("/metrics"))
        .await
        .text();
    assert!(
        metrics.contains("llamacpp:requests_processing 2\n"),
        "{metrics}"
    );
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_ends_truncated_at_its_context() {
    let engine = engine(Llamacpp, "ctx: 64").await;
    let ask = Ask {
        max_tokens: 5000,
        ..Ask::default()
    };
    let answer = client::ask(engine.address(), &request(Llamacpp, ask)).await;
    let last = crate::asking::events(&answer).pop().unwrap();
    assert_eq!(
        (&last["truncated"], &last["stop_type"]),
        (&true.into(), &"limit".into())
    );
    assert_eq!(last["tokens_predicted"], 56);
    assert_eq!(last["tokens_cached"], 63);
}

// spec: OC-TEST-7302
#[tokio::test]
async fn an_end_token_ends_an_answer_unless_it_is_ignored() {
    let engine = engine(Llamacpp, "text: {eos_after: 3}").await;
    for (ignore, stop_type, tokens) in [(false, "eos", 4), (true, "limit", 8)] {
        let body = format!(r#"{{"prompt": "a", "n_predict": 8, "ignore_eos": {ignore}}}"#);
        let told = client::ask(engine.address(), &client::post("/completion", &body))
            .await
            .json();
        assert_eq!(
            (&told["stop_type"], &told["tokens_predicted"]),
            (&stop_type.into(), &tokens.into())
        );
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn connections_stay_open_but_for_llamacpps_behind_an_error() {
    for dialect in ALL {
        let engine = engine(dialect, "").await;
        let mut stream = client::send(engine.address(), &request(dialect, Ask::default())).await;
        assert!(client::read_answer(&mut stream).await.is_whole);
        stream.write_all(&client::get("/nope")).await.unwrap();
        let refused = client::read_answer(&mut stream).await;
        assert_eq!(refused.status(), 404, "{dialect:?}");
        // On a closed connection the write may fail, or only the read.
        let written = stream.write_all(&client::get("/nope")).await;
        let is_open = written.is_ok() && client::read_answer(&mut stream).await.is_whole;
        assert_eq!(is_open, dialect != Llamacpp, "{dialect:?}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_pings_a_silent_stream_even_when_nothing_is_computed() {
    let engine = engine(Llamacpp, "decode_tokens_per_s: 100\nhang_after_requests: 1").await;
    let body = r#"{"prompt": "a", "n_predict": 99, "stream": true, "sse_ping_interval": 1}"#;
    let mut stream = client::send(engine.address(), &client::post("/completion", body)).await;
    crate::wait_for(&engine, |event| matches!(event, Event::Token { .. })).await;
    let _hangs = client::send(engine.address(), &request(Llamacpp, Ask::default())).await;
    let mut told = Vec::new();
    while !told.ends_with(b"3\r\n:\n\n\r\n") {
        let more = client::read_some(&mut stream, 1).await;
        assert!(!more.is_empty());
        told.extend(more);
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn whatever_befalls_them_no_generation_keeps_its_slot() {
    let script = "slots: 16
faults:
  - {when: {every: 7}, at: {token: 5}, fault: rst}
  - {when: {every: 5}, at: {body_byte: 99}, fault: fin}
  - {when: {every: 11}, at: {token: 3}, fault: {stall: {}}}
  - {when: {every: 3}, at: {token: 4}, fault: {error_frame: {message: no}}}
  - {when: {every: 13}, at: {token: 4}, fault: end_here}";
    for dialect in ALL {
        let engine = engine(dialect, script).await;
        let mut clients = JoinSet::new();
        for seed in 0..150 {
            let (address, ask) = (
                engine.address(),
                Ask {
                    seed,
                    max_tokens: 12,
                    ..Ask::default()
                },
            );
            clients.spawn(async move {
                let mut stream = client::send(address, &request(dialect, ask)).await;
                // Every client leaves: some early, and none waits for what never comes.
                let patience = Duration::from_millis(5 + 10 * (seed % 40));
                let _ = tokio::time::timeout(patience, client::read_answer(&mut stream)).await;
            });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        let settled = async {
            loop {
                let log = engine.log();
                let count =
                    |what: fn(&Event) -> bool| log.iter().filter(|it| what(&it.event)).count();
                let taken = count(|event| matches!(event, Event::SlotTaken { .. }));
                let freed = count(|event| matches!(event, Event::SlotFreed { .. }));
                let ended = count(|event| {
                    matches!(
                        event,
                        Event::DisconnectSeen { .. }
                            | Event::Faulted { .. }
                            | Event::Finished { .. }
                    )
                });
                if taken == freed && taken > 0 && ended >= 150 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(client::PATIENCE, settled)
            .await
            .expect("all slots are free in time");
    }
}
