//! The machine on a virtual clock: the named cases, and any order of events.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    provisioning: Duration::from_secs(3600),
    preflight: Duration::from_secs(600),
    drain: Duration::from_secs(10),
    silent_probes: 3,
    silent_probes_max: 20,
    retry: RetryPolicy {
        min: Duration::from_secs(1),
        max: Duration::from_secs(60),
        jitter: 0.5,
        reset_after: Duration::from_secs(600),
        breaker: 7,
        start_failures: 5,
        start_window: Duration::from_secs(600),
    },
};
const PRELOAD: Duration = Duration::from_secs(60);

/// A machine with the world around it: at most one process, which must be gone before another.
struct World {
    machine: Machine,
    now: MonoTime,
    alive: bool,
    tested: bool,
    launches: u64,
    seen: Vec<Action>,
}

impl World {
    fn new() -> Self {
        let mut out = Vec::new();
        let machine = Machine::new(POLICY, 7, MonoTime::ZERO, &mut out);
        let mut world = Self {
            machine,
            now: MonoTime::ZERO,
            alive: false,
            tested: false,
            launches: 0,
            seen: Vec::new(),
        };
        world.observe(out);
        world
    }

    fn send(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.handle(self.now, event, &mut out);
        self.observe(out);
    }

    fn report(&mut self, report: Report) {
        if matches!(report, Report::Gone(_)) {
            assert!(self.alive, "only what lives can go");
            (self.alive, self.tested) = (false, false);
        }
        self.tested |= report == Report::Tested && self.machine.phase() == Phase::SelfTest;
        self.send(Event::Attempt(self.machine.attempt(), report));
    }

    #[track_caller]
    fn observe(&mut self, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Launch => {
                    assert!(!self.alive, "two processes of one worker");
                    (self.alive, self.tested) = (true, false);
                    self.launches += 1;
                }
                Action::Kill | Action::Terminate => assert!(self.alive, "nothing to stop"),
                _ => {}
            }
            self.seen.push(action);
        }
        assert_eq!(self.machine.start(), self.launches);
        assert!(self.machine.phase() != Phase::Ready || (self.alive && self.tested));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.send(Event::Tick);
    }

    /// The report with which the present step succeeds.
    fn succeed(&mut self) {
        let report = match self.machine.phase() {
            Phase::Provisioning => Report::Provisioned,
            Phase::Preflight => Report::Checked { preload: PRELOAD },
            Phase::Starting => Report::Loading,
            Phase::Preloading => Report::Loaded,
            Phase::SelfTest => Report::Tested,
            Phase::Ready => Report::Answered,
            Phase::Draining | Phase::BackingOff | Phase::Broken => return,
        };
        self.report(report);
    }

    #[track_caller]
    fn get_ready(&mut self) {
        (0..5).for_each(|_| self.succeed());
        assert_eq!(self.machine.phase(), Phase::Ready);
    }

    fn cause(&self) -> &str {
        self.machine
            .cause()
            .expect("every state but ready has a cause")
    }
}

// spec: OC-POOL-3001, OC-POOL-3130, ORCH-3002
#[test]
fn a_worker_passes_every_state_on_its_way_to_ready() {
    let mut world = World::new();
    let mut phases = vec![world.machine.phase()];
    for _ in 0..5 {
        assert!(!world.cause().is_empty());
        world.succeed();
        phases.push(world.machine.phase());
    }
    let expected = [
        Phase::Provisioning,
        Phase::Preflight,
        Phase::Starting,
        Phase::Preloading,
        Phase::SelfTest,
        Phase::Ready,
    ];
    assert_eq!(phases, expected);
    assert_eq!(world.machine.cause(), None);
    assert_eq!(world.machine.take_outcomes(), [Outcome::Ready]);
}

// spec: OC-POOL-3131, OC-POOL-3124
#[test]
fn every_state_on_the_way_has_a_deadline_and_an_exit() {
    let limits = [
        POLICY.provisioning,
        POLICY.preflight,
        PRELOAD,
        PRELOAD,
        PRELOAD,
    ];
    for (steps, limit) in limits.into_iter().enumerate() {
        let mut world = World::new();
        (0..steps).for_each(|_| world.succeed());
        let phase = world.machine.phase();
        world.pass(limit - Duration::from_millis(1));
        assert_eq!(world.machine.phase(), phase);
        world.pass(Duration::from_millis(1));
        assert_eq!(world.machine.phase(), Phase::BackingOff, "{phase:?}");
        assert!(world.cause().contains("took longer"), "{}", world.cause());
        assert_eq!(world.seen.contains(&Action::Kill), steps >= 2, "{phase:?}");
    }
}

// spec: OC-POOL-3136
#[test]
fn a_failed_worker_is_not_started_again_before_its_process_is_gone() {
    let mut world = World::new();
    (0..4).for_each(|_| world.succeed());
    world.report(Report::Failed(
        FailureKind::SelfTest,
        "no token came".into(),
    ));
    world.pass(Duration::from_secs(3600));
    assert_eq!(
        (world.machine.phase(), world.launches),
        (Phase::BackingOff, 1)
    );
    assert_eq!(world.machine.next_wakeup(), None);
    world.report(Report::Gone("killed".into()));
    assert_eq!(world.machine.phase(), Phase::Provisioning);
    assert!(world.cause().contains("no token came"), "{}", world.cause());
}

