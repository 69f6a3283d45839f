//! Sampler profiles, and the allow-list of parameters that reach an engine.
//!
//! Engines have had memory errors that began with an unchecked number from a client, so nothing is
//! passed through: a request's fields are read one by one, checked against a range and laid over a
//! profile, and every field is always sent.

/// The profile that is used when a request names none.
pub const DEFAULT_PROFILE: &str = "v1";
/// The most stop strings of one request.
pub const STOP_COUNT_MAX: usize = 16;
/// The longest stop string, in bytes.
pub const STOP_BYTES_MAX: usize = 256;

/// Every sampler setting of one generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 means greedy.
    pub temperature: f64,
    /// 0 means off.
    pub top_k: u32,
    /// 1 means off.
    pub top_p: f64,
    /// 0 means off.
    pub min_p: f64,
    /// 1 means off.
    pub repeat_penalty: f64,
    /// Strings that end the generation; they are not part of the output.
    pub stop: Vec<String>,
}

/// What a request may say about sampling; an absent field keeps the profile's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1,000.
    pub top_k: Option<u32>,
    /// Above 0, to 1.
    pub top_p: Option<f64>,
    /// 0 to 1.
    pub min_p: Option<f64>,
    /// 0.5 to 2.
    pub repeat_penalty: Option<f64>,
    /// At most [`STOP_COUNT_MAX`] strings of 1 to [`STOP_BYTES_MAX`] bytes.
    pub stop: Option<Vec<String>>,
}

/// A sampling field that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// No such profile.
    #[error("unknown sampler profile `{0}`: use `v1`")]
    UnknownProfile(String),
    /// A value out of its range.
    #[error("{field} must be {range}")]
    OutOfRange {
        /// The field's name within `sampling`.
        field: &'static str,
        /// The range in words.
        range: &'static str,
    },
}

impl Sampling {
    /// The table of profile `v1`, as the spec has it.
    // spec: ORCH-3046
    #[must_use]
    pub const fn profile_v1() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            stop: Vec::new(),
        }
    }

    /// Lays a request's fields over a profile.
    ///
    /// # Errors
    /// [`SamplingError`] names the field and its range, or the profile.
    pub fn resolve(profile: &str, overrides: Overrides) -> Result<Self, SamplingError> {
        if profile != DEFAULT_PROFILE {
            return Err(SamplingError::UnknownProfile(profile.to_owned()));
        }
        let base = Self::profile_v1();
        let sampling = Self {
            temperature: overrides.temperature.unwrap_or(base.temperature),
            top_k: overrides.top_k.unwrap_or(base.top_k),
            top_p: overrides.top_p.unwrap_or(base.top_p),
            min_p: overrides.min_p.unwrap_or(base.min_p),
            repeat_penalty: overrides.repeat_penalty.unwrap_or(base.repeat_penalty),
            stop: overrides.stop.unwrap_or(base.stop),
        };
        sampling.checked()
    }

    fn checked(self) -> Result<Self, SamplingError> {
        let stop_fits = self.stop.len() <= STOP_COUNT_MAX
            && self
                .stop
                .iter()
                .all(|s| (1..=STOP_BYTES_MAX).contains(&s.len()));
        // A NaN is in no range, so it is refused with the rest.
        let rules = [
            (
                "temperature",
                "between 0 and 2",
                (0.0..=2.0).contains(&self.temperature),
            ),
            ("top_k", "between 0 and 1000", self.top_k <= 1000),
            (
                "top_p",
                "above 0 and at most 1",
                self.top_p > 0.0 && self.top_p <= 1.0,
            ),
            (
                "min_p",
                "between 0 and 1",
                (0.0..=1.0).contains(&self.min_p),
            ),
            (
                "repeat_penalty",
                "between 0.5 and 2",
                (0.5..=2.0).contains(&self.repeat_penalty),
            ),
            ("stop", "at most 16 strings of 1 to 256 bytes", stop_fits),
        ];
        match rules.into_iter().find(|(_, _, ok)| !ok) {
            Some((field, range, _)) => Err(SamplingError::OutOfRange { field, range }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_field(overrides: Overrides) -> &'static str {
        match Sampling::resolve("v1", overrides) {
            Err(SamplingError::OutOfRange { field, .. }) => field,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    // spec: OC-ADAPT-5104, ORCH-3472
    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let bad = |f: fn(&mut Overrides)| {
            let mut overrides = Overrides::default();
            f(&mut overrides);
            refused_field(overrides)
        };
        assert_eq!(bad(|o| o.temperature = Some(-0.1)), "temperature");
        assert_eq!(bad(|o| o.temperature = Some(f64::NAN)), "temperature");
        assert_eq!(bad(|o| o.temperature = Some(f64::INFINITY)), "temperature");
        assert_eq!(bad(|o| o.top_k = Some(1001)), "top_k");
        assert_eq!(bad(|o| o.top_p = Some(0.0)), "top_p");
        assert_eq!(bad(|o| o.top_p = Some(f64::NAN)), "top_p");
        assert_eq!(bad(|o| o.min_p = Some(1.1)), "min_p");
        assert_eq!(bad(|o| o.repeat_penalty = Some(0.4)), "repeat_penalty");
        assert_eq!(bad(|o| o.stop = Some(vec![String::new()])), "stop");
        assert_eq!(bad(|o| o.stop = Some(vec!["x".into(); 17])), "stop");
        assert_eq!(bad(|o| o.stop = Some(vec!["x".repeat(257)])), "stop");
    }

    #[test]
    fn absent_fields_keep_the_profile_and_given_ones_replace_it() {
        let given = Overrides {
            temperature: Some(0.0),
            ..Overrides::default()
        };
        let expected = Sampling {
            temperature: 0.0,
            ..Sampling::profile_v1()
        };
        assert_eq!(Sampling::resolve("v1", given), Ok(expected));
    }

    #[test]
    fn an_unknown_profile_is_refused_by_name() {
        assert_eq!(
            Sampling::resolve("v9", Overrides::default()),
            Err(SamplingError::UnknownProfile("v9".into()))
        );
    }
}
