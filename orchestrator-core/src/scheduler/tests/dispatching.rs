//! What starts next, and where.

use super::*;
use crate::ids::SessionId;

// spec: OC-CORE-1003, OC-CORE-1004, OC-CORE-1114
#[test]
fn interactive_goes_before_batch_and_each_class_in_order() {
    let mut bench = Bench::with_slots(1);
    bench.act(bench.submit_batch(1));
    bench.act(bench.submit_batch(2));
    bench.act(bench.submit(3));
    bench.act(bench.submit_batch(4));
    bench.act(bench.submit(5));
    for (done, next) in [(1, 3), (3, 5), (5, 2), (2, 4)] {
        let dispatch = format!("dispatch {next}#1 to p/r@1:0");
        bench.check(
            completed(done, 1),
            &[&format!("finished {done}"), &dispatch],
        );
    }
}

// spec: ORCH-3008, ORCH-3019, OC-CORE-1012, OC-CORE-1130, OC-CORE-1140
#[test]
fn the_less_loaded_replica_goes_first_then_the_one_with_more_memory_then_by_id() {
    let roomy = ReplicaView {
        free_vram_bytes: 2_000,
        ..ready("b", 1, 2)
    };
    let mut bench = Bench::with(pool("p", vec![ready("a", 1, 2), roomy, ready("c", 1, 2)]));
    let mut places = Vec::new();
    for number in 1..=7 {
        places.extend(bench.act(bench.submit(number)).iter().skip(1).map(in_words));
    }
    let expected = [
        "dispatch 1#1 to p/b@1:0",
        "dispatch 2#1 to p/a@1:0",
        "dispatch 3#1 to p/c@1:0",
        "dispatch 4#1 to p/b@1:1",
        "dispatch 5#1 to p/a@1:1",
        "dispatch 6#1 to p/c@1:1",
    ];
    assert_eq!(places, expected);
    bench.check(completed(5, 1), &["finished 5", "dispatch 7#1 to p/a@1:1"]);
}

// spec: ORCH-3008, OC-CORE-1133
#[test]
fn a_replica_measured_to_be_slow_is_chosen_last() {
    let mut bench = Bench::with(pool("p", vec![ready("a", 1, 1), ready("b", 1, 1)]));
    let run = |bench: &mut Bench, number, decode_ms| {
        let actions = bench.act(bench.submit(number));
        let Some(Action::Dispatch { replica, .. }) = actions.get(1) else {
            panic!("{actions:?}")
        };
        let slow = if replica.as_str() == "a" { 10 } else { 1_u64 };
        let result = AttemptResult::Completed {
            tokens_in: 10,
            tokens_out: 50,
            prefill: ms(10),
            decode: ms(decode_ms * slow),
        };
        (
            replica.as_str().to_owned(),
            Event::Ended {
                task: TaskId(number),
                attempt: 1,
                result,
            },
        )
    };
    // Both run at once at first, so that both are measured.
    for pair in 0..4 {
        let (_, first) = run(&mut bench, 10 * pair + 1, 100);
        let (_, second) = run(&mut bench, 10 * pair + 2, 100);
        bench.act(first);
        bench.act(second);
    }
    assert_eq!(run(&mut bench, 91, 100).0, "b");
}

// spec: ORCH-3010, OC-CORE-1010
#[test]
fn nothing_is_dispatched_to_a_replica_that_is_not_ready() {
    let mut bench = Bench::with(pool("p", vec![starting("a", 1, 100), unavailable("b", 1)]));
    bench.check(bench.submit(1), &["admitted 1 behind 0"]);
    bench.check(
        Event::PoolChanged(pool("p", vec![unavailable("a", 1), unavailable("b", 1)])),
        &[],
    );
    bench.check(
        Event::PoolChanged(pool("p", vec![unavailable("a", 1), ready("b", 1, 1)])),
        &["dispatch 1#1 to p/b@1:0"],
    );
}

fn turn(bench: &Bench, number: u128, session: u128) -> Event {
    Event::Submitted(TaskSpec {
        session: Some(SessionId(session)),
        ..bench.task(number)
    })
}

