//! What becomes of a generation whose client leaves, engine by engine.

use std::time::Duration;

use test_harness_fake_engine::Dialect::{self, Llamacpp, Tgi, Triton, Vllm};
use test_harness_fake_engine::FakeEngine;
use test_harness_fake_engine::log::Event;
use tokio::net::TcpStream;

use crate::asking::{Ask, request};
use crate::{at, client, engine, wait_for};

const SLOW: &str = "decode_tokens_per_s: 100";

fn is_freed(event: &Event, request: u64) -> bool {
    matches!(event, Event::SlotFreed { request: freed, .. } if *freed == request)
}

fn has_left(event: &Event, request: u64) -> bool {
    matches!(event, Event::DisconnectSeen { request: left, .. } if *left == request)
}

fn is_finished_or_freed_in_full(event: &Event, tokens: u32) -> bool {
    matches!(event, Event::SlotFreed { tokens: computed, .. } if *computed == tokens)
}

/// A generation that has begun.
async fn begun(engine: &FakeEngine, dialect: Dialect, ask: Ask<'_>) -> TcpStream {
    let before = engine
        .log()
        .iter()
        .filter(|it| matches!(it.event, Event::Request { .. }))
        .count() as u64;
    let stream = client::send(engine.address(), &request(dialect, ask)).await;
    wait_for(
        engine,
        |event| matches!(event, Event::Prefilled { request, .. } if *request == before),
    )
    .await;
    stream
}

/// How long the slot was held after the client of the first generation left.
async fn held(engine: &FakeEngine) -> Duration {
    wait_for(engine, |event| is_freed(event, 0)).await;
    let log = engine.log();
    let left = at(&log, |event| has_left(event, 0));
    Duration::from_micros(at(&log, |event| is_freed(event, 0)) - left)
}

async fn held_after_leaving(dialect: Dialect, script: &str, stream: bool) -> Duration {
    let engine = engine(dialect, &format!("{SLOW}\n{script}")).await;
    let ask = Ask {
        stream,
        max_tokens: 2000,
        ..Ask::default()
    };
    drop(begun(&engine, dialect, ask).await);
    let held = held(&engine).await;
    let aborted = |event: &Event| matches!(event, Event::Aborted { request: 0, .. });
    wait_for(&engine, aborted).await;
    held
}

