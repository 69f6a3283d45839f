//! From a request's body to a task whose form is right.
//!
//! Everything that can be said without knowing what is served is said here, field by field.
//!
//! Not here: whether a pool serves the model, and how large its context is (`services`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::kind::Workload;
use contracts_api_types::task::{SEED_MAX, SamplingRequest, TaskRequest};
use orchestrator_core::ids::TenantId;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use worker_adapters_adapter_api::sampling::{DEFAULT_PROFILE, Overrides, Sampling, SamplingError};

use crate::api::error::ApiError;
use crate::services::tasks::NewTask;
use crate::services::wire::{engine_of, priority_of};

/// The longest prompt in bytes: more than any context holds, and what the queue's byte bound and
/// the engine's tokenizer can take at once.
const PROMPT_BYTES_MAX: usize = 1 << 20;
/// The longest model reference and profile name in bytes; both are repeated in refusals.
const NAME_BYTES_MAX: usize = 1024;
/// The most labels of a task.
const LABELS_MAX: usize = 32;
/// The longest key of a label in bytes.
const LABEL_KEY_BYTES_MAX: usize = 64;
/// The longest value of a label in bytes.
const LABEL_VALUE_BYTES_MAX: usize = 256;

/// Who sent a request.
pub(crate) struct Origin {
    pub(crate) tenant: TenantId,
    pub(crate) client: Arc<str>,
    pub(crate) correlation_id: String,
}

/// Checks the request's form.
///
/// # Errors
/// [`ApiError::BadField`] for the first field that cannot be accepted.
// spec: OC-CTRL-2010, OC-CTRL-2100, OC-CTRL-2101
pub(crate) fn task_from_wire(
    mut request: TaskRequest,
    origin: Origin,
) -> Result<NewTask, ApiError> {
    check_workload(request.workload)?;
    check_name("model_ref", &request.model_ref)?;
    check_positive(&request)?;
    check_labels(&request.labels)?;
    let profile = request.sampler_profile_version;
    let profile = profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    request.sampler_profile_version = Some(profile.clone());
    let given = request.sampling.get_or_insert_default().clone();
    let body_hash = hash(&request);
    let seed = request.seed.map(seed).transpose()?;
    let max_tokens = request
        .max_tokens
        .ok_or_else(|| ApiError::field("max_tokens", "is missing; completions need it"))?;
    let sampling = sampling(&profile, given)?;
    Ok(NewTask {
        tenant: origin.tenant,
        client: origin.client,
        task_id: request.task_id.unwrap_or_else(Uuid::new_v4),
        session_id: request.session_id,
        correlation_id: origin.correlation_id,
        body_hash,
        workload: request.workload,
        model_ref: request.model_ref,
        engine: engine_of(request.engine),
        ctx: request.ctx,
        priority: priority_of(request.priority),
        seed,
        determinism: request.determinism,
        sampler_profile: profile,
        sampling,
        prompt: prompt(request.prompt, request.inputs.is_some())?,
        max_tokens,
        deadline: request.deadline_ms.map(Duration::from_millis),
        expected_tokens: request.expected_tokens,
        on_disconnect: request.on_disconnect,
        labels: request.labels,
    })
}

fn check_workload(workload: Workload) -> Result<(), ApiError> {
    match workload {
        Workload::Completion => Ok(()),
        Workload::Embedding | Workload::Rerank => Err(ApiError::field(
            "workload",
            format!("is `{workload}`, and this build serves completions: use `completion`"),
        )),
    }
}

fn check_name(field: &str, text: &str) -> Result<(), ApiError> {
    if (1..=NAME_BYTES_MAX).contains(&text.len()) {
        return Ok(());
    }
    Err(ApiError::field(
        field,
        format!("must have 1 to {NAME_BYTES_MAX} bytes"),
    ))
}

