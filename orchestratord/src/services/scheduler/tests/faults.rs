//! Engines, workers and agents that fail.

use std::time::Duration;

use contracts_api_types::error::ErrorCode;
use contracts_api_types::task::TaskState;
use worker_adapters_adapter_api::AdapterError;

use super::house::{House, data, names, pool, ready, starting, task, text};
use crate::services::tasks::NewTask;

fn died() -> AdapterError {
    AdapterError::CutOff {
        reason: "connection reset".into(),
    }
}

// spec: ORCH-3415, ORCH-3417
#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_before_the_first_text_is_replaced_in_silence() {
    let house = House::with(&[("a", 1), ("b", 1)]).await;
    let script = house.worker("a").script();
    script.fail(died());
    let id = house.submit(task(1)).await;
    let seen = house.read(id).await;
    assert_eq!(
        names(&seen)
            .iter()
            .filter(|name| **name == "started")
            .count(),
        1
    );
    assert_eq!(*names(&seen).last().unwrap(), "end");
    let status = house.status(id).await;
    let placement = status.placement.unwrap();
    assert_eq!(
        (placement.replica_id.as_str(), placement.attempts),
        ("b", 2)
    );
    assert_eq!(status.error, None);
}

// spec: ORCH-3416, ORCH-2002
#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_after_a_visible_text_ends_the_task_with_one_error() {
    let house = House::with(&[("a", 1), ("b", 1)]).await;
    let script = house.worker("a").script();
    script.text("one");
    script.fail(died());
    let id = house.submit(task(1)).await;
    let seen = house.read(id).await;
    assert_eq!(names(&seen), ["started", "metrics", "token", "error"]);
    let error = data(&seen, "error");
    assert_eq!(error["code"], "WORKER_RESET");
    assert_eq!(error["partial"], true);
    assert_eq!(error["pool_id"], "p");
    assert_eq!(error["engine"], "llamacpp");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("connection reset"),
        "{error}"
    );
    assert!(house.worker("b").requests().is_empty());
    assert_eq!(house.status(id).await.state, TaskState::Failed);
}

// spec: ORCH-3016, OC-CTRL-2124
#[tokio::test(start_paused = true)]
async fn an_engine_that_falls_silent_ends_the_task_in_time() {
    let house = House::with(&[("a", 1)]).await;
    let script = house.worker("a").script();
    script.text("one");
    let id = house.submit(task(1)).await;
    let begun = tokio::time::Instant::now();
    let seen = house.read(id).await;
    assert_eq!(data(&seen, "error")["code"], "DECODE_TIMEOUT");
    assert!(
        begun.elapsed() < Duration::from_secs(31),
        "{:?}",
        begun.elapsed()
    );
    house.until_load(0, 0).await;
}

// spec: ORCH-3455, OC-CORE-1022
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_aborts_the_task() {
    let house = House::with(&[("a", 1)]).await;
    let script = house.worker("a").script();
    script.text("one");
    let late = NewTask {
        deadline: Some(Duration::from_secs(10)),
        ..task(1)
    };
    let id = house.submit(late).await;
    let seen = house.read(id).await;
    assert_eq!(data(&seen, "error")["code"], "DEADLINE_UNMET");
    assert_eq!(data(&seen, "error")["partial"], true);
    script.dropped().await;
    house.until_load(0, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_engine_refuses_fails_with_its_words_and_is_not_repeated() {
    let house = House::with(&[("a", 1)]).await;
    let message = "n_predict out of range".to_owned();
    house.worker("a").refuse_next(AdapterError::Rejected {
        status: 400,
        message,
    });
    let id = house.submit(task(1)).await;
    let seen = house.read(id).await;
    assert_eq!(names(&seen), ["error"]);
    assert_eq!(data(&seen, "error")["code"], "INVALID_PARAMS");
    assert!(
        data(&seen, "error")["message"]
            .as_str()
            .unwrap()
            .contains("n_predict out of range")
    );
    assert_eq!(
        house.status(id).await.error.unwrap().code,
        ErrorCode::InvalidParams
    );
}

// spec: ORCH-3441
#[tokio::test(start_paused = true)]
async fn a_new_process_of_the_replica_takes_over_what_had_shown_nothing() {
    let mut house = House::with(&[("a", 1)]).await;
    let hung = house.worker("a").script();
    let id = house.submit(task(1)).await;
    house.until(id, TaskState::Running).await;
    house.push(vec![pool("p", 1, vec![ready("a", 2)])]).await;
    hung.dropped().await;
    assert!(!text(&house.read(id).await).is_empty());
    assert_eq!(house.status(id).await.placement.unwrap().attempts, 2);
}

// spec: ORCH-3442
#[tokio::test(start_paused = true)]
async fn the_texts_of_two_attempts_are_never_mixed() {
    let mut house = House::with(&[("a", 1), ("b", 1)]).await;
    let hung = house.worker("a").script();
    let id = house.submit(task(1)).await;
    house.until(id, TaskState::Running).await;
    // The text and the news of the dead process are there at the same time.
    hung.text("STALE");
    house.push(vec![pool("p", 1, vec![ready("b", 1)])]).await;
    let seen = house.read(id).await;
    let replaced = names(&seen).last() == Some(&"end") && !text(&seen).contains("STALE");
    let failed = names(&seen) == ["started", "metrics", "token", "error"] && text(&seen) == "STALE";
    assert!(
        replaced || failed,
        "text of two attempts is mixed: {seen:?}"
    );
}

// spec: ORCH-3440
#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_stops_placement_and_leaves_running_streams_alone() {
    let mut house = House::with(&[("a", 2)]).await;
    let script = house.worker("a").script();
    script.text("one");
    let id = house.submit(task(1)).await;
    house
        .until_status(id, |status| status.first_token_ms.is_some())
        .await;
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    assert!(!house.services.nodes.pool_health("p").unwrap().live);
    let refusal = house.services.tasks.submit(task(2)).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::PoolUnavailable);
    assert!(house.services.nodes.readiness().is_err());
    script.text(" two");
    script.done();
    assert_eq!(text(&house.read(id).await), "one two");
    house.push(vec![pool("p", 2, vec![ready("a", 1)])]).await;
    let back = house.submit(task(3)).await;
    house.read(back).await;
}

