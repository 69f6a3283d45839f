//! Predictions against a small world with fixed rates, on virtual time.

use super::*;
use std::collections::BTreeMap;

/// An engine that needs 2 ms for a prompt token and 20 ms for a generated one, on some slots.
struct World {
    bench: Bench,
    /// What is to come: first tokens and ends.
    agenda: BTreeMap<(MonoTime, u128), Event>,
    predicted: BTreeMap<u128, MonoTime>,
    errors_ms: Vec<f64>,
}

const TOKENS_IN: u32 = 100;
const TOKENS_OUT: u32 = 40;
const PREFILL: Duration = Duration::from_millis(2 * TOKENS_IN as u64);
const DECODE: Duration = Duration::from_millis(20 * TOKENS_OUT as u64);
const SERVICE_MS: u64 = 2 * TOKENS_IN as u64 + 20 * TOKENS_OUT as u64;

impl World {
    fn new(slots: u32) -> Self {
        let view = PoolView {
            capacity: 500,
            bytes: 1 << 20,
            ..pool("p", vec![ready("r", 1, slots)])
        };
        Self {
            bench: Bench::with(view),
            agenda: BTreeMap::new(),
            predicted: BTreeMap::new(),
            errors_ms: Vec::new(),
        }
    }

    fn submit(&mut self, number: u128) {
        let task = TaskSpec {
            tokens_in: TOKENS_IN,
            max_tokens: 80,
            ..self.bench.task(number)
        };
        let actions = self.bench.act(Event::Submitted(task));
        self.note(&actions);
    }

    fn note(&mut self, actions: &[Action]) {
        let now = self.bench.now;
        for action in actions {
            match action {
                Action::Admitted { task, admission } => {
                    self.predicted
                        .insert(task.0, now.after(admission.predicted_start));
                }
                Action::Dispatch { task, .. } => {
                    let predicted = self.predicted[&task.0];
                    let error = now.0.as_secs_f64() - predicted.0.as_secs_f64();
                    self.errors_ms.push(error * 1e3);
                    self.agenda
                        .insert((now.after(PREFILL), task.0), started(task.0, 1));
                    let result = AttemptResult::Completed {
                        tokens_in: TOKENS_IN,
                        tokens_out: TOKENS_OUT,
                        prefill: PREFILL,
                        decode: DECODE,
                    };
                    let end = Event::Ended {
                        task: *task,
                        attempt: 1,
                        result,
                    };
                    self.agenda
                        .insert((now.after(PREFILL + DECODE), task.0), end);
                }
                Action::Finished { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Lets everything happen until `until`, or until nothing is left to come.
    fn run(&mut self, until: MonoTime) {
        while let Some(next) = self.agenda.first_entry()
            && next.key().0 <= until
        {
            let ((now, _), event) = next.remove_entry();
            self.bench.now = now;
            let actions = self.bench.act(event);
            self.note(&actions);
        }
    }

    fn warm_up(&mut self) {
        for number in 0..20 {
            self.submit(number);
            self.run(at(3_600_000));
        }
        self.errors_ms.clear();
    }
}

// spec: ORCH-3458, OC-CORE-1133
#[test]
fn after_a_warm_up_starts_come_when_they_were_predicted() {
    for slots in [1, 3] {
        let mut world = World::new(slots);
        world.warm_up();
        for number in 100..160 {
            world.submit(number);
            let later = world.bench.now.after(ms(7));
            world.run(later);
            world.bench.now = later;
        }
        world.run(at(3_600_000));
        assert_eq!(world.errors_ms.len(), 60);
        let replica = world
            .bench
            .scheduler
            .sets()
            .next()
            .unwrap()
            .pools
            .remove(0)
            .replicas
            .remove(0);
        assert!(
            (replica.tokens_per_s.unwrap() - 50.0).abs() < 0.1,
            "{replica:?}"
        );
        let worst = world
            .errors_ms
            .iter()
            .fold(0.0_f64, |worst, error| worst.max(error.abs()));
        assert!(
            worst < 0.05 * SERVICE_MS as f64,
            "{slots} slots: {worst} ms off"
        );
    }
}

// spec: ORCH-3084
#[test]
fn after_a_warm_up_the_chance_to_be_on_time_is_clear_on_both_sides_of_the_true_end() {
    let mut world = World::new(1);
    world.warm_up();
    for number in 100..105 {
        world.submit(number);
    }
    // One runs, four are queued, so the next one ends as the sixth.
    let true_end = Duration::from_millis(6 * SERVICE_MS);
    for (slack, number) in [(-0.25, 200), (0.25, 201)] {
        let deadline = world.bench.now.after(true_end.mul_f64(1.0 + slack));
        let task = TaskSpec {
            tokens_in: 100,
            max_tokens: 80,
            deadline: Some(deadline),
            ..world.bench.task(number)
        };
        let actions = world.bench.act(Event::Submitted(task));
        let Action::Admitted { admission, .. } = &actions[0] else {
            panic!("{actions:?}")
        };
        let chance = admission.on_time_probability.unwrap();
        assert!(
            if slack < 0.0 {
                chance < 0.1
            } else {
                chance > 0.9
            },
            "{slack}: {chance}"
        );
        world.bench.act(cancel(number));
    }
}

#[test]
fn a_cold_start_predicts_with_doubt() {
    let mut bench = busy_bench(FullPolicy::Reject, FullPolicy::Reject);
    let task = TaskSpec {
        deadline: Some(at(4_000)),
        ..bench.task(1)
    };
    let actions = bench.act(Event::Submitted(task));
    let Action::Admitted { admission, .. } = &actions[0] else {
        panic!("{actions:?}")
    };
    let chance = admission.on_time_probability.unwrap();
    assert!((0.2..0.8).contains(&chance), "{chance}");
}

#[test]
fn progress_moves_the_prediction() {
    let mut bench = busy_bench(FullPolicy::Reject, FullPolicy::Reject);
    bench.act(bench.submit(1));
    bench.act(started(100, 1));
    let before = bench.scheduler.predicted_start(TaskId(1)).unwrap();
    bench.act(Event::Progressed {
        task: TaskId(100),
        attempt: 1,
        tokens_out: 49,
    });
    let after = bench.scheduler.predicted_start(TaskId(1)).unwrap();
    assert!(after < before / 10, "{before:?} {after:?}");
    let snapshot = bench.scheduler.sets().next().unwrap();
    assert!(snapshot.predicted_start.interactive.unwrap() > after);
    assert!(snapshot.predicted_start.batch >= snapshot.predicted_start.interactive);
}

// spec: OC-CORE-1133
#[test]
fn a_new_process_keeps_what_was_learned_of_its_replica() {
    let mut world = World::new(1);
    world.warm_up();
    let rate = |world: &World| {
        let set = world.bench.scheduler.sets().next().unwrap();
        set.pools[0].replicas[0].tokens_per_s
    };
    let learned = rate(&world);
    assert!(learned.is_some());
    let restarted = pool("p", vec![ready("r", 2, 1)]);
    world.bench.check(Event::PoolChanged(restarted), &[]);
    assert_eq!(rate(&world), learned);
}