fn check_positive(request: &TaskRequest) -> Result<(), ApiError> {
    let zeros = [
        ("ctx", request.ctx == Some(0)),
        ("max_tokens", request.max_tokens == Some(0)),
        ("deadline_ms", request.deadline_ms == Some(0)),
        ("expected_tokens", request.expected_tokens == Some(0)),
    ];
    match zeros.into_iter().find(|(_, zero)| *zero) {
        Some((field, _)) => Err(ApiError::field(field, "must be at least 1")),
        None => Ok(()),
    }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if labels.len() > LABELS_MAX {
        return Err(ApiError::field(
            "labels",
            format!("must have at most {LABELS_MAX} entries"),
        ));
    }
    for (key, value) in labels {
        if !(1..=LABEL_KEY_BYTES_MAX).contains(&key.len()) {
            let problem = format!("must have keys of 1 to {LABEL_KEY_BYTES_MAX} bytes");
            return Err(ApiError::field("labels", problem));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let problem = format!("must have at most {LABEL_VALUE_BYTES_MAX} bytes");
            return Err(ApiError::field(format!("labels.{key}"), problem));
        }
    }
    Ok(())
}

fn prompt(prompt: Option<String>, has_inputs: bool) -> Result<String, ApiError> {
    let Some(prompt) = prompt else {
        let problem = "is missing; completions need it and take no `inputs`";
        return Err(ApiError::field("prompt", problem));
    };
    if has_inputs {
        return Err(ApiError::field(
            "inputs",
            "must be absent where `prompt` is given",
        ));
    }
    if prompt.is_empty() {
        return Err(ApiError::field("prompt", "must not be empty"));
    }
    if prompt.len() > PROMPT_BYTES_MAX {
        return Err(ApiError::field(
            "prompt",
            format!("must have at most {PROMPT_BYTES_MAX} bytes"),
        ));
    }
    Ok(prompt)
}

// spec: ORCH-3475
fn seed(seed: u64) -> Result<u32, ApiError> {
    let fits = u32::try_from(seed).ok().filter(|seed| *seed <= SEED_MAX);
    fits.ok_or_else(|| ApiError::field("seed", format!("must be at most {SEED_MAX}")))
}

// spec: ORCH-3472, ORCH-3473
fn sampling(profile: &str, given: SamplingRequest) -> Result<Sampling, ApiError> {
    check_name("sampler_profile_version", profile)?;
    let overrides = Overrides {
        temperature: given.temperature,
        top_k: given.top_k,
        top_p: given.top_p,
        min_p: given.min_p,
        repeat_penalty: given.repeat_penalty,
        stop: given.stop,
    };
    Sampling::resolve(profile, overrides).map_err(|error| match error {
        SamplingError::UnknownProfile(name) => ApiError::field(
            "sampler_profile_version",
            format!("is `{name}`, which does not exist: use `v1`"),
        ),
        SamplingError::OutOfRange { field, range } => {
            ApiError::field(format!("sampling.{field}"), format!("must be {range}"))
        }
    })
}

