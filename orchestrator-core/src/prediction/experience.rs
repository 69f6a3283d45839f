//! What past tasks taught about a replica's speed and a set's answer lengths.

use std::time::Duration;

use super::average::{Average, Estimate};
use super::span;
use crate::queue::Load;
use crate::task::TaskSpec;

/// How fast a replica is.
// spec: OC-CORE-1133
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Seconds for a prompt token.
    prefill: Average,
    /// Seconds for a generated token.
    decode: Average,
    /// Taken slots, its own included, while these rates were measured.
    occupancy: Average,
}

impl Rates {
    /// A guess at a small model on one GPU: 1,000 prompt tokens and 30 generated tokens a second,
    /// each off by its own size or more. The first finished task replaces it.
    const GUESS: Self = Self {
        prefill: Average::guess(0.001, 0.001),
        decode: Average::guess(0.033, 0.033),
        occupancy: Average::guess(1.0, 1.0),
    };

    /// Whether both rates rest on enough finished tasks.
    pub(crate) fn are_measured(&self) -> bool {
        self.prefill.is_measured() && self.decode.is_measured()
    }

    /// Seconds for a generated token.
    pub(crate) fn decode(&self) -> Estimate {
        self.decode.estimate()
    }

    fn learn(&mut self, done: &Completion) {
        let (tokens_in, tokens_out) = (f64::from(done.tokens_in), f64::from(done.tokens_out));
        // A warm slot skips the part of the prompt it has seen; that says nothing of the rate.
        if !done.kv_warm {
            self.prefill
                .learn(done.prefill.as_secs_f64() / tokens_in, tokens_in);
        }
        self.decode
            .learn(done.decode.as_secs_f64() / tokens_out, tokens_out);
        self.occupancy
            .learn(f64::from(done.taken_slots), tokens_out);
    }
}

/// A task that an engine ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) tokens_in: u32,
    pub(crate) tokens_out: u32,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
    pub(crate) kv_warm: bool,
    pub(crate) taken_slots: u32,
}

/// How long tasks take once they are dispatched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) prefill: Estimate,
    pub(crate) decode: Estimate,
}

impl Service {
    /// Both phases together.
    pub(crate) fn total(self) -> Estimate {
        self.prefill.plus(self.decode)
    }

    /// The same on a replica where `busy` other slots are taken.
    ///
    /// Slots share the device, so a task is slowed by its neighbours; the rates were measured with
    /// a certain number of them. Sharing in equal parts is the worst case, and it makes the less
    /// loaded of two equal replicas the better one.
    // spec: ORCH-3008, OC-CORE-1012
    pub(crate) fn beside(self, busy: u32, rates: &Rates) -> Self {
        let usual = rates.occupancy.estimate().mean.max(1.0);
        let factor = (f64::from(busy) + 1.0) / usual;
        Self {
            prefill: self.prefill.scaled(factor),
            decode: self.decode.scaled(factor),
        }
    }
}

/// What a replica set has learned: rates over all its replicas, and how submitted figures compare
/// with what came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experience {
    rates: Rates,
    /// Counted prompt tokens for each estimated one.
    prompt: Average,
    /// Generated tokens for each that the client expected.
    expected: Average,
    /// Generated tokens for each that was allowed, where the client expected nothing.
    allowed: Average,
    /// The fewest seconds that a prompt token and a generated token ever took.
    best: Option<(f64, f64)>,
}

impl Experience {
    /// Nothing learned: prompts as estimated, answers as expected or half of what is allowed.
    pub(crate) const NONE: Self = Self {
        rates: Rates::GUESS,
        prompt: Average::guess(1.0, 0.3),
        expected: Average::guess(1.0, 0.5),
        allowed: Average::guess(0.5, 0.5),
        best: None,
    };

    /// The rates to use for a replica: its own if measured, else those of its set.
    pub(crate) fn rates_for<'a>(&'a self, replica: &'a Option<Rates>) -> &'a Rates {
        replica
            .as_ref()
            .filter(|own| own.are_measured())
            .unwrap_or(&self.rates)
    }

