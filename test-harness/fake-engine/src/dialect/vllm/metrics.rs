//! `GET /metrics`: the series that say something about load, cache and outcomes. The histograms,
//! the `_created` twins and the process's own series of the real server are left out. Clients that
//! leave are counted nowhere, as in the real server.

use crate::answer::filled;
use crate::engine::Engine;

pub(super) fn text(engine: &Engine) -> String {
    let now = engine.snapshot();
    let counters = &now.counters;
    let capacity = f64::from(engine.script.slots) * f64::from(engine.script.ctx);
    let busy = now.slots.iter().filter(|slot| slot.is_busy);
    let held: u32 = busy.map(|slot| slot.prompt_tokens + slot.decoded).sum();
    let number = |value: f64| format!("{value:?}");
    let count = |value: u64| number(value as f64);
    filled(
        include_str!("metrics.txt"),
        &[
            ("model", engine.script.model.clone()),
            ("busy", number(now.busy as f64)),
            ("waiting", number(now.waiting as f64)),
            ("kv", number(f64::from(held) / capacity)),
            ("prompt_tokens", count(counters.prompt_tokens)),
            ("cached", count(counters.cached_tokens)),
            ("decoded", count(counters.decoded_tokens)),
            ("by_stop", count(counters.finished_by_stop)),
            ("by_length", count(counters.finished_by_length)),
            ("failed", count(counters.failed)),
            ("overloaded", count(counters.overloaded)),
        ],
    )
}
