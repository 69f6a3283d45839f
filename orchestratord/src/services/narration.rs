//! What is logged of a task's life: the fields of the contract, and a sentence for people.
//!
//! # Invariants
//! - The sentence holds no secret, no prompt and no text of an answer, and does not consist of ids.
//!   [ORCH-3300, ORCH-3302, OC-CTRL-2041]
//! - Every line names the task and its correlation id. [ORCH-3027, ORCH-2009]
//!
//! Not here: how lines are written (`telemetry::logging`).

use std::time::Duration;

use contracts_api_types::task::TaskState;
use orchestrator_core::action::Outcome;
use orchestrator_core::time::MonoTime;
use tracing::Span;
use worker_adapters_adapter_api::adapter::SlotRelease;
use worker_adapters_adapter_api::error::AdapterError;

use crate::services::book::Record;
use crate::services::book::record::Placement;
use crate::services::wire::millis;

/// What every line about a task carries. The level is the highest, so that no filter that lets a
/// line through takes its task from it.
// spec: ORCH-3027, ORCH-3094
fn task(record: &Record) -> Span {
    tracing::error_span!(
        parent: None,
        "task",
        job_id = %record.key.task_id,
        correlation_id = record.correlation_id,
        session_id = %record.session_id,
        client_id = &*record.client,
        tenant_id = %record.key.tenant,
        engine = %record.engine,
        engine_version = %record.set.engine_version,
        model_id = %record.set.model_digest,
        ctx = record.set.ctx,
        sampler_profile_version = %record.set.sampler_profile,
        priority = %record.priority,
        deadline_ms = record.deadline.map(millis),
    )
}

// spec: ORCH-3029, OC-CTRL-2050
pub(crate) fn admitted(record: &Record) {
    let ahead = record.promise.queue_position;
    let _task = task(record).entered();
    tracing::info!(
        queue_position = ahead,
        predicted_start_ms = millis(record.promise.predicted_start),
        on_time_probability = record.promise.on_time_probability,
        human = match ahead {
            0 => "a task was taken and is next in line".to_owned(),
            1 => "a task was taken behind one other".to_owned(),
            _ => format!("a task was taken behind {ahead} others"),
        },
        "task admitted"
    );
}

pub(crate) fn placed(record: &Record, attempt: u32, now: MonoTime) {
    let waited = now.since(record.admitted);
    let again = if attempt > 1 { " again" } else { "" };
    let place = record.placement.as_ref();
    let _task = task(record).entered();
    tracing::info!(
        pool_id = place.map(|at| at.pool_id.as_str()),
        replica_id = place.map(|at| at.replica_id.as_str()),
        kv_warmth = place.is_some_and(|at| at.kv_warm),
        queue_time_ms = millis(waited),
        attempt,
        human = format!("a worker takes the task{again} after {}", spoken(waited)),
        "task placed"
    );
}

pub(crate) fn started(record: &Record, at: &Placement, now: MonoTime) {
    let _task = task(record).entered();
    tracing::info!(
        pool_id = %at.pool_id,
        replica_id = %at.replica_id,
        kv_warmth = at.kv_warm,
        device_class = %at.device_class,
        queue_position = record.promise.queue_position,
        predicted_start_ms = millis(record.promise.predicted_start),
        on_time_probability = record.promise.on_time_probability,
        queue_time_ms = millis(record.queue_time(now)),
        human = "the engine has begun with the answer",
        "stream started"
    );
}

pub(crate) fn attempt_failed(record: &Record, attempt: u32, fault: &AdapterError) {
    let shown = record.first_text.is_some();
    let next = if shown {
        "and its answer cannot go on"
    } else {
        "before any text was visible"
    };
    let _task = task(record).entered();
    tracing::warn!(
        pool_id = record.pool_labels().pool_id,
        replica_id = record.labels().replica_id,
        attempt,
        error = %fault,
        human = format!("the worker failed this task, {next}"),
        "attempt failed"
    );
}

pub(crate) fn slot_released(record: &Record, grade: SlotRelease, after: Duration) {
    let _task = task(record).entered();
    tracing::debug!(
        replica_id = record.labels().replica_id,
        grade = ?grade,
        slot_free_ms = millis(after),
        "slot released"
    );
}

pub(crate) fn finished(record: &Record, outcome: Outcome, now: MonoTime) {
    let counts = record.completion;
    let end = record.end.as_ref();
    let _task = task(record).entered();
    tracing::info!(
        pool_id = record.pool_labels().pool_id,
        replica_id = record.labels().replica_id,
        kv_warmth = record.placement.as_ref().is_some_and(|at| at.kv_warm),
        queue_time_ms = millis(record.queue_time(now)),
        decode_time_ms = counts.map(|done| millis(done.decode)),
        tokens_in = counts.map(|done| done.tokens_in),
        tokens_out = counts.map(|done| done.tokens_out),
        state = end.map_or(TaskState::Failed, |end| end.state).as_str(),
        error = end
            .and_then(|end| end.failure.as_ref())
            .map(|why| why.code.as_str()),
        human = ending(record, outcome, now),
        "stream ended"
    );
}

fn ending(record: &Record, outcome: Outcome, now: MonoTime) -> String {
    let took = spoken(now.since(record.admitted));
    let tokens = record.completion.map_or(0, |done| done.tokens_out);
    match outcome {
        Outcome::Completed => format!("the answer of {tokens} tokens was complete after {took}"),
        Outcome::Canceled => format!("the task was canceled after {took}"),
        Outcome::Failed(why) => format!("the task failed after {took}: {why}"),
    }
}

fn spoken(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}