/// Equal for requests that mean the same, whatever their spelling: absent fields have their
/// defaults by now, and the fields have one order.
// spec: ORCH-3462
fn hash(request: &TaskRequest) -> [u8; 32] {
    let text = serde_json::to_vec(request).expect("requests have string keys and plain values");
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(changes: Value) -> TaskRequest {
        let mut body = json!({
            "workload": "completion", "model_ref": "haiku", "engine": "llamacpp",
            "prompt": "moon", "max_tokens": 8,
        });
        for (field, value) in changes.as_object().unwrap() {
            body[field] = value.clone();
        }
        serde_json::from_value(body).unwrap()
    }

    fn origin() -> Origin {
        Origin {
            tenant: TenantId::parse("home").unwrap(),
            client: "dev".into(),
            correlation_id: "c-1".to_owned(),
        }
    }

    fn task(changes: Value) -> Result<NewTask, ApiError> {
        task_from_wire(request(changes), origin())
    }

    #[track_caller]
    fn check_refused(changes: Value, expected: &str) {
        match task(changes) {
            Err(ApiError::BadField { field, .. }) => assert_eq!(field, expected),
            other => panic!("expected a refusal of {expected}, got {other:?}"),
        }
    }

    // spec: OC-CTRL-2101, ORCH-3453, ORCH-3472, ORCH-3473, ORCH-3475
    #[test]
    fn values_that_cannot_be_accepted_are_refused_by_name() {
        check_refused(json!({"workload": "embedding"}), "workload");
        check_refused(json!({"workload": "rerank"}), "workload");
        check_refused(json!({"model_ref": ""}), "model_ref");
        check_refused(json!({"model_ref": "m".repeat(1025)}), "model_ref");
        check_refused(json!({"prompt": ""}), "prompt");
        check_refused(json!({"prompt": null}), "prompt");
        check_refused(json!({"prompt": null, "inputs": ["a"]}), "prompt");
        check_refused(json!({"inputs": ["a"]}), "inputs");
        check_refused(
            json!({"prompt": "x".repeat(PROMPT_BYTES_MAX + 1)}),
            "prompt",
        );
        check_refused(json!({"max_tokens": 0}), "max_tokens");
        check_refused(json!({"max_tokens": null}), "max_tokens");
        check_refused(json!({"ctx": 0}), "ctx");
        check_refused(json!({"deadline_ms": 0}), "deadline_ms");
        check_refused(json!({"expected_tokens": 0}), "expected_tokens");
        check_refused(json!({"seed": 4_294_967_295_u64}), "seed");
        check_refused(json!({"seed": u64::MAX}), "seed");
        check_refused(
            json!({"sampler_profile_version": "v9"}),
            "sampler_profile_version",
        );
        check_refused(json!({"sampling": {"top_p": 0}}), "sampling.top_p");
        check_refused(
            json!({"sampling": {"temperature": 2.1}}),
            "sampling.temperature",
        );
        check_refused(json!({"sampling": {"stop": [""]}}), "sampling.stop");
    }

    #[test]
    fn labels_are_bounded_in_number_and_size() {
        let many = |count: usize| {
            (0..count)
                .map(|n| (n.to_string(), "v".into()))
                .collect::<serde_json::Map<_, _>>()
        };
        assert!(task(json!({"labels": many(32)})).is_ok());
        check_refused(json!({"labels": many(33)}), "labels");
        check_refused(json!({"labels": {"": "v"}}), "labels");
        check_refused(json!({"labels": {"k".repeat(65): "v"}}), "labels");
        check_refused(json!({"labels": {"k": "v".repeat(257)}}), "labels.k");
    }

    // spec: OC-CTRL-2100, ORCH-3418, ORCH-3470
    #[test]
    fn absent_fields_take_their_defaults() {
        let task = task(json!({})).unwrap();
        assert_eq!(task.sampling, Sampling::profile_v1());
        assert_eq!(task.sampler_profile, "v1");
        assert_eq!(
            (task.seed, task.ctx, task.deadline, task.session_id),
            (None, None, None, None)
        );
        assert_eq!(task.priority.as_str(), "interactive");
        assert_eq!(task.determinism.as_str(), "strict");
        assert_eq!(task.on_disconnect.as_str(), "keep");
        assert_eq!((task.prompt.as_str(), task.max_tokens), ("moon", 8));
        assert_eq!(
            (task.tenant.as_str(), task.correlation_id.as_str()),
            ("home", "c-1")
        );
    }

    #[test]
    fn given_fields_are_taken_over() {
        let id = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";
        let task = task(json!({
            "task_id": id, "seed": 4_294_967_294_u64, "ctx": 64, "deadline_ms": 1500, "priority": "batch",
            "expected_tokens": 5, "on_disconnect": "cancel", "sampling": {"temperature": 0, "top_k": 1},
        }))
        .unwrap();
        assert_eq!(task.task_id.to_string(), id);
        assert_eq!(
            (task.seed, task.ctx, task.expected_tokens),
            (Some(SEED_MAX), Some(64), Some(5))
        );
        assert_eq!(task.deadline, Some(Duration::from_millis(1500)));
        assert_eq!(task.priority.as_str(), "batch");
        assert_eq!(task.on_disconnect.as_str(), "cancel");
        assert_eq!(
            (
                task.sampling.temperature,
                task.sampling.top_k,
                task.sampling.top_p
            ),
            (0.0, 1, 0.95)
        );
    }

    // spec: ORCH-3462, ORCH-3463
    #[test]
    fn the_hash_follows_the_meaning_and_not_the_spelling() {
        let of = |changes| task(changes).unwrap().body_hash;
        assert_eq!(
            of(json!({})),
            of(json!({"priority": "interactive", "seed": null}))
        );
        assert_eq!(
            of(json!({})),
            of(json!({"sampler_profile_version": "v1", "sampling": {}}))
        );
        assert_ne!(of(json!({})), of(json!({"prompt": "sun"})));
        assert_ne!(of(json!({})), of(json!({"seed": 0})));
    }
}
