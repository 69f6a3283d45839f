//! Ends, cancels and deadlines, and when a slot is free again.

use super::*;

// spec: ORCH-2003, ORCH-3026, OC-CORE-1005
#[test]
fn a_queued_task_that_is_cancelled_ends_at_once_and_is_never_dispatched() {
    let mut bench = Bench::with_slots(1);
    for number in 1..=3 {
        bench.act(bench.submit(number));
    }
    bench.check(cancel(2), &["canceled 2"]);
    bench.check(cancel(2), &[]);
    bench.check(completed(1, 1), &["finished 1", "dispatch 3#1 to p/r@1:0"]);
    bench.check(completed(3, 1), &["finished 3"]);
}

// spec: ORCH-3017, ORCH-3026, ORCH-3431
#[test]
fn a_running_task_that_is_cancelled_ends_at_once_and_holds_its_slot_until_the_release() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.act(started(1, 1));
    bench.check(cancel(1), &["abort 1#1 canceled", "canceled 1"]);
    assert_eq!(bench.taken_slots(), 1);
    bench.check(failed(1, 1, Fault::Replica), &[]);
    bench.check(released(1, 1), &["dispatch 2#1 to p/r@1:0"]);
    bench.check(released(1, 1), &[]);
}

// spec: ORCH-3017, ORCH-3431
#[test]
fn an_end_that_crosses_the_cancel_changes_no_outcome_but_frees_the_slot() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.act(cancel(1));
    bench.check(completed(1, 1), &["dispatch 2#1 to p/r@1:0"]);
    bench.check(released(1, 1), &[]);
}

#[test]
fn a_cancel_of_an_unknown_or_ended_task_does_nothing() {
    let mut bench = Bench::with_slots(1);
    bench.check(cancel(9), &[]);
    bench.act(bench.submit(1));
    bench.act(completed(1, 1));
    bench.check(cancel(1), &[]);
}

// spec: ORCH-3017, ORCH-3431
#[test]
fn a_slot_without_proof_of_release_is_taken_back_after_the_limit() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.check_at(1_000, cancel(1), &["abort 1#1 canceled", "canceled 1"]);
    assert_eq!(bench.scheduler.next_wakeup(), Some(at(61_000)));
    bench.check_at(60_999, Event::TimePassed, &[]);
    bench.check_at(61_000, Event::TimePassed, &["dispatch 2#1 to p/r@1:0"]);
    bench.check(released(1, 1), &[]);
}

// spec: ORCH-3017, ORCH-3431
#[test]
fn a_release_reported_ahead_of_the_end_frees_the_slot_with_the_end() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.check(released(1, 1), &[]);
    bench.check(
        cancel(1),
        &[
            "abort 1#1 canceled",
            "canceled 1",
            "dispatch 2#1 to p/r@1:0",
        ],
    );
}

// spec: ORCH-3016, ORCH-3455
#[test]
fn a_deadline_ends_queued_and_running_tasks() {
    let mut bench = Bench::with_slots(1);
    let asked = |deadline, task| {
        Event::Submitted(TaskSpec {
            deadline: Some(at(deadline)),
            ..task
        })
    };
    let (first, second) = (asked(5_000, bench.task(1)), asked(3_000, bench.task(2)));
    bench.act(first);
    bench.act(second);
    assert_eq!(bench.scheduler.next_wakeup(), Some(at(3_000)));
    bench.check_at(3_000, Event::TimePassed, &["failed 2 DeadlineUnmet"]);
    bench.check_at(
        5_000,
        completed(1, 1),
        &["abort 1#1 late", "failed 1 DeadlineUnmet"],
    );
    assert_eq!(
        bench.taken_slots(),
        0,
        "the end of the same moment frees the slot"
    );
    assert_eq!(bench.scheduler.next_wakeup(), None);
}

// spec: ORCH-3456
#[test]
fn a_task_without_a_deadline_ends_by_the_default() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.check_at(
        600_000,
        Event::TimePassed,
        &["abort 1#1 late", "failed 1 DeadlineUnmet"],
    );
}

// spec: ORCH-2002
#[test]
fn a_refused_request_ends_the_task_and_frees_the_slot_without_blame_for_the_replica() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.check(
        failed(1, 1, Fault::Request),
        &["failed 1 RequestRejected", "dispatch 2#1 to p/r@1:0"],
    );
}

// spec: ORCH-3442
#[test]
fn events_of_attempts_that_are_over_or_never_were_change_nothing() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    for attempt in [0, 2, u32::MAX] {
        for event in [
            started(1, attempt),
            completed(1, attempt),
            failed(1, attempt, Fault::Replica),
            released(1, attempt),
        ] {
            bench.check(event, &[]);
        }
    }
    bench.check(completed(9, 1), &[]);
    bench.check(completed(1, 1), &["finished 1"]);
    bench.check(completed(1, 1), &[]);
}

// spec: OC-CORE-1144
#[test]
fn time_that_runs_backwards_counts_as_standing_still() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.check_at(10_000, Event::TimePassed, &[]);
    bench.now = at(5_000);
    bench.act(cancel(1));
    assert_eq!(bench.scheduler.next_wakeup(), Some(at(70_000)));
}
