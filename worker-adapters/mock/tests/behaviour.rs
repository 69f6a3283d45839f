//! What tests that use the mock may rely on.

use std::time::Duration;

use futures_util::StreamExt;
use worker_adapters_adapter_api::adapter::{Health, SlotRelease, WorkerAdapter};
use worker_adapters_adapter_api::error::{AdapterError, FaultKind};
use worker_adapters_adapter_api::generation::{
    GenerateRequest, GenerationEvent, GenerationStream, Limits,
};
use worker_adapters_adapter_api::sampling::Sampling;
use worker_adapters_mock::MockAdapter;

const SHORT: Duration = Duration::from_millis(50);

fn request(slot: u32, seed: u32) -> GenerateRequest {
    GenerateRequest {
        request_id: "r".into(),
        slot,
        prompt: "two words".into(),
        max_tokens: 5,
        seed,
        sampling: Sampling::profile_v1(),
        limits: Limits {
            first_token: Duration::from_secs(30),
            gap: Duration::from_secs(30),
        },
    }
}

/// Reads a stream to its end: the text, and how it ended.
async fn read(mut stream: GenerationStream) -> (String, Result<u32, AdapterError>) {
    let mut text = String::new();
    loop {
        match stream
            .next()
            .await
            .expect("a terminal item comes before the end")
        {
            Ok(GenerationEvent::Text(piece)) => text.push_str(&piece),
            Ok(GenerationEvent::Done(completion)) => return (text, Ok(completion.tokens_out)),
            Err(error) => return (text, Err(error)),
        }
    }
}

// spec: ORCH-3045, ORCH-3058
#[tokio::test]
async fn the_text_depends_on_prompt_and_seed_alone() {
    let adapter = MockAdapter::new(2);
    let first = read(adapter.generate(request(0, 7)).await.unwrap()).await;
    let second = read(adapter.generate(request(1, 7)).await.unwrap()).await;
    let other = read(adapter.generate(request(1, 8)).await.unwrap()).await;
    assert_eq!(first.1, Ok(5));
    assert_eq!(first, second);
    assert_ne!(first.0, other.0);
    assert_eq!(
        first.0,
        MockAdapter::pieces("two words", 7, 5).collect::<String>()
    );
    let metrics = adapter.metrics().await.unwrap();
    assert_eq!(
        (metrics.tokens_in_total, metrics.tokens_out_total),
        (Some(6), Some(15))
    );
}

#[tokio::test(start_paused = true)]
async fn a_script_decides_what_comes_and_when() {
    let adapter = MockAdapter::new(1);
    let script = adapter.script();
    let mut stream = adapter.generate(request(0, 1)).await.unwrap();
    let nothing = tokio::time::timeout(SHORT, stream.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    script.text("a");
    assert_eq!(
        stream.next().await,
        Some(Ok(GenerationEvent::Text("a".into())))
    );
    script.text("b");
    script.fail(AdapterError::EngineFailed {
        message: "boom".into(),
    });
    let (text, end) = read(stream).await;
    assert_eq!(
        (text.as_str(), end.unwrap_err().kind()),
        ("b", FaultKind::EngineFailed)
    );
    script.dropped().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_script_cuts_the_stream_and_a_silent_one_times_out() {
    let adapter = MockAdapter::new(1);
    let cut = adapter.script();
    let silent = adapter.script();
    drop(cut);
    let (_, end) = read(adapter.generate(request(0, 1)).await.unwrap()).await;
    assert_eq!(end.unwrap_err().kind(), FaultKind::CutOff);
    silent.text("a");
    let (text, end) = read(adapter.generate(request(0, 1)).await.unwrap()).await;
    assert_eq!(
        (text.as_str(), end.unwrap_err().kind()),
        ("a", FaultKind::TimedOut)
    );
}

// spec: ORCH-3017
#[tokio::test(start_paused = true)]
async fn a_slot_is_busy_while_its_stream_lives() {
    let adapter = MockAdapter::new(2);
    let script = adapter.script();
    let stream = adapter.generate(request(1, 1)).await.unwrap();
    let busy: Vec<bool> = adapter
        .slots()
        .await
        .unwrap()
        .iter()
        .map(|slot| slot.busy)
        .collect();
    assert_eq!(busy, [false, true]);
    assert_eq!(adapter.metrics().await.unwrap().running, Some(1));
    let second = adapter.generate(request(1, 1)).await.err().unwrap();
    assert_eq!(second.kind(), FaultKind::Overloaded);
    assert_eq!(
        adapter.confirm_release(1, SHORT).await,
        SlotRelease::Unknown
    );
    drop(stream);
    assert_eq!(
        adapter.confirm_release(1, SHORT).await,
        SlotRelease::Confirmed
    );
    script.dropped().await;
    assert_eq!(adapter.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_slot_stays_busy_until_it_is_unstuck() {
    let adapter = MockAdapter::new(1);
    adapter.stick(0);
    drop(adapter.generate(request(0, 1)).await.unwrap());
    assert_eq!(
        adapter.confirm_release(0, SHORT).await,
        SlotRelease::Unknown
    );
    adapter.unstick(0);
    assert_eq!(
        adapter.confirm_release(0, SHORT).await,
        SlotRelease::Confirmed
    );
}

#[tokio::test]
async fn health_and_refusals_are_what_the_test_set() {
    let adapter = MockAdapter::new(1);
    assert_eq!(adapter.health().await, Ok(Health::Ready));
    let down = AdapterError::Unreachable {
        reason: "down".into(),
    };
    adapter.set_health(Err(down.clone()));
    assert_eq!(adapter.health().await, Err(down.clone()));
    adapter.refuse_next(down.clone());
    assert_eq!(adapter.generate(request(0, 1)).await.err(), Some(down));
    assert!(adapter.generate(request(0, 1)).await.is_ok());
    let outside = adapter.generate(request(9, 1)).await.err().unwrap();
    assert_eq!(outside.kind(), FaultKind::Rejected);
}
