//! From a submission to the last frame.

use contracts_api_types::task::{FinishReason, TaskState};
use sha2::{Digest, Sha256};
use worker_adapters_mock::MockAdapter;

use super::house::{House, bytes_of, data, frames, names, task, tenant, text};
use crate::services::tasks::NewTask;

// spec: ORCH-2002, ORCH-3410, OC-CTRL-2020, OC-CTRL-2021
#[tokio::test(start_paused = true)]
async fn a_task_streams_from_started_to_end_with_the_engines_text() {
    let house = House::with(&[("w", 1)]).await;
    let id = house.submit(task(1)).await;
    let seen = house.read(id).await;
    let pieces: Vec<_> = MockAdapter::pieces("two words", 42, 8).collect();
    assert_eq!(names(&seen)[..2], ["started", "metrics"]);
    assert_eq!(names(&seen)[2..10], ["token"; 8]);
    assert_eq!(names(&seen)[10..], ["end"]);
    assert_eq!(text(&seen), pieces.concat());
    let started = data(&seen, "started");
    assert_eq!(started["pool_id"], "p");
    assert_eq!(started["replica_id"], "w");
    assert_eq!(started["model_digest"], "sha256:abc");
    assert_eq!(started["engine_version"], "b1");
    assert_eq!(started["device_class"], "cpu-ci");
    assert_eq!(started["seed"], 42);
    let end = data(&seen, "end");
    assert_eq!(
        (&end["tokens_in"], &end["tokens_out"]),
        (&2.into(), &8.into())
    );
    assert_eq!(end["finish_reason"], "stop");
    let digest = Sha256::digest(pieces.concat());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(end["text_digest"], digest);
}

// spec: ORCH-2001, ORCH-3028
#[tokio::test(start_paused = true)]
async fn the_status_and_the_series_agree_with_the_stream() {
    let house = House::with(&[("w", 1)]).await;
    let id = house.submit(task(1)).await;
    house.read(id).await;
    let status = house.status(id).await;
    assert_eq!(status.state, TaskState::Done);
    assert_eq!(status.finish_reason, Some(FinishReason::Stop));
    assert_eq!((status.tokens_in, status.tokens_out), (Some(2), Some(8)));
    assert_eq!(status.correlation_id, "c-1");
    let placement = status.placement.unwrap();
    assert_eq!(
        (placement.replica_id.as_str(), placement.attempts),
        ("w", 1)
    );
    assert!(house.counts("tasks_enqueued_total", "replica_id=\"none\"", "1"));
    assert!(house.counts("tasks_started_total", "replica_id=\"w\"", "1"));
    assert!(house.counts("tokens_out_total", "replica_id=\"w\"", "8"));
    assert!(house.counts("latency_first_token_ms_count", "", "1"));
    assert!(house.counts("queue_depth", "priority=\"interactive\"", "0"));
}

// spec: ORCH-3401, ORCH-3410
#[tokio::test(start_paused = true)]
async fn readers_see_the_same_bytes_whenever_they_come() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    let id = house.submit(task(1)).await;
    let early = house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .unwrap();
    script.text("one");
    house
        .until_status(id, |status| status.first_token_ms.is_some())
        .await;
    let middle = house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .unwrap();
    script.text(" two");
    script.done();
    let (early, middle) = tokio::join!(bytes_of(early.log), bytes_of(middle.log));
    let late = house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .unwrap();
    assert_eq!(early, middle);
    assert_eq!(early, bytes_of(late.log).await);
    assert_eq!(text(&frames(&early)), "one two");
}

// spec: ORCH-3045, ORCH-3471
#[tokio::test(start_paused = true)]
async fn the_engine_gets_the_request_as_it_was_checked() {
    let house = House::with(&[("w", 2)]).await;
    let mut given = task(1);
    given.sampling.temperature = 0.25;
    given.seed = None;
    let id = house.submit(given.clone()).await;
    house.read(id).await;
    let request = house.worker("w").requests().remove(0);
    assert_eq!(request.prompt, given.prompt);
    assert_eq!(request.max_tokens, 8);
    assert_eq!(request.sampling, given.sampling);
    assert_eq!(request.request_id, id.to_string());
    assert_eq!(request.seed, crate::services::admission::derived_seed(id));
    assert_eq!(house.status(id).await.seed, request.seed);
}

// spec: OC-CORE-1004, ORCH-3019
#[tokio::test(start_paused = true)]
async fn what_waits_starts_when_a_slot_is_free_and_says_where_it_stands() {
    let house = House::with(&[("w", 1)]).await;
    let first = house.worker("w").script();
    let one = house.submit(task(1)).await;
    let two = house.submit(task(2)).await;
    let three = house.submit(task(3)).await;
    assert_eq!(house.status(two).await.queue_position, Some(0));
    assert_eq!(house.status(three).await.queue_position, Some(1));
    assert_eq!(house.status(three).await.state, TaskState::Queued);
    assert_eq!(house.load(), (1, 2));
    first.done();
    house.read(three).await;
    assert_eq!(house.status(one).await.state, TaskState::Done);
    assert_eq!(house.status(two).await.state, TaskState::Done);
    house.until_load(0, 0).await;
}

// spec: ORCH-3464
#[tokio::test(start_paused = true)]
async fn a_task_of_another_tenant_is_unknown_and_its_id_is_free() {
    let house = House::with(&[("w", 1)]).await;
    let _hung = house.worker("w").script();
    let id = house.submit(task(1)).await;
    let stranger = orchestrator_core::ids::TenantId::parse("stranger").unwrap();
    assert!(house.services.tasks.status(&stranger, id).await.is_err());
    assert!(house.services.tasks.cancel(&stranger, id).await.is_err());
    assert!(
        house
            .services
            .tasks
            .open_stream(&stranger, id, None)
            .await
            .is_err()
    );
    let theirs = NewTask {
        tenant: stranger.clone(),
        body_hash: [1; 32],
        ..task(1)
    };
    assert_eq!(
        house.services.tasks.submit(theirs).await.unwrap().task_id,
        id
    );
    assert_eq!(house.status(id).await.state, TaskState::Running);
    assert_eq!(
        house
            .services
            .tasks
            .status(&stranger, id)
            .await
            .unwrap()
            .state,
        TaskState::Queued
    );
}
