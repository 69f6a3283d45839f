//! Forecasts for tasks of this scheduler: what is ahead of them and when slots come free.
//!
//! Not here: the arithmetic (`prediction`).

use super::Scheduler;
use crate::live::{AttemptId, Replica, ReplicaSet};
use crate::prediction::Forecast;
use crate::queue::Load;
use crate::task::TaskSpec;

impl Scheduler {
    /// When the task starts and ends with `ahead` before it; `None` while no slot is in sight.
    pub(super) fn forecast(&self, spec: &TaskSpec, ahead: Load) -> Option<Forecast> {
        let set = self.sets.get(&spec.set)?;
        let rates = set.experience.rates();
        let each = set.experience.service(rates, ahead);
        let own = set.experience.service(rates, Load::of(spec));
        Forecast::of(&self.slots_free_in(set), ahead.tasks, each, own)
    }

    /// For each slot of the set that is in sight, the seconds until it is free.
    pub(super) fn slots_free_in(&self, set: &ReplicaSet) -> Vec<f64> {
        let mut free_in = Vec::new();
        for (_, _, replica) in set.replicas() {
            let Some(from) = replica.available_from(self.now) else {
                continue;
            };
            // After a fault only the trial's outcome opens the other slots.
            let trial = replica
                .trust
                .trial
                .map(|trial| self.seconds_left(set, replica, trial));
            let wait = from.since(self.now).as_secs_f64().max(trial.unwrap_or(0.0));
            free_in.extend((0..replica.slots).map(|slot| {
                let attempt = replica.taken.get(&slot);
                attempt
                    .map_or(0.0, |taken| self.seconds_left(set, replica, *taken))
                    .max(wait)
            }));
        }
        free_in
    }

    /// How long an attempt is expected to go on. One that ended and waits for the proof of its
    /// release is expected to get it at once.
    fn seconds_left(&self, set: &ReplicaSet, replica: &Replica, attempt: AttemptId) -> f64 {
        let Some((task, run)) = self.running(attempt) else {
            return 0.0;
        };
        let rates = set.experience.rates_for(&replica.rates);
        let load = Load::of(&task.spec);
        let Some((tokens_out, at)) = run.progress else {
            let service = set.experience.service(rates, load);
            let prefilled = self.now.since(run.dispatched).as_secs_f64();
            return (service.prefill.mean - prefilled).max(0.0) + service.decode.mean;
        };
        let per_token = rates.decode().mean;
        let tokens_left = set.experience.tokens_out(load).mean - f64::from(tokens_out);
        // Longer than expected is no sign of the end, but the next token may always be the last.
        (tokens_left * per_token - self.now.since(at).as_secs_f64()).max(per_token)
    }
}
