//! How a task's end looks to its client: the core's outcome with the engine's own account.

use std::time::Duration;

use contracts_api_types::error::ErrorCode;
use contracts_api_types::task::{FinishReason, TaskFailure, TaskState};
use orchestrator_core::action::{FailReason, Outcome};
use orchestrator_core::time::MonoTime;
use worker_adapters_adapter_api::generation::{self, Completion};

use super::record::{Record, Stage, TaskEnd};
use crate::services::stream_log::Ending;
use crate::services::wire::engine_name;

/// When to try again after a fault: about what a worker's restart takes.
const FAULT_RETRY: Duration = Duration::from_secs(2);

impl Record {
    /// Ends the task: seals its stream and keeps how it ended. Returns the bytes of its stream.
    ///
    /// The core gives one outcome per task, so this is called once, and the log would refuse a
    /// second ending.
    // spec: ORCH-2002, ORCH-3428
    pub(crate) fn finish(&mut self, outcome: Outcome, now: MonoTime) -> u64 {
        self.stage = Stage::Ended;
        self.work = None;
        let Some(log) = self.log.clone() else {
            return 0;
        };
        if !matches!(outcome, Outcome::Completed) {
            self.completion = self
                .first_text
                .map(|since| partial(log.token_frames(), since, now));
        }
        let ending = self.ending(outcome, now);
        let shown = ending.clone();
        let Ok(text) = log.seal(ending) else { return 0 };
        self.end = Some(TaskEnd {
            state: state(outcome),
            finish_reason: finish_reason(&shown),
            text_digest: finish_reason(&shown).map(|_| text.digest),
            failure: failure(shown, text.any),
            at: now,
        });
        log.bytes() as u64
    }

    fn ending(&self, outcome: Outcome, now: MonoTime) -> Ending {
        let finish_reason = match outcome {
            Outcome::Completed => self.completion.map_or(FinishReason::Stop, reason_of),
            Outcome::Canceled => FinishReason::Canceled,
            Outcome::Failed(why) => return self.error(why),
        };
        let counts = self.completion;
        Ending::End {
            tokens_in: counts.map_or(0, |done| done.tokens_in),
            tokens_out: counts.map_or(0, |done| done.tokens_out),
            decode_time: counts.map_or(Duration::ZERO, |done| done.decode),
            queue_time: self.queue_time(now),
            finish_reason,
        }
    }

    // spec: OC-CTRL-2031
    fn error(&self, why: FailReason) -> Ending {
        let (code, retry_after) = classify(why);
        let pool = self
            .placement
            .as_ref()
            .map_or(&self.first_pool, |at| &at.pool_id);
        Ending::Error {
            code,
            message: self.message(why),
            engine: Some(engine_name(self.engine)),
            pool_id: Some(pool.to_string()),
            retry_after,
        }
    }

    fn message(&self, why: FailReason) -> String {
        let advice = match why {
            FailReason::DroppedFromQueue { .. } => "submit it again later",
            FailReason::DeadlineUnmet => {
                "allow more time with deadline_ms, or ask for fewer tokens"
            }
            FailReason::WorkerReset => "submit it again with a new task_id",
            FailReason::Timeout => "submit it again with a new task_id, or ask for less",
            FailReason::RequestRejected => "change the request as the engine's words say",
            FailReason::PoolUnavailable => "choose another model, or wait until a pool serves it",
        };
        match &self.fault {
            Some(fault) => format!("{why}: {fault}; {advice}"),
            None => format!("{why}; {advice}"),
        }
    }
}

/// What is known of an attempt that the engine did not account for: a token is at least a piece.
fn partial(pieces: usize, since: MonoTime, now: MonoTime) -> Completion {
    Completion {
        finish_reason: generation::FinishReason::Stop,
        tokens_in: 0,
        tokens_cached: 0,
        tokens_out: u32::try_from(pieces).unwrap_or(u32::MAX),
        prefill: Duration::ZERO,
        decode: now.since(since),
    }
}

fn reason_of(done: Completion) -> FinishReason {
    match done.finish_reason {
        generation::FinishReason::Stop => FinishReason::Stop,
        generation::FinishReason::Length => FinishReason::Length,
    }
}

fn state(outcome: Outcome) -> TaskState {
    match outcome {
        Outcome::Completed => TaskState::Done,
        Outcome::Canceled => TaskState::Canceled,
        Outcome::Failed(_) => TaskState::Failed,
    }
}

fn finish_reason(ending: &Ending) -> Option<FinishReason> {
    match ending {
        Ending::End { finish_reason, .. } => Some(*finish_reason),
        Ending::Error { .. } => None,
    }
}

fn failure(ending: Ending, partial: bool) -> Option<TaskFailure> {
    match ending {
        Ending::End { .. } => None,
        Ending::Error { code, message, .. } => Some(TaskFailure {
            code,
            message,
            partial,
        }),
    }
}

fn classify(why: FailReason) -> (ErrorCode, Option<Duration>) {
    match why {
        FailReason::DroppedFromQueue { .. } => (ErrorCode::QueueFullDropLru, Some(FAULT_RETRY)),
        FailReason::DeadlineUnmet => (ErrorCode::DeadlineUnmet, None),
        FailReason::WorkerReset => (ErrorCode::WorkerReset, Some(FAULT_RETRY)),
        FailReason::Timeout => (ErrorCode::DecodeTimeout, Some(FAULT_RETRY)),
        FailReason::RequestRejected => (ErrorCode::InvalidParams, None),
        FailReason::PoolUnavailable => (ErrorCode::PoolUnavailable, Some(FAULT_RETRY)),
    }
}
