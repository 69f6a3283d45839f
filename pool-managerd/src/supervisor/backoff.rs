//! When a failed worker is tried again, and when it is not.
//!
//! Pure: time is an argument, and what looks random is drawn from a seed.
//!
//! # Invariants
//! - A wait lies between `(1 - jitter) * full` and `full`, where `full` doubles from `min` with
//!   each failure in a row and stops at `max`.
//! - Healthy time of at least `reset_after` makes the next failure the first one again.

use std::collections::VecDeque;
use std::time::Duration;

use orchestrator_core::time::MonoTime;

/// How failures are answered. The defaults of the config are those of the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Share of a wait that is drawn at random, 0 to 1.
    pub jitter: f64,
    /// Healthy time after which failures are forgotten.
    pub reset_after: Duration,
    /// Failures in a row that open the breaker.
    pub breaker: u32,
    /// Failed starts that are too many,
    pub start_failures: u32,
    /// within this time.
    pub start_window: Duration,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Try again after this time.
    Retry {
        /// The wait.
        after: Duration,
        /// Failures in a row, this one included.
        failures: u32,
        /// The breaker is open: only one try per longest wait.
        open: bool,
    },
    /// Too many starts failed: somebody has to act.
    GiveUp {
        /// How many.
        failed_starts: u32,
    },
}

/// The failures of one worker.
#[derive(Clone, Debug)]
pub struct FailureLog {
    policy: RetryPolicy,
    in_a_row: u32,
    failed_starts: VecDeque<MonoTime>,
    seed: u64,
}

impl FailureLog {
    /// No failures yet.
    #[must_use]
    pub fn new(policy: RetryPolicy, seed: u64) -> Self {
        Self {
            policy,
            in_a_row: 0,
            failed_starts: VecDeque::new(),
            seed,
        }
    }

    /// A start failed before the worker was ready.
    // spec: OC-POOL-3122
    pub fn start_failed(&mut self, now: MonoTime) -> Verdict {
        self.failed_starts.push_back(now);
        let window = self.policy.start_window;
        while self
            .failed_starts
            .front()
            .is_some_and(|at| now.since(*at) > window)
        {
            self.failed_starts.pop_front();
        }
        let failed_starts = u32::try_from(self.failed_starts.len()).unwrap_or(u32::MAX);
        let verdict = self.count();
        if failed_starts >= self.policy.start_failures {
            return Verdict::GiveUp { failed_starts };
        }
        verdict
    }

    /// A worker failed after it had been ready for `healthy`.
    // spec: OC-POOL-3120, OC-POOL-3121
    pub fn failed_after(&mut self, healthy: Duration) -> Verdict {
        if healthy >= self.policy.reset_after {
            self.in_a_row = 0;
            self.failed_starts.clear();
        }
        self.count()
    }

    fn count(&mut self) -> Verdict {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let open = self.in_a_row >= self.policy.breaker;
        let doublings = (self.in_a_row - 1).min(31);
        let doubled = self
            .policy
            .min
            .saturating_mul(1 << doublings)
            .min(self.policy.max);
        let full = if open { self.policy.max } else { doubled };
        let drawn = self.draw() * self.policy.jitter;
        Verdict::Retry {
            after: full.mul_f64(1.0 - drawn),
            failures: self.in_a_row,
            open,
        }
    }

    /// The next number of 0 to 1 (SplitMix64): many workers that fail at once must not come back
    /// at once.
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULTS: RetryPolicy = RetryPolicy {
        min: Duration::from_secs(1),
        max: Duration::from_secs(60),
        jitter: 0.5,
        reset_after: Duration::from_secs(600),
        breaker: 7,
        start_failures: 5,
        start_window: Duration::from_secs(600),
    };

    fn at(secs: u64) -> MonoTime {
        MonoTime(Duration::from_secs(secs))
    }

    fn full_waits(policy: RetryPolicy, failures: usize) -> Vec<(u64, bool)> {
        let mut log = FailureLog::new(
            RetryPolicy {
                jitter: 0.0,
                ..policy
            },
            1,
        );
        let wait = |_| match log.failed_after(Duration::ZERO) {
            Verdict::Retry { after, open, .. } => (after.as_secs(), open),
            Verdict::GiveUp { .. } => unreachable!("these are no failed starts"),
        };
        (0..failures).map(wait).collect()
    }

    // spec: OC-POOL-3011, OC-POOL-3120, OC-POOL-3121, OC-POOL-3123
    #[test]
    fn waits_double_to_a_minute_and_the_breaker_opens_at_seven() {
        let expected = [
            (1, false),
            (2, false),
            (4, false),
            (8, false),
            (16, false),
            (32, false),
            (60, true),
            (60, true),
        ];
        assert_eq!(full_waits(DEFAULTS, 8), expected);
        let early = RetryPolicy {
            breaker: 2,
            ..DEFAULTS
        };
        assert_eq!(full_waits(early, 3), [(1, false), (60, true), (60, true)]);
    }

    // spec: OC-POOL-3120, OC-POOL-3123
    #[test]
    fn ten_healthy_minutes_forget_failures_and_a_second_less_does_not() {
        let mut log = FailureLog::new(DEFAULTS, 1);
        for _ in 0..6 {
            log.failed_after(Duration::ZERO);
        }
        let mut other = log.clone();
        let short = log.failed_after(Duration::from_secs(599));
        assert!(
            matches!(
                short,
                Verdict::Retry {
                    failures: 7,
                    open: true,
                    ..
                }
            ),
            "{short:?}"
        );
        let long = other.failed_after(Duration::from_secs(600));
        assert!(
            matches!(
                long,
                Verdict::Retry {
                    failures: 1,
                    open: false,
                    ..
                }
            ),
            "{long:?}"
        );
    }

    // spec: OC-POOL-3122, OC-POOL-3123
    #[test]
    fn the_fifth_failed_start_within_ten_minutes_gives_up() {
        let mut log = FailureLog::new(DEFAULTS, 1);
        for secs in [0, 100, 200, 300] {
            assert!(matches!(log.start_failed(at(secs)), Verdict::Retry { .. }));
        }
        let mut late = log.clone();
        assert_eq!(
            log.start_failed(at(600)),
            Verdict::GiveUp { failed_starts: 5 }
        );
        assert!(matches!(late.start_failed(at(601)), Verdict::Retry { .. }));
    }

    #[test]
    fn two_workers_that_fail_together_wait_differently() {
        let wait = |seed| FailureLog::new(DEFAULTS, seed).failed_after(Duration::ZERO);
        assert_ne!(wait(1), wait(2));
    }

    proptest! {
        // spec: OC-POOL-3120
        #[test]
        fn every_wait_lies_within_its_bounds(
            seed: u64,
            min_ms in 1u64..5_000,
            factor in 1u64..100,
            jitter in 0.0f64..=1.0,
            failures in 1u32..80,
        ) {
            let min = Duration::from_millis(min_ms);
            let max = min * u32::try_from(factor).unwrap();
            let policy = RetryPolicy { min, max, jitter, breaker: u32::MAX, ..DEFAULTS };
            let mut log = FailureLog::new(policy, seed);
            let mut full = min;
            for _ in 0..failures {
                let Verdict::Retry { after, .. } = log.failed_after(Duration::ZERO) else {
                    unreachable!("these are no failed starts")
                };
                // A nanosecond of rounding is allowed for.
                prop_assert!(after <= full + Duration::from_nanos(1));
                prop_assert!(after + Duration::from_nanos(1) >= full.mul_f64(1.0 - jitter));
                full = (full * 2).min(max);
            }
        }
    }
}