    /// The rates over all replicas.
    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Takes in a finished task, for its set and for the replica that ran it.
    pub(crate) fn learn(
        &mut self,
        spec: &TaskSpec,
        done: &Completion,
        replica: &mut Option<Rates>,
    ) {
        self.rates.learn(done);
        replica.get_or_insert(Rates::GUESS).learn(done);
        self.learn_lengths(spec, done);
        let per_token = |took: Duration, tokens: u32| took.as_secs_f64() / f64::from(tokens.max(1));
        let (prefill, decode) = (
            per_token(done.prefill, done.tokens_in),
            per_token(done.decode, done.tokens_out),
        );
        let (best_prefill, best_decode) = self.best.unwrap_or((prefill, decode));
        self.best = Some((best_prefill.min(prefill), best_decode.min(decode)));
    }

    fn learn_lengths(&mut self, spec: &TaskSpec, done: &Completion) {
        self.prompt
            .learn(f64::from(done.tokens_in) / f64::from(spec.tokens_in), 1.0);
        let (said, limit) = (spec.expected_tokens, spec.max_tokens);
        let ratio = f64::from(done.tokens_out) / f64::from(said.unwrap_or(limit));
        if said.is_some() {
            self.expected.learn(ratio, 1.0)
        } else {
            self.allowed.learn(ratio, 1.0)
        }
    }

    /// How long the average task of `load` takes at these rates.
    pub(crate) fn service(&self, rates: &Rates, load: Load) -> Service {
        let share = 1.0 / load.tasks.max(1) as f64;
        let tokens_in = self.prompt.estimate().scaled(load.tokens_in as f64 * share);
        let tokens_out = self.tokens_out(load);
        Service {
            prefill: tokens_in.times(rates.prefill.estimate()),
            decode: tokens_out.times(rates.decode.estimate()),
        }
    }

    /// How many tokens the average task of `load` generates.
    pub(crate) fn tokens_out(&self, load: Load) -> Estimate {
        let share = 1.0 / load.tasks.max(1) as f64;
        let expected = self
            .expected
            .estimate()
            .scaled(load.tokens_expected as f64 * share);
        expected.plus(
            self.allowed
                .estimate()
                .scaled(load.tokens_limit as f64 * share),
        )
    }

