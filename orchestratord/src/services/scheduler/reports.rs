//! What attempts tell: the owner's side of a generation.

use std::time::Duration;

use orchestrator_core::event::{AttemptResult, Event, Fault};
use orchestrator_core::ids::TaskId;
use orchestrator_core::priority::Priority;
use orchestrator_core::time::MonoTime;
use worker_adapters_adapter_api::adapter::SlotRelease;
use worker_adapters_adapter_api::error::{AdapterError, FaultKind};
use worker_adapters_adapter_api::generation::Completion;

use super::Owner;
use crate::services::book::Stage;
use crate::services::dispatch::{News, Report};
use crate::services::narration;
use crate::services::stream_log::AppendError;

impl Owner {
    pub(super) fn report(&mut self, report: Report, now: MonoTime) {
        let Report {
            ticket,
            attempt,
            news,
        } = report;
        match news {
            News::Accepted => self.accepted(ticket, attempt),
            News::FirstText { text, leave } => {
                self.tell(
                    Event::Started {
                        task: ticket,
                        attempt,
                    },
                    now,
                );
                if let Some(shown) = self.first_text(ticket, attempt, &text, now) {
                    // An attempt that has just ended needs no leave any more.
                    let _ = leave.send(shown);
                }
            }
            News::Ended(result) => {
                self.doubt_unreachable(ticket, attempt, &result, now);
                let result = self.note_end(ticket, attempt, result);
                self.tell(
                    Event::Ended {
                        task: ticket,
                        attempt,
                        result,
                    },
                    now,
                );
            }
            News::Released { grade, after } => {
                self.released(ticket, grade, after);
                self.tell(
                    Event::SlotReleased {
                        task: ticket,
                        attempt,
                    },
                    now,
                );
            }
        }
        self.give_back_unplaced(now);
    }

    /// Shows `started` and `metrics`, once in the life of a task.
    // spec: ORCH-3417, OC-CTRL-2021, OC-CTRL-2023
    fn accepted(&mut self, ticket: TaskId, attempt: u32) {
        let Some(record) = self.book.get(ticket).filter(|record| record.runs(attempt)) else {
            return;
        };
        let (Some(log), Some(at)) = (&record.log, &record.placement) else {
            return;
        };
        if record.started_shown {
            return;
        }
        let depth = self.core.set_id(&record.set).map_or(0, |set| {
            Priority::ALL
                .iter()
                .map(|class| self.core.queue_depth(set, *class) as u64)
                .sum()
        });
        // A log without room for these two ends with its first text.
        let _ = log.append_started(&record.started_event(at));
        let _ = log.append_metrics(&record.metrics_event(at, depth));
        narration::started(record, at, self.clock.now());
        if let Some(record) = self.book.get_mut(ticket) {
            record.started_shown = true;
        }
    }

    /// Shows the first text of the attempt that runs, if this is that attempt.
    fn first_text(
        &mut self,
        ticket: TaskId,
        attempt: u32,
        text: &str,
        now: MonoTime,
    ) -> Option<Result<(), AppendError>> {
        let record = self
            .book
            .get_mut(ticket)
            .filter(|record| record.runs(attempt))?;
        let shown = record.log.as_ref()?.append_token(text);
        record.first_text = Some(now);
        let after = now.since(record.admitted);
        self.metrics
            .first_token(record.pool_labels(), record.priority, after);
        Some(shown)
    }

    /// Takes a worker that cannot be reached out of placement until its agent reports again.
    fn doubt_unreachable(
        &mut self,
        ticket: TaskId,
        attempt: u32,
        result: &Result<Completion, AdapterError>,
        now: MonoTime,
    ) {
        if !matches!(result, Err(AdapterError::Unreachable { .. })) {
            return;
        }
        let record = self.book.get(ticket).filter(|record| record.runs(attempt));
        let Some(at) = record.and_then(|record| record.placement.as_ref()) else {
            return;
        };
        let event = self
            .fleet
            .doubt(&at.pool_id, &at.replica_id, at.incarnation);
        self.tell_all(event.into_iter().collect(), now);
    }

    /// Keeps the attempt's account or failure for the task's end.
    fn note_end(
        &mut self,
        ticket: TaskId,
        attempt: u32,
        result: Result<Completion, AdapterError>,
    ) -> AttemptResult {
        let event = attempt_result(&result);
        if let Some(record) = self
            .book
            .get_mut(ticket)
            .filter(|record| record.runs(attempt))
        {
            record.stage = Stage::Queued;
            match result {
                Ok(done) => record.completion = Some(done),
                Err(fault) => {
                    narration::attempt_failed(record, attempt, &fault);
                    record.fault = Some(fault);
                }
            }
        }
        event
    }

    fn released(&self, ticket: TaskId, grade: SlotRelease, after: Duration) {
        let Some(record) = self.book.get(ticket) else {
            return;
        };
        if record.cancel_reason.is_some() && grade != SlotRelease::Unknown {
            self.metrics.slot_freed_after_cancel(record.labels(), after);
        }
        narration::slot_released(record, grade, after);
    }
}

fn attempt_result(result: &Result<Completion, AdapterError>) -> AttemptResult {
    match result {
        Ok(done) => AttemptResult::Completed {
            tokens_in: done.tokens_in,
            tokens_out: done.tokens_out,
            prefill: done.prefill,
            decode: done.decode,
        },
        Err(fault) => AttemptResult::Failed {
            fault: blame(fault.kind()),
        },
    }
}

/// Whose fault a failure was. An engine without room is one that another replica can stand in for.
// spec: OC-CTRL-2125
const fn blame(kind: FaultKind) -> Fault {
    match kind {
        FaultKind::Rejected => Fault::Request,
        FaultKind::TimedOut => Fault::Timeout,
        FaultKind::Unreachable
        | FaultKind::Overloaded
        | FaultKind::CutOff
        | FaultKind::Garbled
        | FaultKind::EngineFailed => Fault::Replica,
    }
}
