//! What is admitted, what is refused, and in which words.

use std::time::Duration;

use contracts_api_types::error::ErrorCode;
use contracts_api_types::kind::{FullQueuePolicy, Workload};
use orchestrator_core::engine::Engine;

use super::house::{House, RETENTION, pool, ready, starting, task};
use crate::services::nodes::NotReady;
use crate::services::tasks::{NewTask, SubmitError};

async fn refused(house: &House, task: NewTask) -> SubmitError {
    house.services.tasks.submit(task).await.unwrap_err()
}

// spec: ORCH-3025, ORCH-3462, ORCH-3463
#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_same_admission_and_another_body_a_conflict() {
    let house = House::with(&[("w", 1)]).await;
    let first = house.services.tasks.submit(task(1)).await.unwrap();
    let again = NewTask {
        correlation_id: "other".into(),
        ..task(1)
    };
    assert_eq!(
        house.services.tasks.submit(again.clone()).await.unwrap(),
        first
    );
    house.read(first.task_id).await;
    assert_eq!(house.services.tasks.submit(again).await.unwrap(), first);
    assert_eq!(house.worker("w").requests().len(), 1);
    let other = NewTask {
        body_hash: [8; 32],
        ..task(1)
    };
    assert_eq!(refused(&house, other).await.code(), ErrorCode::Conflict);
}

// spec: ORCH-3450, ORCH-3451
#[tokio::test(start_paused = true)]
async fn a_model_is_found_by_every_name_and_a_miss_lists_what_exists() {
    let house = House::with(&[("w", 1)]).await;
    let names = [
        "tiny",
        "the-model",
        "file:/models/tiny.gguf",
        "/models/tiny.gguf",
        "sha256:abc",
    ];
    for (number, name) in (1..).zip(names) {
        let id = house
            .submit(NewTask {
                model_ref: name.into(),
                ..task(number)
            })
            .await;
        house.read(id).await;
    }
    let unknown = refused(
        &house,
        NewTask {
            model_ref: "huge".into(),
            ..task(9)
        },
    )
    .await;
    assert_eq!(unknown.code(), ErrorCode::NotFound);
    let SubmitError::UnknownModel { available, .. } = unknown else {
        panic!("{unknown:?}")
    };
    assert_eq!(available, ["tiny (llamacpp)"]);
    let elsewhere = refused(
        &house,
        NewTask {
            engine: Engine::Vllm,
            ..task(9)
        },
    )
    .await;
    assert_eq!(elsewhere.code(), ErrorCode::NotFound);
    assert!(house.counts(
        "tasks_rejected_total",
        "engine=\"vllm\",reason=\"NOT_FOUND\"",
        "1"
    ));
}

#[track_caller]
fn check_field(refusal: SubmitError, wanted: &str, says: &str) {
    assert_eq!(refusal.code(), ErrorCode::InvalidParams);
    let SubmitError::BadField { field, problem } = refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(field, wanted);
    assert!(problem.contains(says), "{problem}");
}

// spec: ORCH-3014, ORCH-3015, ORCH-3452, ORCH-3454, OC-CORE-1020, OC-CTRL-2010
#[tokio::test(start_paused = true)]
async fn what_cannot_fit_is_refused_by_field_with_the_numbers() {
    let house = House::with(&[("w", 1)]).await;
    let long = |words: usize| vec!["word"; words].join(" ");
    let wide = NewTask {
        ctx: Some(65),
        ..task(1)
    };
    check_field(
        refused(&house, wide).await,
        "ctx",
        "largest context of this model is 64",
    );
    let full = NewTask {
        prompt: long(64),
        ..task(1)
    };
    check_field(
        refused(&house, full).await,
        "prompt",
        "has 64 tokens, and the context is 64",
    );
    let greedy = NewTask {
        prompt: long(60),
        max_tokens: 5,
        ..task(1)
    };
    check_field(refused(&house, greedy).await, "max_tokens", "at most 4");
    let narrow = NewTask {
        prompt: long(10),
        ctx: Some(16),
        max_tokens: 7,
        ..task(1)
    };
    check_field(refused(&house, narrow).await, "max_tokens", "at most 6");
    let embedding = NewTask {
        workload: Workload::Embedding,
        ..task(1)
    };
    check_field(
        refused(&house, embedding).await,
        "workload",
        "`embedding` is not offered",
    );
    let fits = NewTask {
        prompt: long(60),
        max_tokens: 4,
        ..task(1)
    };
    house.submit(fits).await;
}

// spec: ORCH-3005, OC-CORE-1001, ORCH-2007
#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_with_its_policy_and_a_time() {
    let house = House::with(&[("w", 1)]).await;
    let _hung = house.worker("w").script();
    for number in 1..=3 {
        house.submit(task(number)).await;
    }
    let refusal = refused(&house, task(4)).await;
    let SubmitError::QueueFull {
        policy,
        retry_after,
        pool_id,
        ..
    } = &refusal
    else {
        panic!("{refusal:?}")
    };
    assert_eq!((*policy, pool_id.as_str()), (FullQueuePolicy::Reject, "p"));
    assert!(*retry_after >= Duration::from_millis(100));
    assert_eq!(refusal.code(), ErrorCode::AdmissionReject);
    assert!(house.counts(
        "admission_backpressure_events_total",
        "policy=\"reject\"",
        "1"
    ));
    assert!(house.counts("queue_depth", "priority=\"interactive\"", "2"));
    let missing = house
        .services
        .tasks
        .status(&super::house::tenant(), task(4).task_id)
        .await;
    assert!(missing.is_err(), "a refused task does not exist");
}

