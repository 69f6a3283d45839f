//! When a task is expected to start and to end, from measured rates.
//!
//! Rates and answer lengths are decayed averages with their spread, kept per replica and per set.
//! A replica that has not been measured yet borrows its set's rates, and a set that has not starts
//! from a guess with a wide spread. Queued work enters as sums that the queue maintains, so a
//! forecast costs O(log n) in queued tasks and is linear in the slots of the set only.
//!
//! Not here: what follows from a forecast; admission and placement decide that.

mod average;
mod experience;

pub(crate) use average::Estimate;
pub(crate) use experience::{Completion, Experience, Rates, Service};

use std::time::Duration;

/// When a task is expected to start and to end, in seconds from now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forecast {
    pub(crate) start: Estimate,
    pub(crate) finish: Estimate,
}

impl Forecast {
    /// The forecast of a task that needs `own`, behind `ahead` tasks that need `each` on average.
    ///
    /// `free_in` holds, for each slot of the set, the seconds until it is free; `None` without any.
    pub(crate) fn of(free_in: &[f64], ahead: u64, each: Service, own: Service) -> Option<Self> {
        let soonest = free_in.iter().copied().reduce(f64::min)?;
        let each = each.total();
        let mean = release_time(free_in, soonest, ahead, each.mean);
        let slots = free_in.len() as f64;
        // The tasks ahead share the slots, and so do their deviations. The running ones are of the
        // same kind, and the first of them to end is known to about one share.
        let variance = if mean > 0.0 {
            ahead as f64 * each.variance / (slots * slots) + each.variance / slots
        } else {
            0.0
        };
        let start = Estimate { mean, variance };
        Some(Self {
            start,
            finish: start.plus(own.total()),
        })
    }

    /// The chance that the task ends within `span`: a normal approximation.
    // spec: ORCH-3084
    pub(crate) fn on_time_probability(&self, span: Duration) -> f64 {
        /// Below a millisecond, spread says more about rounding than about the engine.
        const LEAST_DEVIATION_S: f64 = 0.001;
        let deviation = self.finish.variance.sqrt().max(LEAST_DEVIATION_S);
        normal_share_below((span.as_secs_f64() - self.finish.mean) / deviation)
    }
}

/// When the slot for a task with `ahead` others before it comes free.
///
/// Exact for equal tasks: slot `i` comes free at `free_in[i]` and then every `each` seconds, and
/// the task gets the `ahead + 1`-th of these moments. Found by bisection, so that a long queue
/// costs no more than a short one.
fn release_time(free_in: &[f64], soonest: f64, ahead: u64, each: f64) -> f64 {
    /// Halvings after which the rest is below any clock's resolution.
    const HALVINGS: usize = 60;
    if ahead == 0 || each <= 0.0 {
        return soonest;
    }
    let wanted = ahead as f64 + 1.0;
    let releases = |by: f64| -> f64 {
        let of_slot = |free: &f64| {
            if *free > by {
                0.0
            } else {
                1.0 + ((by - free) / each).floor()
            }
        };
        free_in.iter().map(of_slot).sum()
    };
    if releases(soonest) >= wanted {
        return soonest;
    }
    let (mut too_early, mut late_enough) = (soonest, soonest + each * wanted);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(too_early, late_enough);
        if releases(middle) >= wanted {
            late_enough = middle;
        } else {
            too_early = middle;
        }
    }
    late_enough
}

/// The share of a standard normal distribution below `z`, to about 1e-7.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17.
fn normal_share_below(z: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let polynomial = COEFFICIENTS
        .iter()
        .rev()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = density * polynomial;
    if z >= 0.0 { 1.0 - above } else { above }
}

/// Seconds as a span: what is not a number or negative is none, what is too long is the longest
/// that deadlines can be compared with.
pub(crate) fn span(seconds: f64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    if seconds.is_nan() || seconds <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |exact| exact.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn service(seconds: f64) -> Service {
        let none = Estimate {
            mean: 0.0,
            variance: 0.0,
        };
        Service {
            prefill: none,
            decode: Estimate {
                mean: seconds,
                variance: 0.0,
            },
        }
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (z, share) in [
            (0.0, 0.5),
            (1.0, 0.841_344_7),
            (-1.0, 0.158_655_3),
            (1.96, 0.975_002_1),
        ] {
            assert!((normal_share_below(z) - share).abs() < 1e-6, "{z}");
        }
        assert!(normal_share_below(40.0) >= 1.0 - 1e-9 && normal_share_below(-40.0) <= 1e-9);
    }

    // spec: ORCH-3458, OC-CORE-1133
    #[test]
    fn a_free_slot_with_nobody_ahead_means_now() {
        let forecast = Forecast::of(&[3.0, 0.0], 0, service(2.0), service(2.0)).unwrap();
        assert!(forecast.start.mean == 0.0 && forecast.start.variance == 0.0);
        assert!((forecast.finish.mean - 2.0).abs() < 1e-9);
        assert!(Forecast::of(&[], 0, service(2.0), service(2.0)).is_none());
    }

    #[test]
    fn more_time_is_never_less_likely_to_be_enough() {
        let own = Service {
            prefill: Estimate {
                mean: 0.5,
                variance: 0.1,
            },
            decode: Estimate {
                mean: 2.0,
                variance: 1.0,
            },
        };
        let forecast = Forecast::of(&[1.0], 3, own, own).unwrap();
        let chance = |ms| forecast.on_time_probability(Duration::from_millis(ms));
        assert!((1..200).all(|step| chance(step * 100) <= chance(step * 100 + 100)));
        assert!(chance(0) < 0.01 && chance(60_000) > 0.99);
    }

    // spec: ORCH-3084
    #[test]
    fn what_is_ahead_makes_the_start_less_certain() {
        let own = Service {
            prefill: Estimate {
                mean: 0.0,
                variance: 0.0,
            },
            decode: Estimate {
                mean: 2.0,
                variance: 1.0,
            },
        };
        let spread = |ahead| {
            Forecast::of(&[1.0], ahead, own, own)
                .unwrap()
                .start
                .variance
        };
        assert!(spread(0) > 0.0 && spread(0) < spread(1) && spread(1) < spread(9));
        let on_four = Forecast::of(&[1.0; 4], 9, own, own).unwrap().start.variance;
        assert!(on_four < spread(9));
    }

    #[test]
    fn nonsense_seconds_become_no_time_or_a_year() {
        assert_eq!(span(f64::NAN), Duration::ZERO);
        assert_eq!(span(-1.0), Duration::ZERO);
        assert_eq!(span(f64::INFINITY), span(1e300));
        assert_eq!(span(1.5), Duration::from_millis(1_500));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(10),
            ..ProptestConfig::default()
        })]

        // spec: ORCH-3458, OC-CORE-1133
        #[test]
        fn release_times_agree_with_playing_the_queue_out(
            free_in in proptest::collection::vec(0_u32..50, 1..6),
            ahead in 0_u64..30,
            each in 1_u32..20,
        ) {
            let mut slots: Vec<f64> = free_in.iter().map(|s| f64::from(*s)).collect();
            let own = service(1.0);
            let forecast = Forecast::of(&slots, ahead, service(f64::from(each)), own).unwrap();
            let next = |slots: &[f64]| {
                (0..slots.len()).min_by(|a, b| slots[*a].total_cmp(&slots[*b])).unwrap()
            };
            for _ in 0..ahead {
                let slot = next(&slots);
                slots[slot] += f64::from(each);
            }
            let played = slots[next(&slots)];
            prop_assert!((forecast.start.mean - played).abs() < 1e-6, "{played}");
        }
    }
}
