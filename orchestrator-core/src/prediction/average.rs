//! Decayed averages with their spread, and estimates made of them.

/// How much of the old weight each new value takes away. With a tenth, about the last twenty
/// values count: enough to be calm, few enough to follow an engine whose load has changed.
const DECAY: f64 = 0.1;

/// The values after which an average counts as measured. One alone may have been a cold start.
const ENOUGH: u32 = 3;

/// A weighted average of values, the newer counting more, and their variance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Average {
    mean: f64,
    variance: f64,
    weight: f64,
    values: u32,
}

impl Average {
    /// What to believe before the first value: a positive mean and a wide deviation.
    pub(crate) const fn guess(mean: f64, deviation: f64) -> Self {
        Self {
            mean,
            variance: deviation * deviation,
            weight: 0.0,
            values: 0,
        }
    }

    /// Takes in a value. The first one replaces the guess but keeps the guess's relative spread.
    pub(crate) fn learn(&mut self, value: f64, weight: f64) {
        if !(value.is_finite() && value > 0.0 && weight > 0.0) {
            return;
        }
        if self.values == 0 {
            let ratio = value / self.mean;
            *self = Self {
                mean: value,
                variance: self.variance * ratio * ratio,
                weight,
                values: 1,
            };
            return;
        }
        self.values = self.values.saturating_add(1);
        self.weight = self.weight * (1.0 - DECAY) + weight;
        let share = weight / self.weight;
        let difference = value - self.mean;
        self.mean += share * difference;
        self.variance = (1.0 - share) * (self.variance + share * difference * difference);
    }

    /// Whether enough values came in to rely on it.
    pub(crate) fn is_measured(&self) -> bool {
        self.values >= ENOUGH
    }

    /// Mean and variance.
    pub(crate) fn estimate(&self) -> Estimate {
        Estimate {
            mean: self.mean,
            variance: self.variance,
        }
    }
}

/// A number that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

impl Estimate {
    /// The sum of two that have nothing to do with each other.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            mean: self.mean + other.mean,
            variance: self.variance + other.variance,
        }
    }

    /// The product of two that have nothing to do with each other.
    pub(crate) fn times(self, other: Self) -> Self {
        let of_means =
            self.mean * self.mean * other.variance + other.mean * other.mean * self.variance;
        Self {
            mean: self.mean * other.mean,
            variance: of_means + self.variance * other.variance,
        }
    }

    /// The same in another unit.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self {
            mean: self.mean * factor,
            variance: self.variance * factor * factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_learned_and_the_spread_fades() {
        let mut average = Average::guess(1.0, 1.0);
        for _ in 0..30 {
            average.learn(0.02, 50.0);
        }
        assert!(average.is_measured());
        assert!((average.estimate().mean - 0.02).abs() < 1e-12);
        assert!(average.estimate().variance.sqrt() < 0.002);
    }

    #[test]
    fn newer_values_outweigh_older_ones() {
        let mut average = Average::guess(1.0, 1.0);
        (0..100).for_each(|_| average.learn(1.0, 1.0));
        (0..30).for_each(|_| average.learn(3.0, 1.0));
        assert!((average.estimate().mean - 3.0).abs() < 0.1, "{average:?}");
    }

    #[test]
    fn scattered_values_keep_their_spread() {
        let mut average = Average::guess(1.0, 1.0);
        (0..200).for_each(|turn| average.learn(if turn % 2 == 0 { 1.0 } else { 3.0 }, 1.0));
        let Estimate { mean, variance } = average.estimate();
        assert!(
            (mean - 2.0).abs() < 0.2 && (variance - 1.0).abs() < 0.1,
            "{average:?}"
        );
    }

    #[test]
    fn what_is_no_measurement_teaches_nothing() {
        let mut average = Average::guess(1.0, 1.0);
        for (value, weight) in [
            (f64::NAN, 1.0),
            (f64::INFINITY, 1.0),
            (0.0, 1.0),
            (1.0, 0.0),
        ] {
            average.learn(value, weight);
        }
        assert_eq!(average.values, 0);
    }
}
