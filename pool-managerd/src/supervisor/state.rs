//! The life of one worker as a state machine.
//!
//! ```text
//!  provisioning ─▶ preflight ─▶ starting ─▶ preloading ─▶ self-test ─▶ ready
//!   ▲     │            │           │            │             │          │
//!   │     └────────────┴───────────┴─ failed ───┴─────────────┴──────────┘
//!   │                                    ▼
//!   └──── wait over, process gone ─ backing-off        broken (too many failed starts)
//!                                          any ── stop ──▶ draining ─▶ finished
//! ```
//!
//! Pure: no clock, process, network or randomness. The driver feeds events in and carries out the
//! actions that come out.
//!
//! # Invariants
//! - S1 Two processes of one worker never live at once: `Launch` comes only after the `Gone` of
//!   the process before. [OC-POOL-3136]
//! - S2 `Ready` follows only a passed self-test of the present process. [OC-POOL-3001]
//! - S3 Every state but ready, backing-off and broken has a deadline. [OC-POOL-3131]
//! - S4 An event of an earlier attempt changes nothing.

use std::time::Duration;

use orchestrator_core::time::MonoTime;

use crate::supervisor::backoff::{FailureLog, RetryPolicy, Verdict};

pub use crate::supervisor::events::{Action, Event, FailureKind, Outcome, Phase, Report};

/// How long each state may last, and how failures are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Fetching and building an engine.
    pub provisioning: Duration,
    /// Reading and checking the model.
    pub preflight: Duration,
    /// From SIGTERM to SIGKILL.
    pub drain: Duration,
    /// Silent probes without progress that make a hang.
    pub silent_probes: u32,
    /// Silent probes that make a hang whatever the process does.
    pub silent_probes_max: u32,
    /// Backoff and breaker.
    pub retry: RetryPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alive {
    No,
    Yes,
    Killed,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    phase: Phase,
    cause: Option<String>,
    attempt: u64,
    start: u64,
    alive: Alive,
    stopping: bool,
    silent: u32,
    idle: u32,
    /// What went wrong last, shown until the worker is ready again.
    last_failure: Option<String>,
    /// When the present state has lasted too long, or the wait is over.
    until: Option<MonoTime>,
    launched: MonoTime,
    ready_since: Option<MonoTime>,
    last_load: Option<Duration>,
    failures: FailureLog,
    outcomes: Vec<Outcome>,
}

impl Machine {
    /// A worker that begins its first attempt.
    #[must_use]
    pub fn new(policy: Policy, seed: u64, now: MonoTime, out: &mut Vec<Action>) -> Self {
        let mut machine = Self {
            policy,
            phase: Phase::Provisioning,
            cause: None,
            attempt: 0,
            start: 0,
            alive: Alive::No,
            stopping: false,
            silent: 0,
            idle: 0,
            last_failure: None,
            until: None,
            launched: now,
            ready_since: None,
            last_load: None,
            failures: FailureLog::new(policy.retry, seed),
            outcomes: Vec::new(),
        };
        machine.begin(now, out);
        machine
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it is not ready, or what it does now.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The number of the present attempt; it stands in the reports of its steps.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// How many processes were started.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Restarts: starts but the first.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.start.saturating_sub(1)
    }