// spec: ORCH-3460, ORCH-3018
#[tokio::test(start_paused = true)]
async fn without_a_replica_in_sight_the_refusal_says_why() {
    let mut house = House::empty(&[("a", 1)], RETENTION);
    assert_eq!(house.services.nodes.readiness(), Err(NotReady::NoPool));
    let mut unknown = pool("p", 1, vec![starting("a", 1, 4_000)]);
    unknown.engine_version = None;
    house.push(vec![unknown]).await;
    let refusal = refused(&house, task(1)).await;
    assert_eq!(refusal.code(), ErrorCode::PoolUnready);
    assert!(
        refusal.to_string().contains("the model is loading"),
        "{refusal}"
    );
    let mut broken = ready("a", 1);
    broken.phase = contracts_api_types::node::WorkerPhase::Broken;
    broken.cause = Some("cuda is missing".into());
    house.push(vec![pool("p", 1, vec![broken])]).await;
    let refusal = refused(&house, task(1)).await;
    assert_eq!(refusal.code(), ErrorCode::PoolUnavailable);
    assert!(refusal.to_string().contains("cuda is missing"), "{refusal}");
    let not_ready = house.services.nodes.readiness().unwrap_err().to_string();
    assert!(not_ready.contains("cuda is missing"), "{not_ready}");
}

// spec: ORCH-3460
#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_after_the_deadline_is_too_late() {
    let mut house = House::empty(&[("a", 1)], RETENTION);
    house
        .push(vec![pool("p", 1, vec![starting("a", 1, 30_000)])])
        .await;
    let urgent = NewTask {
        deadline: Some(Duration::from_secs(20)),
        ..task(1)
    };
    assert_eq!(refused(&house, urgent).await.code(), ErrorCode::PoolUnready);
    house.submit(task(1)).await;
}

// spec: ORCH-2007
#[tokio::test(start_paused = true)]
async fn every_answer_to_come_back_later_is_counted() {
    let house = House::with(&[("w", 1)]).await;
    let _hung = house.worker("w").script();
    // They all ask before the owner gets a turn, and its channel holds 1,024.
    let asks: Vec<_> = (1..=1_200)
        .map(|number| {
            let tasks = house.services.tasks.clone();
            tokio::spawn(async move { tasks.submit(task(number)).await })
        })
        .collect();
    let (mut overloaded, mut full) = (0, 0);
    for ask in asks {
        match ask.await.unwrap() {
            Err(SubmitError::Overloaded { .. }) => overloaded += 1,
            Err(SubmitError::QueueFull { .. }) => full += 1,
            other => assert!(other.is_ok(), "{other:?}"),
        }
    }
    assert!(overloaded > 0 && full > 0, "{overloaded} and {full}");
    let both = (overloaded + full).to_string();
    assert!(house.counts(
        "admission_backpressure_events_total",
        "policy=\"reject\"",
        &both
    ));
}

// spec: ORCH-3461
#[tokio::test(start_paused = true)]
async fn what_fits_no_prompt_at_all_is_refused_without_a_tokenizer() {
    let mut house = House::empty(&[("w", 1)], RETENTION);
    house
        .push(vec![pool("p", 1, vec![starting("w", 1, 1_000)])])
        .await;
    let of = |number, max_tokens| NewTask {
        max_tokens,
        ..task(number)
    };
    for max_tokens in [64, u32::MAX] {
        check_field(
            refused(&house, of(1, max_tokens)).await,
            "max_tokens",
            "the context of 64 has to hold the prompt too",
        );
    }
    house.submit(of(2, 63)).await;
}

// spec: ORCH-3437
#[tokio::test(start_paused = true)]
async fn a_planned_stop_admits_nothing_and_lets_what_runs_end() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    let id = house.submit(task(1)).await;
    house.stop.admission.cancel();
    assert!(matches!(
        refused(&house, task(2)).await,
        SubmitError::Stopping { .. }
    ));
    // A repeat admits nothing: its client asks for the answer that it has not got.
    assert_eq!(house.submit(task(1)).await, id);
    assert_eq!(house.services.nodes.readiness(), Err(NotReady::Stopping));
    script.text("one");
    script.done();
    house.services.tasks.idle().await;
    assert_eq!(super::house::text(&house.read(id).await), "one");
}

// spec: ORCH-3438, ORCH-3439
#[tokio::test(start_paused = true)]
async fn a_halt_cancels_generations_and_ends_no_task() {
    let house = House::with(&[("w", 1)]).await;
    let script = house.worker("w").script();
    let id = house.submit(task(1)).await;
    let open = house
        .services
        .tasks
        .open_stream(&super::house::tenant(), id, None)
        .await
        .unwrap();
    house
        .until(id, contracts_api_types::task::TaskState::Running)
        .await;
    house.stop.halt.cancel();
    script.dropped().await;
    house.services.owner.await.unwrap();
    assert!(!open.log.is_sealed());
}

// spec: ORCH-3005, OC-CORE-1002
#[tokio::test(start_paused = true)]
async fn a_task_that_gives_way_is_told_so_in_its_stream() {
    let mut house = House::empty(&[("w", 1)], RETENTION);
    let mut dropping = pool("p", 1, vec![ready("w", 1)]);
    dropping.queue.interactive_full = FullQueuePolicy::DropLru;
    house.push(vec![dropping]).await;
    let _hung = house.worker("w").script();
    house.submit(task(1)).await;
    let oldest = house.submit(task(2)).await;
    house.submit(task(3)).await;
    house.submit(task(4)).await;
    let seen = house.read(oldest).await;
    assert_eq!(super::house::names(&seen), ["error"]);
    let error = super::house::data(&seen, "error");
    assert_eq!(error["code"], "QUEUE_FULL_DROP_LRU");
    assert_eq!(
        (&error["retriable"], &error["partial"]),
        (&true.into(), &false.into())
    );
}