// spec: ORCH-3018
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_node_that_is_gone_for_good_ends_with_pool_unavailable() {
    let house = House::with(&[("a", 1)]).await;
    let script = house.worker("a").script();
    house.submit(task(1)).await;
    let waiting = house.submit(task(2)).await;
    script.done();
    house.worker("a").stick(0);
    let hung = house.worker("a").script();
    house.until(waiting, TaskState::Running).await;
    let behind = house.submit(task(3)).await;
    hung.fail(died());
    let seen = house.read(behind).await;
    assert_eq!(data(&seen, "error")["code"], "POOL_UNAVAILABLE");
    assert!(house.services.nodes.pools().is_empty());
    assert!(house.services.nodes.nodes().is_empty());
}

// spec: ORCH-3460, ORCH-3010
#[tokio::test(start_paused = true)]
async fn a_task_for_a_starting_replica_waits_for_it() {
    let mut house = House::empty(&[("a", 1)], super::house::RETENTION);
    house
        .push(vec![pool("p", 1, vec![starting("a", 1, 4_000)])])
        .await;
    let id = house.submit(task(1)).await;
    assert_eq!(house.status(id).await.state, TaskState::Queued);
    house.push(vec![pool("p", 1, vec![ready("a", 1)])]).await;
    house.read(id).await;
    assert_eq!(house.status(id).await.state, TaskState::Done);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_sends_more_than_it_may_is_cut() {
    let house = House::with(&[("a", 1)]).await;
    let script = house.worker("a").script();
    for _ in 0..9 {
        script.text(&"x".repeat(256));
    }
    let id = house.submit(task(1)).await;
    let seen = house.read(id).await;
    assert_eq!(data(&seen, "error")["code"], "WORKER_RESET");
    assert_eq!(text(&seen).len(), 8 * 256);
    script.dropped().await;
}

// spec: ORCH-3415, OC-CTRL-2125
#[tokio::test(start_paused = true)]
async fn a_replica_that_failed_is_tried_again_after_a_rest() {
    let mut house = House::with(&[("a", 2)]).await;
    house.worker("a").script().fail(died());
    house.worker("a").stick(0);
    let id = house.submit(task(1)).await;
    house.until(id, TaskState::Queued).await;
    let begun = tokio::time::Instant::now();
    house.push(vec![pool("p", 2, vec![ready("a", 1)])]).await;
    house.read(id).await;
    assert_eq!(house.status(id).await.placement.unwrap().attempts, 2);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

// spec: ORCH-3010, ORCH-3415
#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_be_reached_gets_no_task_until_its_agent_reports() {
    let mut house = House::with(&[("a", 1)]).await;
    let reason = "connection refused".to_owned();
    house
        .worker("a")
        .refuse_next(AdapterError::Unreachable { reason });
    let id = house.submit(task(1)).await;
    house.until(id, TaskState::Queued).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(house.status(id).await.state, TaskState::Queued);
    assert!(house.worker("a").requests().is_empty());
    let cause = house.services.nodes.readiness().unwrap_err().to_string();
    assert!(cause.contains("could not be reached"), "{cause}");
    house.push(vec![pool("p", 1, vec![ready("a", 1)])]).await;
    assert!(!text(&house.read(id).await).is_empty());
    assert_eq!(house.status(id).await.placement.unwrap().attempts, 2);
}

#[tokio::test]
async fn a_panic_of_an_attempt_is_passed_on_and_an_aborted_one_is_not() {
    let passed_on = |done| {
        let check = || super::super::check_attempt(done);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
    };
    let mut attempts = tokio::task::JoinSet::new();
    attempts.spawn(async { panic!("a defect") });
    assert!(passed_on(attempts.join_next().await.unwrap()));
    attempts.spawn(std::future::pending()).abort();
    assert!(!passed_on(attempts.join_next().await.unwrap()));
    attempts.spawn(async {});
    assert!(!passed_on(attempts.join_next().await.unwrap()));
}
