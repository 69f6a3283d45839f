//! Pools and replicas that come, change and go.

use super::*;

fn removed(id: &str) -> Event {
    Event::PoolRemoved(PoolId::parse(id).unwrap())
}

// spec: ORCH-3007, ORCH-3046, OC-CORE-1103, OC-CORE-1104, OC-CORE-1031, OC-CORE-1032
#[test]
fn pools_of_equal_key_share_a_queue_and_others_do_not() {
    let mut bench = Bench::with(pool("p", vec![ready("r", 1, 1)]));
    bench.act(Event::PoolChanged(pool("q", vec![ready("r", 1, 1)])));
    let other = PoolView {
        set: set_key("other"),
        ..pool("o", vec![ready("r", 1, 1)])
    };
    bench.act(Event::PoolChanged(other));
    bench.check(
        bench.submit(1),
        &["admitted 1 behind 0", "dispatch 1#1 to p/r@1:0"],
    );
    bench.check(
        bench.submit(2),
        &["admitted 2 behind 0", "dispatch 2#1 to q/r@1:0"],
    );
    bench.check(bench.submit(3), &["admitted 3 behind 0"]);
    let set = bench.scheduler.set_id(&set_key("other")).unwrap();
    bench.check(
        Event::Submitted(task_of(set, 4)),
        &["admitted 4 behind 0", "dispatch 4#1 to o/r@1:0"],
    );
}

// spec: ORCH-3442
#[test]
fn a_new_incarnation_fences_the_old_ones_attempts() {
    let mut bench = Bench::with_slots(2);
    for number in 1..=3 {
        bench.act(bench.submit(number));
    }
    bench.act(started(2, 1));
    bench.check(
        Event::PoolChanged(pool("p", vec![ready("r", 2, 2)])),
        &[
            "abort 1#1 gone",
            "abort 2#1 gone",
            "failed 2 WorkerReset",
            "dispatch 1#2 to p/r@2:0",
            "dispatch 3#1 to p/r@2:1",
        ],
    );
    bench.check(released(1, 1), &[]);
    bench.check(completed(1, 1), &[]);
    bench.check(completed(1, 2), &["finished 1"]);
}

// spec: ORCH-3431
#[test]
fn a_new_incarnation_frees_held_slots() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(cancel(1));
    bench.act(bench.submit(2));
    bench.check(
        Event::PoolChanged(pool("p", vec![ready("r", 2, 1)])),
        &["dispatch 2#1 to p/r@2:0"],
    );
    bench.check(released(1, 1), &[]);
    assert_eq!(bench.taken_slots(), 1);
}

// spec: ORCH-3440
#[test]
fn a_replica_that_lost_its_lease_finishes_what_it_runs_and_gets_nothing_new() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.check(
        Event::PoolChanged(pool("p", vec![unavailable("r", 1)])),
        &[],
    );
    bench.check(started(1, 1), &[]);
    bench.check(completed(1, 1), &["finished 1"]);
    bench.check(
        Event::PoolChanged(pool("p", vec![ready("r", 1, 1)])),
        &["dispatch 2#1 to p/r@1:0"],
    );
}

// spec: ORCH-3455
#[test]
fn a_queued_task_whose_set_lost_its_replicas_waits_until_its_deadline() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.act(started(1, 1));
    bench.check(
        Event::PoolChanged(pool("p", vec![])),
        &["abort 1#1 gone", "failed 1 WorkerReset"],
    );
    assert_eq!(bench.scheduler.predicted_start(TaskId(2)), None);
    assert_eq!(bench.scheduler.position(TaskId(2)), Some(0));
    bench.check_at(600_000, Event::TimePassed, &["failed 2 DeadlineUnmet"]);
}

// spec: ORCH-3018, OC-CTRL-2132
#[test]
fn the_last_pool_takes_its_sets_queue_with_it_and_an_earlier_one_does_not() {
    let mut bench = Bench::with(pool("p", vec![ready("r", 1, 1)]));
    bench.act(Event::PoolChanged(pool("q", vec![])));
    for number in 1..=2 {
        bench.act(bench.submit(number));
    }
    bench.act(bench.submit_batch(3));
    bench.check(removed("q"), &[]);
    bench.check(removed("q"), &[]);
    bench.check(
        removed("p"),
        &[
            "abort 1#1 gone",
            "failed 1 PoolUnavailable",
            "failed 2 PoolUnavailable",
            "failed 3 PoolUnavailable",
        ],
    );
    assert_eq!(bench.scheduler.sets().count(), 0);
    assert_eq!(bench.scheduler.next_wakeup(), None);
}

// spec: ORCH-3046
#[test]
fn a_pool_that_changes_its_set_leaves_the_old_one() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    bench.act(started(1, 1));
    let old = bench.set();
    let changed = PoolView {
        set: set_key("new"),
        ..pool("p", vec![ready("r", 1, 1)])
    };
    bench.check(
        Event::PoolChanged(changed),
        &[
            "abort 1#1 gone",
            "failed 1 WorkerReset",
            "failed 2 PoolUnavailable",
        ],
    );
    let new = bench.scheduler.set_id(&set_key("new")).unwrap();
    assert_ne!(old, new);
    assert_eq!(bench.scheduler.set_id(&set_key("m")), None);
    bench.check(
        Event::Submitted(task_of(new, 3)),
        &["admitted 3 behind 0", "dispatch 3#1 to p/r@1:0"],
    );
}

#[test]
fn fewer_slots_take_effect_as_tasks_end() {
    let mut bench = Bench::with_slots(2);
    for number in 1..=3 {
        bench.act(bench.submit(number));
    }
    bench.check(Event::PoolChanged(pool("p", vec![ready("r", 1, 1)])), &[]);
    bench.check(completed(2, 1), &["finished 2"]);
    bench.check(completed(1, 1), &["finished 1", "dispatch 3#1 to p/r@1:0"]);
}

// spec: OC-CORE-1141
#[test]
fn a_repeated_report_changes_nothing() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit(1));
    bench.act(bench.submit(2));
    for _ in 0..3 {
        bench.check(Event::PoolChanged(pool("p", vec![ready("r", 1, 1)])), &[]);
    }
    let twice = vec![unavailable("r", 1), ready("r", 1, 1)];
    bench.check(Event::PoolChanged(pool("p", twice)), &[]);
    bench.check(completed(1, 1), &["finished 1", "dispatch 2#1 to p/r@1:0"]);
}