// spec: OC-TEST-7302
#[tokio::test]
async fn streams_are_given_up_at_once_where_the_real_engine_does() {
    for dialect in [Llamacpp, Vllm, Tgi, Triton] {
        let held = held_after_leaving(dialect, "", true).await;
        assert!(held < Duration::from_millis(150), "{dialect:?}: {held:?}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn whole_answers_are_given_up_at_once_by_vllm_and_tgi_alone() {
    for dialect in [Vllm, Tgi] {
        let held = held_after_leaving(dialect, "", false).await;
        assert!(held < Duration::from_millis(150), "{dialect:?}: {held:?}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_notices_the_client_of_a_whole_answer_after_a_quiet_second() {
    let held = held_after_leaving(Llamacpp, "", false).await;
    assert!((1000..1900).contains(&held.as_millis()), "{held:?}");
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_does_not_notice_while_others_stream() {
    let engine = engine(Llamacpp, SLOW).await;
    let leaver = Ask {
        stream: false,
        max_tokens: 2000,
        ..Ask::default()
    };
    let leaver = begun(&engine, Llamacpp, leaver).await;
    let mut other = begun(
        &engine,
        Llamacpp,
        Ask {
            max_tokens: 150,
            ..Ask::default()
        },
    )
    .await;
    drop(leaver);
    assert!(client::read_answer(&mut other).await.is_whole);
    assert!(
        !engine.log().iter().any(|entry| is_freed(&entry.event, 0)),
        "1.5 s after it left"
    );
    let held = held(&engine).await;
    assert!(held > Duration::from_millis(2300), "{held:?}");
}

// spec: OC-TEST-7302
#[tokio::test]
async fn some_engines_compute_to_the_end_for_nobody() {
    let ensemble = "triton: {ensemble: true}";
    let llamacpp = "tgi: {backend: llamacpp}";
    for (dialect, script, stream) in [
        (Triton, "", false),
        (Triton, ensemble, true),
        (Tgi, llamacpp, true),
        (Tgi, llamacpp, false),
    ] {
        let engine = engine(dialect, &format!("{SLOW}\n{script}")).await;
        let ask = Ask {
            stream,
            max_tokens: 30,
            ..Ask::default()
        };
        drop(begun(&engine, dialect, ask).await);
        wait_for(&engine, |event| has_left(event, 0)).await;
        wait_for(&engine, |event| is_finished_or_freed_in_full(event, 30)).await;
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_reset_is_seen_as_one() {
    let engine = engine(Vllm, SLOW).await;
    let stream = begun(
        &engine,
        Vllm,
        Ask {
            max_tokens: 2000,
            ..Ask::default()
        },
    )
    .await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    wait_for(&engine, |event| {
        *event
            == Event::DisconnectSeen {
                request: 0,
                by_reset: true,
            }
    })
    .await;
    wait_for(&engine, |event| is_freed(event, 0)).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn an_ignored_abort_keeps_the_slot_for_as_long_as_scripted() {
    let script = "slots: 1\nfaults: [{when: {request: 0}, fault: {ignore_abort: {ms: 400}}}]";
    for dialect in [Llamacpp, Triton] {
        for max_tokens in [5, 2000] {
            let engine = engine(dialect, &format!("{SLOW}\n{script}")).await;
            drop(
                begun(
                    &engine,
                    dialect,
                    Ask {
                        max_tokens,
                        ..Ask::default()
                    },
                )
                .await,
            );
            let next = client::ask(engine.address(), &request(dialect, Ask::default())).await;
            assert!(next.is_whole, "the next one gets the slot in the end");
            let held = held(&engine).await;
            assert!(
                (400..800).contains(&held.as_millis()),
                "{dialect:?} {max_tokens}: {held:?}"
            );
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_client_that_leaves_the_queue_takes_no_slot() {
    let engine = engine(Vllm, &format!("{SLOW}\nslots: 1")).await;
    let mut first = begun(
        &engine,
        Vllm,
        Ask {
            max_tokens: 20,
            ..Ask::default()
        },
    )
    .await;
    let queued = client::send(engine.address(), &request(Vllm, Ask::default())).await;
    wait_for(&engine, |event| {
        matches!(event, Event::Request { request: 1, .. })
    })
    .await;
    drop(queued);
    wait_for(&engine, |event| has_left(event, 1)).await;
    assert!(client::read_answer(&mut first).await.is_whole);
    let third = client::ask(engine.address(), &request(Vllm, Ask::default())).await;
    assert!(third.is_whole);
    let took = |request: u64| {
        let taken = move |event: &Event| matches!(event, Event::SlotTaken { request: by, .. } if *by == request);
        engine.log().iter().any(|entry| taken(&entry.event))
    };
    assert!(took(0) && !took(1) && took(2));
}

// spec: OC-TEST-7302
#[tokio::test]
async fn waiting_generations_get_slots_in_their_order() {
    let engine = engine(Llamacpp, "decode_tokens_per_s: 200\nslots: 1").await;
    let mut streams = Vec::new();
    for index in 0..4 {
        streams.push(client::send(engine.address(), &request(Llamacpp, Ask::default())).await);
        wait_for(
            &engine,
            |event| matches!(event, Event::Request { request, .. } if *request == index),
        )
        .await;
    }
    for mut stream in streams {
        assert!(client::read_answer(&mut stream).await.is_whole);
    }
    let log = engine.log();
    let order: Vec<u64> = log
        .iter()
        .filter_map(|entry| match entry.event {
            Event::SlotTaken { request, .. } => Some(request),
            _ => None,
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 3]);
    assert!(
        !log.iter()
            .any(|entry| matches!(entry.event, Event::HighWater { busy: 2.. }))
    );
}
