//! Who is admitted, who is refused, and what the admitted are told.

use super::*;

#[track_caller]
fn promise(actions: &[Action]) -> crate::action::Admission {
    let Some(Action::Admitted { admission, .. }) = actions.first() else {
        panic!("not admitted: {actions:?}");
    };
    *admission
}

// spec: ORCH-2001, ORCH-3458, OC-CORE-1106, HME-020
#[test]
fn a_task_that_meets_a_free_slot_starts_at_once() {
    let mut bench = Bench::with_slots(1);
    let actions = bench.act(bench.submit(1));
    let promise = promise(&actions);
    assert_eq!(
        (promise.queue_position, promise.predicted_start),
        (0, Duration::ZERO)
    );
    assert_eq!(promise.on_time_probability, None);
    assert_eq!(in_words(&actions[1]), "dispatch 1#1 to p/r@1:0");
}

// spec: ORCH-3459
#[test]
fn the_position_counts_queued_tasks_that_start_earlier() {
    let mut bench = busy_bench(FullPolicy::Reject, FullPolicy::Reject);
    bench.check(bench.submit_batch(1), &["admitted 1 behind 0"]);
    bench.check(bench.submit(2), &["admitted 2 behind 0"]);
    bench.check(bench.submit(3), &["admitted 3 behind 1"]);
    bench.check(bench.submit_batch(4), &["admitted 4 behind 3"]);
    let position = |task| bench.scheduler.position(TaskId(task));
    assert_eq!(
        [100, 2, 3, 1, 4].map(position),
        [None, Some(0), Some(1), Some(2), Some(3)]
    );
    assert_eq!(bench.scheduler.queue_depth(bench.set(), Priority::Batch), 2);
}

// spec: ORCH-3024
#[test]
fn an_id_is_refused_while_its_task_or_its_slot_is_there() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.check(bench.submit(1), &["refused 1 duplicate"]);
    bench.check(bench.submit(2), &["refused 2 duplicate"]);
    bench.act(cancel(1));
    bench.check(bench.submit(1), &["refused 1 duplicate"]);
    bench.act(released(1, 1));
    bench.check(bench.submit(1), &["admitted 1 behind 0"]);
}

#[test]
fn a_set_that_nobody_serves_is_refused() {
    let mut bench = Bench::with_slots(1);
    let task = bench.submit(1);
    bench.act(Event::PoolRemoved(PoolId::parse("p").unwrap()));
    bench.check(task.clone(), &["refused 1 unknown set"]);
    bench.act(Event::PoolChanged(pool("p", vec![ready("r", 1, 1)])));
    bench.check(task, &["refused 1 unknown set"]);
    bench.check(
        bench.submit(1),
        &["admitted 1 behind 0", "dispatch 1#1 to p/r@1:0"],
    );
}

// spec: OC-CORE-1001
#[test]
fn a_task_larger_than_the_queue_is_refused_for_its_size() {
    let mut bench = Bench::with_slots(1);
    let task = TaskSpec {
        bytes: 1_001,
        ..bench.task(1)
    };
    bench.check(Event::Submitted(task), &["refused 1 1001 bytes of 1000"]);
    let task = TaskSpec {
        bytes: 1_000,
        ..bench.task(1)
    };
    bench.check(
        Event::Submitted(task),
        &["admitted 1 behind 0", "dispatch 1#1 to p/r@1:0"],
    );
}

// spec: ORCH-3460
#[test]
fn a_set_that_is_starting_admits_what_it_can_start_before_the_deadline() {
    let mut bench = Bench::with(pool(
        "p",
        vec![starting("r", 1, 2_000), unavailable("s", 1)],
    ));
    let by = |deadline| TaskSpec {
        deadline: Some(at(deadline)),
        ..bench.task(1)
    };
    let (late, in_time) = (by(2_000), by(2_001));
    bench.check(
        Event::Submitted(late),
        &["refused 1 no replica, retry in 2s"],
    );
    let actions = bench.act(Event::Submitted(in_time));
    assert_eq!(promise(&actions).predicted_start, ms(2_000));
    bench.check_at(
        1_500,
        Event::PoolChanged(pool("p", vec![ready("r", 1, 1)])),
        &["dispatch 1#1 to p/r@1:0"],
    );
}

