//! Every order of what can happen to one task: it ends exactly once and its slot comes back.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Submit,
    Cancel,
    Start,
    End,
    Release,
    Restart,
    Late,
}
use Happening::{Cancel, End, Late, Release, Restart, Start, Submit};

/// One task and one slot, with a count of what was promised and what was told.
struct Life {
    bench: Bench,
    end: AttemptResult,
    incarnation: u64,
    /// The attempt that the driver works on, and whether it still owes the release of one.
    attempt: u32,
    admitted: usize,
    finished: usize,
}

impl Life {
    fn new(end: AttemptResult) -> Self {
        let bench = Bench::with_slots(1);
        Self {
            bench,
            end,
            incarnation: 1,
            attempt: 1,
            admitted: 0,
            finished: 0,
        }
    }

    fn live(&mut self, happening: Happening) {
        let event = match happening {
            Submit => Event::Submitted(TaskSpec {
                default_deadline: self.bench.now.after(ms(10_000)),
                ..self.bench.task(1)
            }),
            Cancel => cancel(1),
            Start => started(1, self.attempt),
            End => Event::Ended {
                task: TaskId(1),
                attempt: self.attempt,
                result: self.end,
            },
            Release => released(1, self.attempt),
            Restart => {
                self.incarnation += 1;
                Event::PoolChanged(pool("p", vec![ready("r", self.incarnation, 1)]))
            }
            Late => {
                self.bench.now = self.bench.now.after(ms(10_000));
                Event::TimePassed
            }
        };
        let actions = self.bench.act(event);
        self.note(&actions);
    }

    fn note(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Admitted { .. } => self.admitted += 1,
                Action::Finished { .. } => self.finished += 1,
                Action::Dispatch { attempt, .. } => self.attempt = *attempt,
                Action::Refused { .. } | Action::Abort { .. } => {}
            }
        }
    }

    /// Faults are over: what runs completes, and what is held is released.
    fn heal(&mut self) {
        for _ in 0..2 {
            self.bench.now = self.bench.now.after(ms(4_000));
            for event in [
                Event::TimePassed,
                completed(1, self.attempt),
                released(1, self.attempt),
            ] {
                let actions = self.bench.act(event);
                self.note(&actions);
            }
        }
        for event in [completed(1, self.attempt), released(1, self.attempt)] {
            let actions = self.bench.act(event);
            self.note(&actions);
        }
        self.bench.now = self.bench.now.after(LIMITS.slot_hold);
        self.bench.act(Event::TimePassed);
    }
}

#[track_caller]
fn check(story: &[Happening], end: AttemptResult) {
    let mut life = Life::new(end);
    story.iter().for_each(|happening| life.live(*happening));
    life.heal();
    assert_eq!(
        life.finished, life.admitted,
        "ends and admissions of {story:?} with {end:?}"
    );
    assert!(
        life.admitted >= usize::from(story.contains(&Submit)),
        "{story:?}"
    );
    assert_eq!(
        life.bench.taken_slots(),
        0,
        "slots left by {story:?} with {end:?}"
    );
    assert_eq!(
        life.bench.scheduler.next_wakeup(),
        None,
        "timers left by {story:?}"
    );
}

fn ends() -> [AttemptResult; 4] {
    let failed = |fault| AttemptResult::Failed { fault };
    let Event::Ended { result, .. } = completed(1, 1) else {
        unreachable!("completed is an end")
    };
    [
        result,
        failed(Fault::Replica),
        failed(Fault::Timeout),
        failed(Fault::Request),
    ]
}

/// Calls `visit` with every order of `rest` after `story`.
fn orders(story: &mut Vec<Happening>, rest: &[Happening], visit: &mut impl FnMut(&[Happening])) {
    if rest.is_empty() {
        visit(story);
    }
    for (index, happening) in rest.iter().enumerate() {
        let mut others = rest.to_vec();
        others.remove(index);
        story.push(*happening);
        orders(story, &others, visit);
        story.pop();
    }
}

// spec: ORCH-2002, ORCH-3026, OC-CORE-1005
#[test]
fn in_every_order_of_events_a_task_ends_exactly_once() {
    let mut stories = 0;
    orders(
        &mut Vec::new(),
        &[Submit, Cancel, Start, End, Release, Restart],
        &mut |story| {
            stories += 1;
            ends().into_iter().for_each(|end| check(story, end));
        },
    );
    assert_eq!(stories, 720);
}

// spec: ORCH-2002, ORCH-3016
#[test]
fn in_every_short_story_with_repeats_each_admission_ends_exactly_once() {
    const ALL: [Happening; 7] = [Submit, Cancel, Start, End, Release, Restart, Late];
    for story in 0..7_usize.pow(4) {
        let rest = (0..4).map(|place| ALL[story / 7_usize.pow(place) % 7]);
        let story: Vec<_> = std::iter::once(Submit).chain(rest).collect();
        check(&story, ends()[story.len() % 2]);
        check(&story, ends()[1]);
    }
}
