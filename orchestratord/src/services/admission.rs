//! What is checked of a task before it is queued: its model, its context, and its seed.
//!
//! Everything here works on a snapshot of the fleet and outside the owner task, since asking a
//! tokenizer takes time. Not here: room in the queue and deadlines, which the core decides.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_core::fleet::SetKey;
use orchestrator_core::ids::PoolId;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use crate::services::catalog::{self, Found, Wanted};
use crate::services::fleet::{FleetView, Pool};
use crate::services::tasks::{NewTask, SubmitError};

/// The longest wait for a tokenizer. An admission takes milliseconds; beyond this the task is
/// taken, and the engine itself cuts it at its context.
const TOKENIZER_WAIT: Duration = Duration::from_millis(200);
/// Tokens that an engine may add to a prompt of its own accord: a begin and an end marker.
const ADDED_TOKENS: u64 = 2;
/// Bytes of a usual token of text, for the estimate that predictions start from.
const BYTES_PER_TOKEN: usize = 4;

/// A task that can be served, with what was found out about it.
#[derive(Debug)]
pub(crate) struct CheckedTask {
    pub(crate) task: NewTask,
    /// The set that may run it.
    pub(crate) set: SetKey,
    /// The pool by which the set was found; errors name it.
    pub(crate) pool_id: PoolId,
    pub(crate) pool: Arc<Pool>,
    /// Prompt tokens, counted or estimated.
    pub(crate) tokens_in: u32,
    /// The seed in use.
    pub(crate) seed: u32,
}

/// Finds the model and refuses what certainly does not fit.
// spec: OC-CTRL-2010, ORCH-3015
pub(crate) async fn check(task: NewTask, fleet: &FleetView) -> Result<CheckedTask, SubmitError> {
    let Found { pool_id, pool, set } = catalog::find(fleet, wanted(&task))?;
    let ctx = task.ctx.unwrap_or(set.ctx);
    let counted = count(&task, ctx, &pool).await;
    match counted {
        Some(tokens) => check_budget(tokens, task.max_tokens, ctx)?,
        None => check_without_prompt(task.max_tokens, ctx)?,
    }
    let tokens_in = counted.unwrap_or_else(|| estimate(&task.prompt, ctx));
    let seed = task.seed.unwrap_or_else(|| derived_seed(task.task_id));
    Ok(CheckedTask {
        task,
        set,
        pool_id,
        pool,
        tokens_in,
        seed,
    })
}

fn wanted(task: &NewTask) -> Wanted<'_> {
    Wanted {
        model_ref: &task.model_ref,
        engine: task.engine,
        workload: task.workload,
        ctx: task.ctx,
        sampler_profile: &task.sampler_profile,
    }
}

/// The prompt's tokens by the engine's own tokenizer, where that could matter and it answers.
///
/// A token is at least a byte, so a prompt that fits byte by byte fits.
// spec: ORCH-3461
async fn count(task: &NewTask, ctx: u32, pool: &Pool) -> Option<u32> {
    let bound = task.prompt.len() as u64 + ADDED_TOKENS + u64::from(task.max_tokens);
    if bound <= u64::from(ctx) {
        return None;
    }
    let adapter = pool.ready().next()?;
    match timeout(TOKENIZER_WAIT, adapter.count_tokens(&task.prompt)).await {
        Ok(Ok(tokens)) => Some(tokens),
        Ok(Err(problem)) => {
            tracing::debug!(pool_id = %pool.state.id, %problem, "tokenizer did not answer");
            None
        }
        Err(_) => {
            tracing::debug!(pool_id = %pool.state.id, "tokenizer did not answer in time");
            None
        }
    }
}

// spec: ORCH-3015, OC-CORE-1021
fn check_budget(tokens: u32, max_tokens: u32, ctx: u32) -> Result<(), SubmitError> {
    let room = ctx.saturating_sub(tokens);
    let (field, problem) = if room == 0 {
        let problem =
            format!("has {tokens} tokens, and the context is {ctx}: shorten it to leave room");
        ("prompt", problem)
    } else if max_tokens > room {
        let problem = format!(
            "is {max_tokens}, and a prompt of {tokens} tokens leaves {room} of the context of \
             {ctx}: ask for at most {room}"
        );
        ("max_tokens", problem)
    } else {
        return Ok(());
    };
    Err(SubmitError::BadField { field, problem })
}

/// What is certain without knowing the prompt's length: it has a token.
// spec: ORCH-3461
fn check_without_prompt(max_tokens: u32, ctx: u32) -> Result<(), SubmitError> {
    if max_tokens < ctx {
        return Ok(());
    }
    Err(SubmitError::BadField {
        field: "max_tokens",
        problem: format!(
            "is {max_tokens}, and the context of {ctx} has to hold the prompt too: ask for less"
        ),
    })
}

fn estimate(prompt: &str, ctx: u32) -> u32 {
    let tokens = (prompt.len() / BYTES_PER_TOKEN).max(1);
    u32::try_from(tokens).unwrap_or(u32::MAX).min(ctx)
}

/// The seed of a task that names none: the first 8 bytes, big endian, of SHA-256 over the id's 16
/// bytes, modulo 4,294,967,295.
// spec: ORCH-3474, ORCH-3475
pub(crate) fn derived_seed(task_id: Uuid) -> u32 {
    let digest = Sha256::digest(task_id.as_bytes());
    let leading = digest
        .iter()
        .take(8)
        .fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    u32::try_from(leading % u64::from(u32::MAX)).expect("a remainder is below its divisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ORCH-3474, ORCH-3475
    #[test]
    fn a_derived_seed_is_the_documented_hash_of_the_id() {
        // printf of the 16 bytes | sha256sum, first 16 hex digits, modulo 4294967295.
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(derived_seed(id), 758_637_600);
        assert_ne!(derived_seed(id), derived_seed(Uuid::nil()));
    }

    // spec: ORCH-3015, OC-CORE-1021
    #[test]
    fn a_budget_that_cannot_fit_is_refused_by_field_with_the_numbers() {
        let field = |tokens, max_tokens| match check_budget(tokens, max_tokens, 512) {
            Err(SubmitError::BadField { field, problem }) => Some((field, problem)),
            other => {
                assert_eq!(other, Ok(()));
                None
            }
        };
        assert_eq!(field(500, 12), None);
        let (name, problem) = field(500, 13).unwrap();
        assert_eq!(name, "max_tokens");
        assert!(problem.contains("at most 12"), "{problem}");
        let (name, problem) = field(512, 1).unwrap();
        assert_eq!(name, "prompt");
        assert!(problem.contains("512 tokens"), "{problem}");
        assert_eq!(field(511, 1), None);
    }

    #[test]
    fn an_estimate_stays_within_the_context() {
        assert_eq!(estimate("", 512), 1);
        assert_eq!(estimate(&"x".repeat(40), 512), 10);
        assert_eq!(estimate(&"x".repeat(1 << 20), 512), 512);
    }
}