    /// The agent stops, and nothing of this worker is left.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.stopping && self.alive == Alive::No
    }

    /// Whether the stop has been seen.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping
    }

    /// When time alone makes a difference.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        // A wait that is over while the old process is still there ends with its `Gone`.
        let waits_for_gone = self.phase == Phase::BackingOff && self.alive != Alive::No;
        if waits_for_gone { None } else { self.until }
    }

    /// When it is expected to be ready: from its last load, where there was one.
    // spec: OC-POOL-3126
    #[must_use]
    pub fn ready_at(&self) -> Option<MonoTime> {
        match self.phase {
            Phase::BackingOff => Some(self.until?.after(self.last_load.unwrap_or_default())),
            Phase::Starting | Phase::Preloading | Phase::SelfTest => {
                Some(self.launched.after(self.last_load?))
            }
            Phase::Provisioning
            | Phase::Preflight
            | Phase::Ready
            | Phase::Draining
            | Phase::Broken => None,
        }
    }

    /// What has become of attempts since the last call, for the counters.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Takes one event.
    pub fn handle(&mut self, now: MonoTime, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Tick => self.tick(now, out),
            Event::Stop => self.stop(now, out),
            Event::Attempt(attempt, report) if attempt == self.attempt => {
                self.report(now, report, out);
            }
            Event::Attempt(..) => {}
        }
        self.check_invariants();
    }

    fn begin(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.attempt += 1;
        self.enter(Phase::Provisioning, now, self.policy.provisioning);
        out.push(Action::Provision);
    }

    fn enter(&mut self, phase: Phase, now: MonoTime, lasts: Duration) {
        self.until = Some(now.after(lasts));
        self.go_on(phase);
    }

    /// Changes the state and leaves its deadline as it is.
    // spec: OC-POOL-3003, OC-POOL-3130
    fn go_on(&mut self, phase: Phase) {
        self.phase = phase;
        self.tell(phase.work());
    }

    fn tell(&mut self, doing: &str) {
        self.cause = Some(match &self.last_failure {
            Some(failure) => format!("{doing}; the last try failed: {failure}"),
            None => doing.to_owned(),
        });
    }

    fn report(&mut self, now: MonoTime, report: Report, out: &mut Vec<Action>) {
        match (self.phase, report) {
            (_, Report::Gone(why)) => self.gone(now, why, out),
            (Phase::Provisioning | Phase::Preflight, Report::Progress(text)) => {
                self.tell(&text);
            }
            (Phase::Provisioning, Report::Provisioned) => {
                self.enter(Phase::Preflight, now, self.policy.preflight);
                out.push(Action::Check);
            }
            (Phase::Preflight, Report::Checked { preload }) => self.launch(now, preload, out),
            (Phase::Starting, Report::Loading) => self.go_on(Phase::Preloading),
            (Phase::Starting | Phase::Preloading, Report::Loaded) => {
                self.go_on(Phase::SelfTest);
                out.push(Action::Test);
            }
            (Phase::SelfTest, Report::Tested) => self.ready(now, out),
            (Phase::Ready, Report::Answered) => (self.silent, self.idle) = (0, 0),
            (Phase::Ready, Report::Silent { progress }) => self.silent(now, progress, out),
            (phase, Report::Failed(kind, cause)) if phase.fails() => {
                self.fail(now, kind, cause, out);
            }
            // What does not belong to the present state came too late to matter.
            _ => {}
        }
    }

    fn launch(&mut self, now: MonoTime, preload: Duration, out: &mut Vec<Action>) {
        self.enter(Phase::Starting, now, preload);
        self.start += 1;
        self.launched = now;
        self.alive = Alive::Yes;
        out.push(Action::Launch);
    }

    // spec: OC-POOL-3001, ORCH-3002
    fn ready(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.phase = Phase::Ready;
        (self.until, self.cause, self.last_failure) = (None, None, None);
        (self.silent, self.idle) = (0, 0);
        self.ready_since = Some(now);
        self.last_load = Some(now.since(self.launched));
        self.outcomes.push(Outcome::Ready);
        out.push(Action::Watch);
    }

    /// A hang is silence while nothing moves. A process that works is given much longer, since a
    /// busy engine may answer late.
    fn silent(&mut self, now: MonoTime, progress: bool, out: &mut Vec<Action>) {
        self.silent += 1;
        self.idle = if progress { 0 } else { self.idle + 1 };
        let hangs = self.idle >= self.policy.silent_probes;
        if hangs || self.silent >= self.policy.silent_probes_max {
            let cause = format!(
                "the engine does not answer: {} probes in a row",
                self.silent
            );
            self.fail(now, FailureKind::Hang, cause, out);
        }
    }

    fn gone(&mut self, now: MonoTime, why: String, out: &mut Vec<Action>) {
        self.alive = Alive::No;
        match self.phase {
            Phase::Starting | Phase::Preloading | Phase::SelfTest => {
                self.fail(now, FailureKind::Start, why, out);
            }
            Phase::Ready => self.fail(now, FailureKind::Exit, why, out),
            Phase::BackingOff => self.tick(now, out),
            Phase::Provisioning | Phase::Preflight | Phase::Draining | Phase::Broken => {}
        }
    }

    fn fail(&mut self, now: MonoTime, kind: FailureKind, why: String, out: &mut Vec<Action>) {
        let healthy = self.ready_since.take().map(|since| now.since(since));
        let verdict = match healthy {
            Some(healthy) => self.failures.failed_after(healthy),
            None => self.failures.start_failed(now),
        };
        self.outcomes.push(match healthy {
            Some(_) => Outcome::Lost(kind),
            None => Outcome::NotReady(kind),
        });
        out.push(Action::Abandon);
        self.kill(out);
        match verdict {
            Verdict::Retry {
                after,
                failures,
                open,
            } => {
                self.enter(Phase::BackingOff, now, after);
                self.cause = Some(retry_text(&why, after, failures, open));
            }
            Verdict::GiveUp { failed_starts } => {
                self.phase = Phase::Broken;
                self.until = None;
                self.cause = Some(give_up_text(&why, failed_starts));
            }
        }
        self.last_failure = Some(why);
    }

    fn kill(&mut self, out: &mut Vec<Action>) {
        if self.alive == Alive::Yes {
            self.alive = Alive::Killed;
            out.push(Action::Kill);
        }
    }

    fn tick(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if self.until.is_none_or(|until| now < until) {
            return;
        }
        match self.phase {
            Phase::BackingOff if self.alive == Alive::No => self.begin(now, out),
            Phase::Draining => {
                self.until = None;
                self.kill(out);
            }
            phase if phase.fails() => {
                let cause = format!("{} took longer than it may", phase.work());
                self.fail(now, FailureKind::Timeout, cause, out);
            }
            _ => {}
        }
    }

    // spec: OC-POOL-3107, OC-POOL-3167
    fn stop(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.enter(Phase::Draining, now, self.policy.drain);
        self.cause = Some("the agent stops".to_owned());
        out.push(Action::Abandon);
        if self.alive == Alive::Yes {
            out.push(Action::Terminate);
        }
    }

    fn check_invariants(&self) {
        let lives = matches!(
            self.phase,
            Phase::Starting | Phase::Preloading | Phase::SelfTest | Phase::Ready
        );
        debug_assert!(!lives || self.alive == Alive::Yes, "{self:?}");
        debug_assert!(
            !self.phase.fails() || lives || self.alive == Alive::No,
            "{self:?}"
        );
        let timeless = matches!(self.phase, Phase::Ready | Phase::Broken | Phase::Draining);
        debug_assert!(timeless || self.until.is_some(), "{self:?}");
    }
}

fn retry_text(why: &str, after: Duration, failures: u32, open: bool) -> String {
    let wait = after.as_secs_f64();
    let breaker = if open { ", breaker open" } else { "" };
    let times = if failures == 1 { "" } else { "s in a row" };
    format!("{why} ({failures} failure{times}{breaker}; next try in {wait:.1} s)")
}

fn give_up_text(why: &str, failed_starts: u32) -> String {
    format!("{why} ({failed_starts} starts failed: mend the cause, then restart pool-managerd)")
}

#[cfg(test)]
mod tests;
