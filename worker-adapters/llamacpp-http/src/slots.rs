//! `GET /slots`: who is busy, and how full the KV cache is.

use serde::Deserialize;
use worker_adapters_adapter_api::AdapterError;
use worker_adapters_adapter_api::adapter::SlotState;

use crate::refusal;

/// The longest answer taken. A busy slot shows about a kilobyte of parameters, with its stop
/// strings and its grammar.
pub(crate) const SLOTS_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
pub(crate) struct Slot {
    id: u32,
    n_ctx: u64,
    is_processing: bool,
    /// Tokens in the slot's cache: those of the prompt so far and those generated.
    #[serde(default)]
    n_prompt_tokens: u64,
}

pub(crate) fn read(body: &[u8]) -> Result<Vec<Slot>, AdapterError> {
    serde_json::from_slice(body).map_err(|error| {
        refusal::garbled(&format!("slots: {error}"), &String::from_utf8_lossy(body))
    })
}

pub(crate) fn states(slots: &[Slot]) -> Vec<SlotState> {
    slots
        .iter()
        .map(|slot| SlotState {
            index: slot.id,
            busy: slot.is_processing,
        })
        .collect()
}

/// The share of the cache that running generations hold. What idle slots keep for reuse gives way
/// to the next prompt, so it does not count as used.
// spec: OC-ADAPT-5128
pub(crate) fn kv_cache_usage_ratio(slots: &[Slot]) -> Option<f64> {
    let capacity: u64 = slots.iter().map(|slot| slot.n_ctx).sum();
    let running = slots.iter().filter(|slot| slot.is_processing);
    let used: u64 = running.map(|slot| slot.n_prompt_tokens).sum();
    (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
}
