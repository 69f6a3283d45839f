//! What is kept of ended tasks, and for how long.

use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::task::TaskState;

use super::house::{House, RETENTION, pool, ready, task, tenant};
use crate::services::Retention;
use crate::services::tasks::TaskError;

async fn run(house: &House, number: u128) -> uuid::Uuid {
    let id = house.submit(task(number)).await;
    house.read(id).await;
    id
}

async fn opened(house: &House, id: uuid::Uuid) -> Result<(), TaskError> {
    house
        .services
        .tasks
        .open_stream(&tenant(), id, None)
        .await
        .map(|_| ())
}

// spec: ORCH-3434, ORCH-3435
#[tokio::test(start_paused = true)]
async fn tokens_expire_with_the_outcome_told_and_then_the_outcome_too() {
    let house = House::with(&[("w", 1)]).await;
    let id = run(&house, 1).await;
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert_eq!(opened(&house, id).await, Ok(()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let Err(TaskError::Expired { outcome }) = opened(&house, id).await else {
        panic!("the tokens are still there")
    };
    assert_eq!((outcome.task_id, outcome.state), (id, TaskState::Done));
    assert_eq!(outcome.tokens_out, Some(8));
    tokio::time::sleep(RETENTION.task).await;
    assert_eq!(
        opened(&house, id).await,
        Err(TaskError::NotFound { task_id: id })
    );
}

// spec: ORCH-3436
#[tokio::test(start_paused = true)]
async fn the_oldest_outcomes_go_when_there_are_too_many() {
    let house = House::keeping(
        &[("w", 1)],
        Retention {
            tasks: 2,
            ..RETENTION
        },
    )
    .await;
    let ids = [
        run(&house, 1).await,
        run(&house, 2).await,
        run(&house, 3).await,
    ];
    assert_eq!(
        opened(&house, ids[0]).await,
        Err(TaskError::NotFound { task_id: ids[0] })
    );
    assert_eq!(opened(&house, ids[1]).await, Ok(()));
    assert_eq!(opened(&house, ids[2]).await, Ok(()));
}

// spec: ORCH-3436
#[tokio::test(start_paused = true)]
async fn the_oldest_tokens_go_when_they_take_too_much_room() {
    let mut house = House::keeping(&[("w", 1)], RETENTION).await;
    let first = run(&house, 1).await;
    let open = house
        .services
        .tasks
        .open_stream(&tenant(), first, None)
        .await
        .unwrap();
    let one = open.log.bytes() as u64;
    house = House::keeping(
        &[("w", 1)],
        Retention {
            bytes: one + one / 2,
            ..RETENTION
        },
    )
    .await;
    let ids = [run(&house, 1).await, run(&house, 2).await];
    assert!(matches!(
        opened(&house, ids[0]).await,
        Err(TaskError::Expired { .. })
    ));
    assert_eq!(opened(&house, ids[1]).await, Ok(()));
}

// spec: ORCH-3436
#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_kept_keeps_no_worker() {
    let mut house = House::with(&[("w", 1)]).await;
    let worker = Arc::clone(house.worker("w"));
    run(&house, 1).await;
    house.until_load(0, 0).await;
    // The attempt itself lets go of its worker just after it has reported its end.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let holders = Arc::strong_count(&worker);
    for start in 2..5 {
        house
            .push(vec![pool("p", 1, vec![ready("w", start)])])
            .await;
        assert_eq!(Arc::strong_count(&worker), holders, "start {start}");
    }
}

// spec: ORCH-3492
#[tokio::test(start_paused = true)]
async fn a_task_that_has_not_ended_is_never_forgotten() {
    let retention = Retention {
        tasks: 1,
        bytes: 1,
        ..RETENTION
    };
    let mut house = House::keeping(&[("w", 2)], retention).await;
    let script = house.worker("w").script();
    let live = house.submit(task(1)).await;
    house.until(live, TaskState::Running).await;
    house.push(vec![pool("p", 2, vec![ready("w", 1)])]).await;
    for number in 2..5 {
        let id = house.submit(task(number)).await;
        house
            .until_status(id, |status| status.state == TaskState::Done)
            .await;
    }
    script.text("one");
    house
        .until_status(live, |status| status.first_token_ms.is_some())
        .await;
    assert_eq!(house.status(live).await.state, TaskState::Running);
    assert_eq!(opened(&house, live).await, Ok(()));
}