    /// The least time the task needs, where that was measured: only what is certain counts.
    ///
    /// Without a client's own expectation one token may be all it generates, and a session may
    /// find its prompt in a warm slot.
    // spec: ORCH-3080, ORCH-3081
    pub(crate) fn least_time(&self, spec: &TaskSpec) -> Option<Duration> {
        let (prefill, decode) = self.best.filter(|_| self.rates.are_measured())?;
        let prompt = self.prompt.estimate().mean * f64::from(spec.tokens_in);
        let tokens_in = if spec.session.is_some() { 0.0 } else { prompt };
        let tokens_out = spec.expected_tokens.unwrap_or(1).min(spec.max_tokens);
        Some(span(prefill * tokens_in + decode * f64::from(tokens_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::SetId;
    use crate::ids::{SessionId, TaskId, TenantId};
    use crate::priority::Priority;
    use crate::time::MonoTime;

    fn spec() -> TaskSpec {
        TaskSpec {
            id: TaskId(1),
            tenant: TenantId::parse("home").unwrap(),
            session: None,
            priority: Priority::Interactive,
            set: SetId(0),
            tokens_in: 200,
            max_tokens: 50,
            expected_tokens: None,
            deadline: None,
            default_deadline: MonoTime(Duration::from_secs(600)),
            bytes: 0,
        }
    }

    fn expecting(tokens: u32) -> TaskSpec {
        TaskSpec {
            expected_tokens: Some(tokens),
            ..spec()
        }
    }

    /// 1 ms for each of 100 prompt tokens and `decode_ms` for each of 25 generated ones.
    fn done(decode_ms: u64) -> Completion {
        Completion {
            tokens_in: 100,
            tokens_out: 25,
            prefill: Duration::from_millis(100),
            decode: Duration::from_millis(25 * decode_ms),
            kv_warm: false,
            taken_slots: 1,
        }
    }

    fn taught(lessons: &[Completion], spec: &TaskSpec) -> Experience {
        let (mut experience, mut rates) = (Experience::NONE, None);
        lessons
            .iter()
            .for_each(|done| experience.learn(spec, done, &mut rates));
        experience
    }

    #[track_caller]
    fn assert_near(measured: f64, expected: f64) {
        assert!(
            (measured - expected).abs() < 1e-9,
            "{measured} is not {expected}"
        );
    }

    // spec: OC-CORE-1133
    #[test]
    fn estimates_are_corrected_by_what_engines_counted() {
        let experience = taught(&[done(10); 3], &spec());
        let service = experience.service(experience.rates(), Load::of(&spec()));
        assert_near(service.prefill.mean, 0.1);
        assert_near(service.decode.mean, 0.25);
        assert_near(experience.tokens_out(Load::of(&expecting(50))).mean, 50.0);
        let experience = taught(&[done(10); 3], &expecting(50));
        assert_near(experience.tokens_out(Load::of(&expecting(50))).mean, 25.0);
    }

    #[test]
    fn an_expectation_beyond_what_is_allowed_counts_as_the_limit() {
        assert_eq!(Load::of(&expecting(5_000)).tokens_expected, 50);
    }

    // spec: OC-CORE-1133
    #[test]
    fn a_replica_uses_its_sets_rates_until_it_is_measured() {
        let mut experience = taught(&[done(10); 3], &spec());
        let mut slow = None;
        let decode = |experience: &Experience, replica: &Option<Rates>| {
            experience.rates_for(replica).decode().mean
        };
        for _ in 0..2 {
            experience.learn(&spec(), &done(80), &mut slow);
            assert_near(decode(&experience, &slow), experience.rates().decode().mean);
        }
        experience.learn(&spec(), &done(80), &mut slow);
        assert_near(decode(&experience, &slow), 0.08);
        assert!(decode(&experience, &None) < 0.08);
    }

    #[test]
    fn a_warm_prompt_says_nothing_of_the_prefill_rate() {
        let warm = Completion {
            kv_warm: true,
            prefill: Duration::from_millis(1),
            ..done(10)
        };
        let experience = taught(&[done(10), done(10), done(10), warm, warm], &spec());
        let service = experience.service(experience.rates(), Load::of(&spec()));
        assert_near(service.prefill.mean, 0.1);
    }

    // spec: ORCH-3008, OC-CORE-1012
    #[test]
    fn neighbours_beyond_the_usual_slow_a_task_down() {
        let beside_three = Completion {
            taken_slots: 4,
            ..done(10)
        };
        let experience = taught(&[beside_three; 3], &spec());
        let rates = experience.rates();
        let service = experience.service(rates, Load::of(&spec()));
        let decode = |busy| service.beside(busy, rates).decode.mean;
        assert_near(decode(3), service.decode.mean);
        assert!(decode(0) < decode(1) && decode(3) < decode(4));
    }

    // spec: ORCH-3080, ORCH-3081
    #[test]
    fn the_least_time_takes_the_best_rates_and_only_what_is_certain() {
        assert_eq!(
            taught(&[done(10), done(40)], &spec()).least_time(&spec()),
            None
        );
        let experience = taught(&[done(40), done(10), done(40)], &spec());
        let least = |spec| experience.least_time(&spec).unwrap().as_millis();
        assert_eq!(least(spec()), 110);
        assert_eq!(least(expecting(20)), 300);
        assert_eq!(least(expecting(5_000)), 600);
        let in_session = TaskSpec {
            session: Some(SessionId(1)),
            ..expecting(20)
        };
        assert_eq!(least(in_session), 200);
    }
}
