//! Bounds and the three full-queue policies.

use super::*;
use FullPolicy::{DropLru, Reject, ShedLowPriority};

// spec: ORCH-3005, OC-CORE-1002, ORCH-2007
#[test]
fn reject_refuses_the_newcomer_and_leaves_the_other_class_alone() {
    let mut bench = busy_bench(Reject, Reject);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    let Action::Refused {
        reason: Refusal::QueueFull {
            policy,
            retry_after,
        },
        ..
    } = bench.act(bench.submit(3)).remove(0)
    else {
        panic!("a full queue refuses");
    };
    assert_eq!(policy, Reject);
    assert!(
        retry_after >= ms(100) && retry_after <= ms(60_000),
        "{retry_after:?}"
    );
    bench.check(bench.submit_batch(4), &["admitted 4 behind 2"]);
}

// spec: ORCH-3005, OC-CORE-1002, OC-CORE-1122
#[test]
fn drop_lru_drops_the_oldest_of_the_class() {
    let mut bench = busy_bench(DropLru, DropLru);
    bench.act(bench.submit_batch(1));
    bench.act(bench.submit(2));
    bench.act(bench.submit(3));
    bench.check(
        bench.submit(4),
        &[
            "failed 2 DroppedFromQueue { policy: DropLru }",
            "admitted 4 behind 1",
        ],
    );
    bench.check(
        completed(100, 1),
        &["finished 100", "dispatch 3#1 to p/r@1:0"],
    );
}

// spec: ORCH-3005, OC-CORE-1002
#[test]
fn shed_low_priority_drops_the_newest_batch_tasks_for_interactive_ones_only() {
    let mut bench = busy_bench(ShedLowPriority, ShedLowPriority);
    for (interactive, batch) in [(1, 11), (2, 12)] {
        bench.act(bench.submit(interactive));
        bench.act(bench.submit_batch(batch));
    }
    bench.check(
        bench.submit_batch(13),
        &["refused 13 full shed-low-priority"],
    );
    let shed = |batch| format!("failed {batch} DroppedFromQueue {{ policy: ShedLowPriority }}");
    bench.check(bench.submit(3), &[&shed(12), "admitted 3 behind 2"]);
    bench.check(
        bench.submit_batch(14),
        &["refused 14 full shed-low-priority"],
    );
    bench.check(bench.submit(4), &[&shed(11), "admitted 4 behind 3"]);
    bench.check(bench.submit(5), &["refused 5 full shed-low-priority"]);
    assert_eq!(
        bench
            .scheduler
            .queue_depth(bench.set(), Priority::Interactive),
        4
    );
}

// spec: OC-CORE-1001
#[test]
fn places_lent_to_interactive_return_to_batch() {
    let mut bench = busy_bench(ShedLowPriority, Reject);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.act(bench.submit_batch(11));
    bench.act(bench.submit(3));
    bench.check(bench.submit_batch(12), &["admitted 12 behind 3"]);
    bench.check(bench.submit_batch(13), &["refused 13 full reject"]);
    bench.act(cancel(3));
    bench.check(bench.submit_batch(13), &["admitted 13 behind 3"]);
}

// spec: OC-CORE-1001
#[test]
fn bytes_are_bounded_like_places_and_several_tasks_may_have_to_go() {
    let full_policy = ByPriority {
        interactive: DropLru,
        batch: Reject,
    };
    let mut bench = Bench::with(PoolView {
        full_policy,
        ..pool("p", vec![starting("r", 1, 100)])
    });
    let sized = |bench: &Bench, number, bytes| {
        Event::Submitted(TaskSpec {
            bytes,
            ..bench.task(number)
        })
    };
    for number in 1..=3 {
        let task = sized(&bench, number, 300);
        bench.act(task);
    }
    let fits = sized(&bench, 4, 100);
    bench.check(fits, &["admitted 4 behind 3"]);
    let large = sized(&bench, 5, 500);
    bench.check(
        large,
        &[
            "failed 1 DroppedFromQueue { policy: DropLru }",
            "failed 2 DroppedFromQueue { policy: DropLru }",
            "admitted 5 behind 2",
        ],
    );
}

// spec: OC-CORE-1002
#[test]
fn a_refusal_for_bytes_drops_nobody() {
    let full_policy = ByPriority {
        interactive: ShedLowPriority,
        batch: Reject,
    };
    let mut bench = Bench::with(PoolView {
        full_policy,
        ..pool("p", vec![starting("r", 1, 100)])
    });
    let interactive = TaskSpec {
        bytes: 1_000,
        ..bench.task(1)
    };
    bench.act(Event::Submitted(interactive));
    bench.act(bench.submit_batch(11));
    let large = TaskSpec {
        bytes: 11,
        ..bench.task(2)
    };
    bench.check(
        Event::Submitted(large),
        &["refused 2 full shed-low-priority"],
    );
    let small = TaskSpec {
        bytes: 10,
        ..bench.task(2)
    };
    bench.check(
        Event::Submitted(small),
        &[
            "failed 11 DroppedFromQueue { policy: ShedLowPriority }",
            "admitted 2 behind 1",
        ],
    );
}

// spec: ORCH-3004, OC-CORE-1001, OC-CORE-1104
#[test]
fn a_set_queues_as_much_as_its_pools_add_up_to_and_the_first_pools_policy_rules() {
    let mut bench = busy_bench(Reject, Reject);
    let full_policy = ByPriority {
        interactive: DropLru,
        batch: DropLru,
    };
    let second = PoolView {
        capacity: 1,
        full_policy,
        ..pool("q", vec![])
    };
    bench.act(Event::PoolChanged(second));
    for number in 1..=3 {
        assert_eq!(bench.act(bench.submit(number)).len(), 1);
    }
    bench.check(bench.submit(4), &["refused 4 full reject"]);
    let snapshot = bench.scheduler.sets().next().unwrap();
    assert_eq!((snapshot.capacity, snapshot.bytes), (3, 2_000));
    assert_eq!(
        snapshot.queue_depth,
        ByPriority {
            interactive: 3,
            batch: 0
        }
    );
}

// spec: OC-CORE-1001
#[test]
fn a_queue_that_shrinks_keeps_what_it_has_and_admits_one_for_one() {
    let mut bench = busy_bench(DropLru, Reject);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    let full_policy = ByPriority {
        interactive: DropLru,
        batch: Reject,
    };
    let smaller = PoolView {
        capacity: 1,
        full_policy,
        ..pool("p", vec![ready("r", 1, 1)])
    };
    bench.check(Event::PoolChanged(smaller), &[]);
    bench.check(
        bench.submit(3),
        &[
            "failed 1 DroppedFromQueue { policy: DropLru }",
            "admitted 3 behind 1",
        ],
    );
}