// spec: ORCH-3460
#[test]
fn a_set_without_any_replica_in_sight_refuses_with_a_hint() {
    let mut bench = Bench::with(pool("p", vec![unavailable("r", 1), ready("s", 1, 0)]));
    bench.check(bench.submit(1), &["refused 1 no replica, retry in 10s"]);
    bench.act(Event::PoolChanged(pool("p", vec![])));
    bench.check(bench.submit(1), &["refused 1 no replica, retry in 10s"]);
}

// spec: ORCH-3460
#[test]
fn an_overdue_start_still_counts_as_starting() {
    let mut bench = Bench::with(pool("p", vec![starting("r", 1, 2_000)]));
    bench.check_at(5_000, bench.submit(1), &["admitted 1 behind 0"]);
}

// spec: ORCH-3080, ORCH-3081
#[test]
fn a_deadline_in_the_past_is_refused_also_where_it_is_the_default() {
    let mut bench = Bench::with_slots(1);
    bench.now = at(1_000);
    let asked = TaskSpec {
        deadline: Some(at(1_000)),
        ..bench.task(1)
    };
    bench.check(Event::Submitted(asked), &["refused 1 late, needs 0ns"]);
    let default = TaskSpec {
        default_deadline: at(999),
        ..bench.task(1)
    };
    bench.check(Event::Submitted(default), &["refused 1 late, needs 0ns"]);
    let asked_later = TaskSpec {
        deadline: Some(at(1_001)),
        ..bench.task(1)
    };
    let asked_later = TaskSpec {
        default_deadline: at(999),
        ..asked_later
    };
    bench.check(
        Event::Submitted(asked_later),
        &["admitted 1 behind 0", "dispatch 1#1 to p/r@1:0"],
    );
}

// spec: ORCH-3080, ORCH-3081
#[test]
fn a_deadline_missed_even_at_the_best_measured_rate_is_refused_once_rates_are_measured() {
    let mut bench = Bench::with_slots(1);
    let tight = |bench: &Bench, number, deadline_ms| {
        let deadline = Some(bench.now.after(ms(deadline_ms)));
        let expected_tokens = Some(100);
        Event::Submitted(TaskSpec {
            expected_tokens,
            deadline,
            ..bench.task(number)
        })
    };
    let first = tight(&bench, 1, 500);
    assert_eq!(bench.act(first).len(), 2, "guesses refuse nobody");
    bench.act(completed(1, 1));
    for number in 2..4 {
        bench.act(bench.submit(number));
        bench.act(completed(number, 1));
    }
    // 10 prompt tokens at 10 ms each and 100 more at 20 ms each.
    let too_tight = tight(&bench, 5, 2_099);
    bench.check(too_tight, &["refused 5 late, needs 2.1s"]);
    let just_enough = tight(&bench, 6, 2_100);
    assert_eq!(bench.act(just_enough).len(), 2);
}

// spec: ORCH-3084, ORCH-3456
#[test]
fn the_chance_to_be_on_time_is_told_where_a_deadline_was_asked() {
    let mut bench = busy_bench(FullPolicy::Reject, FullPolicy::Reject);
    let asked = TaskSpec {
        deadline: Some(at(500_000)),
        ..bench.task(1)
    };
    let roomy = promise(&bench.act(Event::Submitted(asked)))
        .on_time_probability
        .unwrap();
    let asked = TaskSpec {
        deadline: Some(at(10)),
        ..bench.task(2)
    };
    let tight = promise(&bench.act(Event::Submitted(asked)))
        .on_time_probability
        .unwrap();
    assert!(
        roomy > 0.95 && (0.0..0.5).contains(&tight),
        "{roomy} {tight}"
    );
    assert_eq!(bench.scheduler.on_time_probability(TaskId(1)), Some(roomy));
    assert_eq!(bench.scheduler.on_time_probability(TaskId(100)), None);
}
