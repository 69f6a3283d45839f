//! Cancels, by the client and by readers that leave.

use std::time::Duration;

use contracts_api_types::kind::OnDisconnect;
use contracts_api_types::task::TaskState;

use super::house::{House, bytes_of, data, frames, names, task, tenant, text};
use crate::services::stream_log::parse_resume;
use crate::services::tasks::{NewTask, TaskError};

fn cancel_on_disconnect(number: u128) -> NewTask {
    NewTask {
        on_disconnect: OnDisconnect::Cancel,
        ..task(number)
    }
}

// spec: ORCH-2003, ORCH-3026, ORCH-3428, OC-CTRL-2012
#[tokio::test(start_paused = true)]
async fn no_token_follows_a_cancel_of_a_running_task() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    script.text("one");
    let id = house.submit(task(1)).await;
    house
        .until_status(id, |status| status.first_token_ms.is_some())
        .await;
    house.cancel(id).await;
    let open = house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .unwrap();
    assert!(open.log.is_sealed(), "the log is sealed before the answer");
    script.text(" two");
    script.dropped().await;
    let seen = frames(&bytes_of(open.log).await);
    assert_eq!(names(&seen), ["started", "metrics", "token", "end"]);
    assert_eq!(data(&seen, "end")["finish_reason"], "canceled");
    assert_eq!(data(&seen, "end")["tokens_out"], 1);
    assert_eq!(house.status(id).await.state, TaskState::Canceled);
    house.until_load(0, 0).await;
    assert!(house.counts("tasks_canceled_total", "reason=\"client\"", "1"));
    assert!(house.counts("cancel_to_slot_free_ms_count", "replica_id=\"w\"", "1"));
}

// spec: OC-CORE-1005, ORCH-3417
#[tokio::test(start_paused = true)]
async fn a_canceled_task_that_waited_never_reaches_an_engine() {
    let house = House::with(&[("w", 1)]).await;
    let first = house.worker("w").script();
    house.submit(task(1)).await;
    let waiting = house.submit(task(2)).await;
    house.cancel(waiting).await;
    assert_eq!(names(&house.read(waiting).await), ["end"]);
    first.done();
    let after = house.submit(task(3)).await;
    house.read(after).await;
    let asked: Vec<_> = house
        .worker("w")
        .requests()
        .into_iter()
        .map(|r| r.request_id)
        .collect();
    assert!(!asked.contains(&waiting.to_string()), "{asked:?}");
    assert_eq!(asked.len(), 2);
}

// spec: ORCH-2003
#[tokio::test(start_paused = true)]
async fn a_cancel_may_be_repeated_and_changes_no_end() {
    let house = House::with(&[("w", 1)]).await;
    let done = house.submit(task(1)).await;
    house.read(done).await;
    house.cancel(done).await;
    house.cancel(done).await;
    assert_eq!(house.status(done).await.state, TaskState::Done);
    assert!(
        house
            .services
            .tasks
            .cancel(&tenant(), uuid::Uuid::nil())
            .await
            .is_err()
    );
}

// spec: ORCH-3017, ORCH-3431
#[tokio::test(start_paused = true)]
async fn a_slot_stays_taken_until_the_engine_has_shown_it_free() {
    let house = House::with(&[("w", 1)]).await;
    let worker = house.worker("w");
    let script = worker.script();
    worker.stick(0);
    let id = house.submit(task(1)).await;
    house.until(id, TaskState::Running).await;
    script.text("one");
    house
        .until_status(id, |status| status.first_token_ms.is_some())
        .await;
    house.cancel(id).await;
    let next = house.submit(task(2)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(house.status(next).await.state, TaskState::Queued);
    assert_eq!(house.load(), (1, 1));
    worker.unstick(0);
    assert!(!text(&house.read(next).await).is_empty());
}

// spec: ORCH-3427
#[tokio::test(start_paused = true)]
async fn the_last_reader_that_leaves_cancels_a_task_that_asked_for_it() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    let id = house.submit(cancel_on_disconnect(1)).await;
    let one = house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .unwrap();
    let two = house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .unwrap();
    script.text("one");
    house
        .until_status(id, |status| status.first_token_ms.is_some())
        .await;
    drop(one);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(house.status(id).await.state, TaskState::Running);
    drop(two);
    house.until(id, TaskState::Canceled).await;
    assert!(house.counts("tasks_canceled_total", "reason=\"disconnect\"", "1"));
}

// spec: ORCH-3427, ORCH-3443
#[tokio::test(start_paused = true)]
async fn a_reader_that_was_refused_cancels_nothing_by_leaving() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    let id = house.submit(cancel_on_disconnect(1)).await;
    script.text("one");
    house
        .until_status(id, |status| status.first_token_ms.is_some())
        .await;
    let beyond = parse_resume("7-70-0000000000000000").unwrap();
    let tasks = &house.services.tasks;
    let refused = tasks.open_stream(&tenant(), id, Some(beyond)).await;
    assert!(matches!(refused, Err(TaskError::BadResume(_))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(house.status(id).await.state, TaskState::Running);
}

// spec: ORCH-3426
#[tokio::test(start_paused = true)]
async fn a_task_that_did_not_ask_for_it_goes_on_without_readers() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    let id = house.submit(task(1)).await;
    drop(
        house
            .services
            .tasks
            .open_stream(&tenant(), id, None)
            .await
            .unwrap(),
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    script.text("one");
    script.done();
    assert_eq!(text(&house.read(id).await), "one");
    assert_eq!(house.status(id).await.state, TaskState::Done);
}
