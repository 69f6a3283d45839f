//! Faults of replicas: retries before a token was seen, and rests after a fault.

use super::*;

// spec: ORCH-3415, OC-CORE-1145
#[test]
fn a_fault_before_any_token_puts_the_task_back_at_its_place() {
    let mut bench = Bench::with(pool("p", vec![ready("a", 1, 1), ready("b", 1, 1)]));
    for number in 1..=4 {
        bench.act(bench.submit(number));
    }
    bench.check(failed(1, 1, Fault::Replica), &[]);
    assert_eq!(
        [1, 3, 4].map(|task| bench.scheduler.position(TaskId(task))),
        [Some(0), Some(1), Some(2)]
    );
    bench.check(completed(2, 1), &["finished 2", "dispatch 1#2 to p/b@1:0"]);
    bench.check(started(1, 1), &[]);
    bench.check(failed(1, 1, Fault::Request), &[]);
    bench.check(completed(1, 2), &["finished 1", "dispatch 3#1 to p/b@1:0"]);
}

// spec: ORCH-3416
#[test]
fn a_fault_after_a_token_was_seen_ends_the_task() {
    for seen in [
        started(1, 1),
        Event::Progressed {
            task: TaskId(1),
            attempt: 1,
            tokens_out: 2,
        },
    ] {
        let mut bench = Bench::with_slots(1);
        bench.act(bench.submit(1));
        bench.act(seen);
        bench.check(failed(1, 1, Fault::Replica), &["failed 1 WorkerReset"]);
        assert_eq!(bench.taken_slots(), 1);
        bench.check(released(1, 1), &[]);
        assert_eq!(bench.taken_slots(), 0);
    }
}

#[test]
fn no_progress_is_no_token() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(Event::Progressed {
        task: TaskId(1),
        attempt: 1,
        tokens_out: 0,
    });
    bench.check(failed(1, 1, Fault::Replica), &[]);
    assert_eq!(bench.scheduler.position(TaskId(1)), Some(0));
}

// spec: OC-CORE-1145
#[test]
fn a_task_is_tried_three_times_and_the_last_fault_names_its_end() {
    let mut bench = Bench::with_slots(2);
    bench.act(bench.submit(1));
    bench.check(failed(1, 1, Fault::Timeout), &[]);
    bench.act(released(1, 1));
    bench.check_at(1_000, Event::TimePassed, &["dispatch 1#2 to p/r@1:0"]);
    bench.check(failed(1, 2, Fault::Replica), &[]);
    bench.check_at(2_999, Event::TimePassed, &[]);
    bench.check_at(3_000, Event::TimePassed, &["dispatch 1#3 to p/r@1:1"]);
    bench.check(failed(1, 3, Fault::Timeout), &["failed 1 Timeout"]);
}

// spec: OC-CORE-1145
#[test]
fn a_replica_rests_after_a_fault_and_its_trial_lets_the_others_in() {
    let mut bench = Bench::with_slots(3);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.act(started(2, 1));
    bench.check(failed(1, 1, Fault::Replica), &[]);
    bench.act(released(1, 1));
    assert_eq!(bench.scheduler.next_wakeup(), Some(at(1_000)));
    bench.check(bench.submit(3), &["admitted 3 behind 1"]);
    bench.check_at(1_000, Event::TimePassed, &["dispatch 1#2 to p/r@1:0"]);
    let start = bench.scheduler.predicted_start(TaskId(3)).unwrap();
    assert!(
        start > ms(500),
        "the trial has to show a token first: {start:?}"
    );
    bench.check(started(1, 2), &["dispatch 3#1 to p/r@1:2"]);
}

#[test]
fn faults_while_a_replica_rests_do_not_prolong_it() {
    let mut bench = Bench::with_slots(3);
    for number in 1..=3 {
        bench.act(bench.submit(number));
    }
    for number in 1..=3 {
        bench.check(failed(number, 1, Fault::Replica), &[]);
        bench.act(released(number, 1));
    }
    bench.check_at(1_000, Event::TimePassed, &["dispatch 1#2 to p/r@1:0"]);
    bench.check(
        cancel(1),
        &[
            "abort 1#2 canceled",
            "canceled 1",
            "dispatch 2#2 to p/r@1:1",
        ],
    );
}

#[test]
fn rests_grow_up_to_their_limit() {
    let mut bench = Bench::with_slots(1);
    for (number, wait_s) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        let number = number as u128;
        let mut actions = bench.act(bench.submit(number));
        let spec_attempt = 1;
        assert!(
            matches!(actions.pop(), Some(Action::Dispatch { .. })),
            "{number}"
        );
        bench.act(failed(number, spec_attempt, Fault::Replica));
        bench.act(released(number, spec_attempt));
        bench.check(cancel(number), &[&format!("canceled {number}")]);
        assert_eq!(
            bench.scheduler.next_wakeup(),
            Some(bench.now.after(ms(wait_s * 1_000)))
        );
        bench.now = bench.now.after(ms(wait_s * 1_000));
    }
}

// spec: ORCH-3460
#[test]
fn a_resting_replica_counts_as_one_that_is_coming() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(started(1, 1));
    bench.act(failed(1, 1, Fault::Replica));
    let by = |bench: &Bench, deadline| TaskSpec {
        deadline: Some(at(deadline)),
        ..bench.task(2)
    };
    let late = by(&bench, 1_000);
    bench.check(
        Event::Submitted(late),
        &["refused 2 no replica, retry in 1s"],
    );
    let in_time = by(&bench, 1_001);
    bench.check(Event::Submitted(in_time), &["admitted 2 behind 0"]);
    let replica = bench
        .scheduler
        .sets()
        .next()
        .unwrap()
        .pools
        .remove(0)
        .replicas
        .remove(0);
    assert_eq!(replica.readiness, Readiness::Starting { eta: ms(1_000) });
}

#[test]
fn a_new_process_starts_without_its_predecessors_faults() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.check(failed(1, 1, Fault::Replica), &[]);
    bench.check(
        Event::PoolChanged(pool("p", vec![ready("r", 2, 1)])),
        &["dispatch 1#2 to p/r@2:0"],
    );
    bench.check(completed(1, 2), &["finished 1"]);
    assert_eq!(bench.scheduler.next_wakeup(), None);
}
