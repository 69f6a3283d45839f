//! Carrying out what the core decided.

use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::node::PoolTimeouts;
use orchestrator_core::action::{AbortReason, Action, Outcome};
use orchestrator_core::event::{AttemptResult, Event, Fault};
use orchestrator_core::ids::{PoolId, ReplicaId, TaskId};
use orchestrator_core::time::MonoTime;
use tokio_util::sync::CancellationToken;
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_adapter_api::error::AdapterError;
use worker_adapters_adapter_api::generation::{GenerateRequest, Limits};

use super::Owner;
use crate::services::book::record::Placement;
use crate::services::book::{Record, Stage};
use crate::services::dispatch::Attempt;
use crate::services::narration;

/// A dispatch of the core.
struct Start {
    task: TaskId,
    attempt: u32,
    pool: PoolId,
    replica: ReplicaId,
    incarnation: u64,
    slot: u32,
    kv_warm: bool,
}

impl Owner {
    pub(super) fn perform(&mut self, action: Action, now: MonoTime) {
        match action {
            // The submission that asked for it answers its caller.
            Action::Admitted { .. } | Action::Refused { .. } => {}
            Action::Dispatch {
                task,
                attempt,
                pool,
                replica,
                incarnation,
                slot,
                kv_warm,
            } => {
                self.start(
                    Start {
                        task,
                        attempt,
                        pool,
                        replica,
                        incarnation,
                        slot,
                        kv_warm,
                    },
                    now,
                );
            }
            Action::Abort { task, attempt, why } => self.abort(task, attempt, why),
            Action::Finished { task, outcome } => self.finish(task, outcome, now),
        }
    }

    /// Spawns the attempt. Where its worker is gone already the core is told so afterwards.
    fn start(&mut self, start: Start, now: MonoTime) {
        let worker = self.worker(&start);
        let Some(record) = self.book.get_mut(start.task) else {
            return;
        };
        let Some((adapter, limits, placement)) = worker else {
            record.stage = Stage::Running {
                attempt: start.attempt,
                stop: CancellationToken::new(),
                handle: None,
            };
            self.unplaced.push((start.task, start.attempt));
            return;
        };
        record.placement = Some(placement);
        if record.first_dispatch.is_none() {
            record.first_dispatch = Some(now);
            self.metrics.task_started(record.labels(), record.priority);
        }
        narration::placed(record, start.attempt, now);
        let stop = CancellationToken::new();
        let Some(request) = request(record, &start, limits) else {
            return;
        };
        let Some(log) = record.log.clone() else {
            return;
        };
        let attempt = Attempt {
            ticket: start.task,
            attempt: start.attempt,
            adapter,
            request,
            log,
            stop: stop.clone(),
            reports: self.reports.0.clone(),
            slot_hold: self.bounds.core.slot_hold,
        };
        let handle = Some(self.attempts.spawn(attempt.run()));
        record.stage = Stage::Running {
            attempt: start.attempt,
            stop,
            handle,
        };
    }

    /// The process that is meant, if it is the one that is there.
    fn worker(&self, start: &Start) -> Option<(Arc<dyn WorkerAdapter>, Limits, Placement)> {
        let pool = self.fleet.view().pools.get(&start.pool)?;
        let worker = pool.workers.get(&start.replica)?;
        let adapter = worker
            .adapter()
            .filter(|_| worker.incarnation == start.incarnation)?;
        let placement = Placement {
            pool_id: start.pool.clone(),
            replica_id: start.replica.clone(),
            incarnation: start.incarnation,
            device_class: pool.state.device_class,
            kv_warm: start.kv_warm,
            attempts: start.attempt,
        };
        Some((Arc::clone(adapter), limits(&pool.state.timeouts), placement))
    }

    /// Tells the core of the attempts that found no worker. They hold no slot of any engine.
    pub(super) fn give_back_unplaced(&mut self, now: MonoTime) {
        while let Some((task, attempt)) = self.unplaced.pop() {
            if let Some(record) = self
                .book
                .get_mut(task)
                .filter(|record| record.runs(attempt))
            {
                record.stage = Stage::Queued;
                record.fault = Some(gone());
            }
            self.tell(Event::SlotReleased { task, attempt }, now);
            let result = AttemptResult::Failed {
                fault: Fault::Replica,
            };
            self.tell(
                Event::Ended {
                    task,
                    attempt,
                    result,
                },
                now,
            );
        }
    }

    // spec: ORCH-3017, ORCH-3429
    fn abort(&mut self, task: TaskId, attempt: u32, why: AbortReason) {
        let Some(record) = self
            .book
            .get_mut(task)
            .filter(|record| record.runs(attempt))
        else {
            return;
        };
        let Stage::Running { stop, handle, .. } =
            std::mem::replace(&mut record.stage, Stage::Queued)
        else {
            return;
        };
        match why {
            AbortReason::Canceled | AbortReason::DeadlineUnmet => stop.cancel(),
            // No engine is left to be asked for the slot.
            AbortReason::ReplicaGone => {
                record.fault = Some(gone());
                if let Some(handle) = handle {
                    handle.abort();
                }
            }
        }
    }

    fn finish(&mut self, task: TaskId, outcome: Outcome, now: MonoTime) {
        let Some(record) = self.book.get_mut(task) else {
            return;
        };
        let bytes = record.finish(outcome, now);
        if let Some(reason) = record.cancel_reason
            && outcome == Outcome::Canceled
        {
            self.metrics.task_canceled(record.labels(), reason);
        }
        if let Some(done) = record.completion {
            self.metrics
                .tokens(record.labels(), done.tokens_in, done.tokens_out);
        }
        if let Some(since) = record.first_text {
            self.metrics
                .decode(record.pool_labels(), record.priority, now.since(since));
        }
        narration::finished(record, outcome, now);
        self.book.ended(task, bytes, now);
    }
}

fn limits(timeouts: &PoolTimeouts) -> Limits {
    Limits {
        first_token: Duration::from_millis(timeouts.first_token_ms),
        gap: Duration::from_millis(timeouts.gap_ms),
    }
}

fn request(record: &Record, start: &Start, limits: Limits) -> Option<GenerateRequest> {
    let work = record.work.as_ref()?;
    Some(GenerateRequest {
        request_id: record.key.task_id.to_string(),
        slot: start.slot,
        prompt: work.prompt.clone(),
        max_tokens: work.max_tokens,
        seed: record.seed,
        sampling: work.sampling.clone(),
        limits,
    })
}

fn gone() -> AdapterError {
    AdapterError::Unreachable {
        reason: "its process is gone".to_owned(),
    }
}