// spec: OC-POOL-3122, OC-POOL-3130
#[test]
fn the_fifth_failed_start_makes_it_broken_and_keeps_the_cause() {
    let mut world = World::new();
    for failure in 1..=5 {
        let cause = "no such file: m.gguf".to_owned();
        world.report(Report::Failed(FailureKind::Preflight, cause));
        assert!(
            world.cause().contains("no such file: m.gguf"),
            "{}",
            world.cause()
        );
        if failure < 5 {
            assert_eq!(world.machine.phase(), Phase::BackingOff);
            world.pass(Duration::from_secs(60));
        }
    }
    assert_eq!(world.machine.phase(), Phase::Broken);
    world.pass(Duration::from_secs(100_000));
    assert_eq!(world.machine.phase(), Phase::Broken);
}

// spec: OC-POOL-3011, OC-POOL-3121, OC-POOL-3126
#[test]
fn a_ready_worker_that_keeps_dying_opens_the_breaker_and_still_gets_its_probe() {
    let mut world = World::new();
    for failure in 1..=8u32 {
        world.get_ready();
        world.pass(Duration::from_secs(1));
        world.report(Report::Gone("the engine was killed by signal 9".into()));
        assert_eq!(world.machine.phase(), Phase::BackingOff);
        assert_eq!(
            world.cause().contains("breaker open"),
            failure >= 7,
            "{}",
            world.cause()
        );
        let at = world.machine.ready_at().expect("the next try has a time");
        assert!(at > world.now);
        world.pass(Duration::from_secs(60));
    }
    world.get_ready();
    assert_eq!(world.machine.restarts(), 8);
}

// spec: OC-POOL-3130
#[test]
fn silence_is_a_hang_only_without_progress() {
    let mut world = World::new();
    world.get_ready();
    for _ in 0..2 {
        world.report(Report::Silent { progress: false });
        world.report(Report::Silent { progress: false });
        world.report(Report::Silent { progress: true });
        assert_eq!(world.machine.phase(), Phase::Ready);
    }
    world.report(Report::Answered);
    (0..3).for_each(|_| world.report(Report::Silent { progress: false }));
    assert_eq!(world.machine.phase(), Phase::BackingOff);
    assert_eq!(world.seen.last(), Some(&Action::Kill));
    assert_eq!(
        world.machine.take_outcomes().last(),
        Some(&Outcome::Lost(FailureKind::Hang))
    );
}

#[test]
fn progress_does_not_excuse_silence_for_ever() {
    let mut world = World::new();
    world.get_ready();
    (0..20).for_each(|_| world.report(Report::Silent { progress: true }));
    assert_eq!(world.machine.phase(), Phase::BackingOff);
}

// spec: OC-POOL-3107, OC-POOL-3167
#[test]
fn a_stop_asks_first_and_kills_after_the_grace_time() {
    let mut world = World::new();
    world.get_ready();
    world.send(Event::Stop);
    assert_eq!(world.seen.last(), Some(&Action::Terminate));
    assert_eq!(world.machine.phase(), Phase::Draining);
    world.pass(POLICY.drain);
    assert_eq!(world.seen.last(), Some(&Action::Kill));
    assert!(!world.machine.finished());
    world.report(Report::Gone("killed".into()));
    assert!(world.machine.finished());
}

#[derive(Clone, Debug)]
enum Op {
    Succeed,
    Fail(bool),
    Reap,
    Stale(bool),
    Silent(bool),
    Pass(u32),
    Stop,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Succeed),
        2 => any::<bool>().prop_map(Op::Fail),
        3 => Just(Op::Reap),
        1 => any::<bool>().prop_map(Op::Stale),
        1 => any::<bool>().prop_map(Op::Silent),
        4 => (0u32..120_000).prop_map(Op::Pass),
        1 => Just(Op::Stop),
    ]
}

proptest! {
    // spec: OC-POOL-3136, OC-POOL-3001, OC-POOL-3120, OC-POOL-3131
    #[test]
    fn whatever_happens_there_is_one_process_and_a_way_out(ops in vec(any_op(), 0..120)) {
        let mut world = World::new();
        for op in ops {
            let before = world.machine.phase();
            match op {
                Op::Succeed => world.succeed(),
                Op::Fail(start) => {
                    let kind = if start { FailureKind::Start } else { FailureKind::SelfTest };
                    world.report(Report::Failed(kind, "it failed".into()));
                }
                Op::Reap if world.alive => world.report(Report::Gone("it ended".into())),
                Op::Reap => {}
                Op::Stale(good) => {
                    let report = if good { Report::Tested } else { Report::Gone("x".into()) };
                    let earlier = world.machine.attempt() - 1;
                    world.send(Event::Attempt(earlier, report));
                    prop_assert_eq!(world.machine.phase(), before);
                }
                Op::Silent(progress) => world.report(Report::Silent { progress }),
                Op::Pass(ms) => world.pass(Duration::from_millis(ms.into())),
                Op::Stop => world.send(Event::Stop),
            }
            let phase = world.machine.phase();
            if phase == Phase::BackingOff && before != phase {
                let wait = world.machine.until.unwrap().since(world.now);
                prop_assert!(wait >= POLICY.retry.min / 2 && wait <= POLICY.retry.max);
            }
            prop_assert!(phase == Phase::Ready || world.machine.cause().is_some());
        }
        world.send(Event::Stop);
        world.pass(POLICY.drain);
        if world.alive {
            world.report(Report::Gone("killed".into()));
        }
        prop_assert!(world.machine.finished());
    }
}
