//! The body of `POST /completion`.
//!
//! # Invariants
//! - Every field of the sampler table is in every request, so that no default of a server version
//!   ever decides.
//! - Nothing else is: in particular `n_discard` and the other fields that have led to memory errors
//!   in servers never come from here.

use serde::Serialize;
use worker_adapters_adapter_api::AdapterError;
use worker_adapters_adapter_api::generation::GenerateRequest;

/// The most tokens the server can be asked for: its field is a signed 32-bit number.
const N_PREDICT_MAX: u32 = i32::MAX as u32;

/// The one seed that the server reads as "random".
const RANDOM_SEED: u32 = u32::MAX;

/// What profile `v1` fixes for this engine beyond what a request may set.
// spec: ORCH-3046, OC-ADAPT-5120
const PROFILE_V1: FixedSampling = FixedSampling {
    repeat_last_n: 64,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    typical_p: 1.0,
    top_n_sigma: -1.0,
    xtc_probability: 0.0,
    xtc_threshold: 0.1,
    dry_multiplier: 0.0,
    mirostat: 0,
    dynatemp_range: 0.0,
    samplers: [
        "penalties",
        "dry",
        "top_n_sigma",
        "top_k",
        "typ_p",
        "top_p",
        "min_p",
        "xtc",
        "temperature",
    ],
    n_keep: 0,
    ignore_eos: false,
};

#[derive(Serialize)]
struct FixedSampling {
    repeat_last_n: u32,
    presence_penalty: f64,
    frequency_penalty: f64,
    typical_p: f64,
    top_n_sigma: f64,
    xtc_probability: f64,
    xtc_threshold: f64,
    dry_multiplier: f64,
    mirostat: u32,
    dynatemp_range: f64,
    samplers: [&'static str; 9],
    n_keep: u32,
    ignore_eos: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    prompt: &'a str,
    id_slot: u32,
    n_predict: u32,
    seed: u32,
    /// Only a streaming request is canceled by closing its connection.
    stream: bool,
    cache_prompt: bool,
    temperature: f64,
    top_k: u32,
    top_p: f64,
    min_p: f64,
    repeat_penalty: f64,
    stop: &'a [String],
    #[serde(flatten)]
    fixed: FixedSampling,
}

/// The body for `request`, to a server with `slots` slots.
// spec: OC-ADAPT-5104, OC-ADAPT-5106, OC-ADAPT-5107
pub(crate) fn body(request: &GenerateRequest, slots: u32) -> Result<Vec<u8>, AdapterError> {
    check(request, slots)?;
    let sampling = &request.sampling;
    let body = Body {
        prompt: &request.prompt,
        id_slot: request.slot,
        n_predict: request.max_tokens,
        seed: request.seed,
        stream: true,
        cache_prompt: true,
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repeat_penalty: sampling.repeat_penalty,
        stop: &sampling.stop,
        fixed: PROFILE_V1,
    };
    Ok(serde_json::to_vec(&body).expect("strings, numbers and lists of them always serialise"))
}

/// Refuses what the server would read as something else.
// spec: OC-ADAPT-5121, OC-ADAPT-5125
fn check(request: &GenerateRequest, slots: u32) -> Result<(), AdapterError> {
    let refused = |message: String| {
        Err(AdapterError::Rejected {
            status: 400,
            message,
        })
    };
    if request.slot >= slots {
        return refused(format!(
            "there is no slot {}: the engine has {slots}",
            request.slot
        ));
    }
    if request.seed == RANDOM_SEED {
        return refused(format!("seed {RANDOM_SEED} means random to this engine"));
    }
    if !(1..=N_PREDICT_MAX).contains(&request.max_tokens) {
        return refused(format!("max_tokens must be between 1 and {N_PREDICT_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use worker_adapters_adapter_api::generation::Limits;
    use worker_adapters_adapter_api::sampling::Sampling;

    use super::*;

    fn request() -> GenerateRequest {
        let second = Duration::from_secs(1);
        GenerateRequest {
            request_id: "r".into(),
            slot: 1,
            prompt: "p".into(),
            max_tokens: 1,
            seed: u32::MAX - 1,
            sampling: Sampling::profile_v1(),
            limits: Limits {
                first_token: second,
                gap: second,
            },
        }
    }

    fn is_refused(change: impl FnOnce(&mut GenerateRequest)) -> bool {
        let mut request = request();
        change(&mut request);
        matches!(
            body(&request, 2),
            Err(AdapterError::Rejected { status: 400, .. })
        )
    }

    // spec: OC-ADAPT-5104, OC-ADAPT-5121, OC-ADAPT-5125
    #[test]
    fn numbers_that_the_server_reads_as_something_else_are_refused() {
        assert!(!is_refused(|_| {}));
        assert!(is_refused(|request| request.slot = 2));
        assert!(is_refused(|request| request.seed = u32::MAX));
        assert!(is_refused(|request| request.max_tokens = 0));
        assert!(is_refused(|request| request.max_tokens = 1 << 31));
    }
}