// spec: ORCH-3009, OC-CORE-1013
#[test]
fn a_session_returns_to_its_slot_while_nobody_else_has_used_it() {
    let mut bench = Bench::with(pool("p", vec![ready("a", 1, 2), ready("b", 1, 2)]));
    let first = turn(&bench, 1, 7);
    bench.check(first, &["admitted 1 behind 0", "dispatch 1#1 to p/a@1:0"]);
    let other = turn(&bench, 2, 8);
    bench.check(other, &["admitted 2 behind 0", "dispatch 2#1 to p/b@1:0"]);
    bench.act(completed(1, 1));
    bench.act(completed(2, 1));
    let again = turn(&bench, 3, 8);
    bench.check(
        again,
        &["admitted 3 behind 0", "dispatch 3#1 to p/b@1:0 warm"],
    );
    bench.act(completed(3, 1));
    bench.check(
        bench.submit(4),
        &["admitted 4 behind 0", "dispatch 4#1 to p/a@1:0"],
    );
    bench.act(completed(4, 1));
    let overwritten = turn(&bench, 5, 7);
    bench.check(
        overwritten,
        &["admitted 5 behind 0", "dispatch 5#1 to p/a@1:0"],
    );
}

// spec: ORCH-3009
#[test]
fn a_warm_slot_is_preferred_to_a_lower_one() {
    let mut bench = Bench::with_slots(2);
    bench.act(bench.submit(1));
    let first = turn(&bench, 2, 7);
    bench.check(first, &["admitted 2 behind 0", "dispatch 2#1 to p/r@1:1"]);
    bench.act(completed(1, 1));
    bench.act(completed(2, 1));
    let second = turn(&bench, 3, 7);
    bench.check(
        second,
        &["admitted 3 behind 0", "dispatch 3#1 to p/r@1:1 warm"],
    );
}

// spec: ORCH-3009, ORCH-3023
#[test]
fn a_warm_slot_that_is_taken_or_of_an_earlier_process_is_not_waited_for() {
    let mut bench = Bench::with_slots(2);
    let first = turn(&bench, 1, 7);
    bench.act(first);
    let beside = turn(&bench, 2, 7);
    bench.check(beside, &["admitted 2 behind 0", "dispatch 2#1 to p/r@1:1"]);
    bench.act(completed(1, 1));
    bench.act(completed(2, 1));
    bench.act(Event::PoolChanged(pool("p", vec![ready("r", 2, 2)])));
    let after_restart = turn(&bench, 3, 7);
    bench.check(
        after_restart,
        &["admitted 3 behind 0", "dispatch 3#1 to p/r@2:0"],
    );
}

// spec: ORCH-3009
#[test]
fn only_the_last_slot_of_a_session_is_warm() {
    let mut bench = Bench::with(pool("p", vec![ready("a", 1, 1), ready("b", 1, 1)]));
    bench.act(turn(&bench, 1, 7));
    bench.check(
        turn(&bench, 2, 7),
        &["admitted 2 behind 0", "dispatch 2#1 to p/b@1:0"],
    );
    bench.act(completed(1, 1));
    bench.act(completed(2, 1));
    let other = TaskSpec {
        session: Some(SessionId(8)),
        ..bench.task(3)
    };
    bench.check(
        turn(&bench, 4, 7),
        &["admitted 4 behind 0", "dispatch 4#1 to p/b@1:0 warm"],
    );
    bench.act(completed(4, 1));
    bench.act(Event::PoolChanged(pool(
        "p",
        vec![ready("a", 1, 1), ready("b", 2, 1)],
    )));
    bench.check(
        turn(&bench, 5, 7),
        &["admitted 5 behind 0", "dispatch 5#1 to p/a@1:0"],
    );
    bench.check(
        Event::Submitted(other),
        &["admitted 3 behind 0", "dispatch 3#1 to p/b@2:0"],
    );
}

// spec: ORCH-3009
#[test]
fn a_warm_slot_that_the_replica_no_longer_has_is_not_used() {
    let mut bench = Bench::with_slots(2);
    bench.act(bench.submit(1));
    bench.act(turn(&bench, 2, 7));
    bench.act(completed(1, 1));
    bench.act(completed(2, 1));
    bench.act(Event::PoolChanged(pool("p", vec![ready("r", 1, 1)])));
    bench.check(
        turn(&bench, 3, 7),
        &["admitted 3 behind 0", "dispatch 3#1 to p/r@1:0"],
    );
}

// spec: ORCH-3009
#[test]
fn only_so_many_sessions_are_remembered() {
    let sessions = LIMITS.sessions as u128;
    let mut bench = Bench::with_slots(8);
    for number in 0..=sessions {
        let event = turn(&bench, number, number);
        bench.act(event);
    }
    for number in 0..=sessions {
        bench.act(completed(number, 1));
    }
    let forgotten = turn(&bench, 50, 0);
    bench.check(
        forgotten,
        &["admitted 50 behind 0", "dispatch 50#1 to p/r@1:0"],
    );
    let remembered = turn(&bench, 51, sessions);
    bench.check(
        remembered,
        &[
            "admitted 51 behind 0",
            &format!("dispatch 51#1 to p/r@1:{sessions} warm"),
        ],
    );
}
