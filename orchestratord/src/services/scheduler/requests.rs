//! What handles ask: the owner's side of each command.

use contracts_api_types::task::AdmissionResponse;
use orchestrator_core::action::{Action, Admission, Refusal};
use orchestrator_core::event::Event;
use orchestrator_core::fleet::SetId;
use orchestrator_core::ids::{SessionId, TaskId};
use orchestrator_core::task::TaskSpec;
use orchestrator_core::time::MonoTime;

use super::{Command, Owner};
use crate::services::admission::CheckedTask;
use crate::services::book::Record;
use crate::services::catalog;
use crate::services::fleet::Fleet;
use crate::services::narration;
use crate::services::stream_log::{Place, Position};
use crate::services::tasks::{NewTask, OpenStream, ReaderGuard, SubmitError, TaskError, TaskKey};
use crate::services::wire::policy_name;
use crate::telemetry::metrics::CancelReason;

/// What a queued task holds besides its texts.
const RECORD_BYTES: usize = 1024;

impl Owner {
    pub(super) fn command(&mut self, command: Command, now: MonoTime) {
        // A caller that does not wait for its reply any more has left; nobody misses the reply.
        // One that has its reply sees what it changed, so that is published first.
        match command {
            Command::Recall {
                key,
                body_hash,
                reply,
            } => {
                let _ = reply.send(self.recall(&key, &body_hash));
            }
            Command::Submit { task, reply } => {
                let answer = self.submit(*task, now);
                self.publish();
                let _ = reply.send(answer);
            }
            Command::Status { key, reply } => {
                let found = self.find(&key);
                let _ =
                    reply
                        .send(found.map(|(ticket, record)| {
                            record.status(self.core.position(ticket), now)
                        }));
            }
            Command::Cancel { key, reply } => {
                let answer = self.cancel(&key, CancelReason::Client, now);
                self.publish();
                let _ = reply.send(answer);
            }
            Command::Open { key, resume, reply } => {
                let _ = reply.send(self.open(&key, resume, now));
            }
            Command::Push { node, state, reply } => {
                let answer = self.fleet.push(&node, *state, now).map(|events| {
                    self.tell_all(events, now);
                    Fleet::lease()
                });
                self.publish();
                let _ = reply.send(answer);
            }
        }
    }

    fn find(&self, key: &TaskKey) -> Result<(TaskId, &Record), TaskError> {
        self.book.find(key).ok_or(TaskError::NotFound {
            task_id: key.task_id,
        })
    }

    // spec: ORCH-3462, ORCH-3463
    fn recall(
        &self,
        key: &TaskKey,
        body_hash: &[u8; 32],
    ) -> Result<Option<AdmissionResponse>, SubmitError> {
        match self.book.find(key) {
            None => Ok(None),
            Some((_, record)) if record.body_hash == *body_hash => Ok(Some(record.admission())),
            Some(_) => Err(SubmitError::Conflict {
                task_id: key.task_id,
            }),
        }
    }

    // spec: ORCH-2001
    fn submit(
        &mut self,
        checked: CheckedTask,
        now: MonoTime,
    ) -> Result<AdmissionResponse, SubmitError> {
        let key = checked.task.key();
        if let Some(earlier) = self.recall(&key, &checked.task.body_hash)? {
            return Ok(earlier);
        }
        let Some(set) = self.core.set_id(&checked.set) else {
            return Err(catalog::not_ready(self.fleet.view(), &checked.pool));
        };
        let ticket = self.book.next_ticket();
        let spec = self.spec(ticket, set, &checked, now);
        let mut actions = Vec::new();
        self.core.handle(Event::Submitted(spec), now, &mut actions);
        let result = match verdict(&actions, ticket) {
            Ok(promise) => {
                let first_pool = self.fleet.view().first_pool(&checked.set);
                let first_pool = first_pool.unwrap_or_else(|| checked.pool_id.clone());
                let record = Record::new(checked, first_pool, promise, now);
                self.metrics
                    .task_enqueued(record.pool_labels(), record.priority);
                narration::admitted(&record);
                let admission = record.admission();
                self.book.admit(ticket, record);
                Ok(admission)
            }
            Err(refusal) => Err(self.refused(refusal, &checked)),
        };
        self.perform_all(actions, now);
        self.give_back_unplaced(now);
        result
    }

    fn spec(&self, ticket: TaskId, set: SetId, checked: &CheckedTask, now: MonoTime) -> TaskSpec {
        let task = &checked.task;
        TaskSpec {
            id: ticket,
            tenant: task.tenant.clone(),
            // A session that the server makes has one turn only, so nothing is warm for it.
            session: task.session_id.map(|id| SessionId(id.as_u128())),
            priority: task.priority,
            set,
            tokens_in: checked.tokens_in,
            max_tokens: task.max_tokens,
            expected_tokens: task.expected_tokens,
            deadline: task.deadline.map(|span| now.after(span)),
            default_deadline: now.after(self.bounds.default_deadline),
            bytes: bytes_of(task),
        }
    }

    fn refused(&self, refusal: Refusal, checked: &CheckedTask) -> SubmitError {
        let engine = checked.task.engine;
        match refusal {
            Refusal::QueueFull {
                policy,
                retry_after,
            } => {
                self.metrics.backpressure(engine, policy);
                let pool_id = checked.pool_id.to_string();
                SubmitError::QueueFull {
                    engine,
                    pool_id,
                    policy: policy_name(policy),
                    retry_after,
                }
            }
            Refusal::UnknownSet | Refusal::NoReplica { .. } => {
                catalog::not_ready(self.fleet.view(), &checked.pool)
            }
            Refusal::DeadlineUnmet { estimate } => SubmitError::DeadlineUnmet { engine, estimate },
            Refusal::OverBytes { bytes, bound } => SubmitError::BadField {
                field: "prompt",
                problem: format!(
                    "makes a task of {bytes} bytes, and its queue may hold {bound}: shorten it"
                ),
            },
            Refusal::DuplicateTask => SubmitError::Conflict {
                task_id: checked.task.task_id,
            },
        }
    }

    // spec: ORCH-2003, ORCH-3026, OC-CTRL-2012
    fn cancel(
        &mut self,
        key: &TaskKey,
        reason: CancelReason,
        now: MonoTime,
    ) -> Result<(), TaskError> {
        let (ticket, record) = self.find(key)?;
        if record.has_ended() {
            return Ok(());
        }
        if let Some(record) = self.book.get_mut(ticket) {
            record.cancel_reason = Some(reason);
        }
        self.tell(Event::Cancelled { task: ticket }, now);
        self.give_back_unplaced(now);
        Ok(())
    }

    // spec: ORCH-3434, ORCH-3443
    fn open(
        &mut self,
        key: &TaskKey,
        resume: Option<Position>,
        now: MonoTime,
    ) -> Result<OpenStream, TaskError> {
        let (ticket, record) = self.find(key)?;
        let Some(log) = record.log.clone() else {
            let outcome = Box::new(record.status(None, now));
            return Err(TaskError::Expired { outcome });
        };
        let place = match resume {
            Some(position) => log.place(position)?,
            None => Place::default(),
        };
        if let Some(record) = self.book.get_mut(ticket) {
            record.readers += 1;
        }
        let guard = ReaderGuard::new(key.clone(), self.departures.0.clone());
        Ok(OpenStream { log, place, guard })
    }

    // spec: ORCH-3426, ORCH-3427
    pub(super) fn departed(&mut self, key: &TaskKey, now: MonoTime) {
        let Ok((ticket, _)) = self.find(key) else {
            return;
        };
        let Some(record) = self.book.get_mut(ticket) else {
            return;
        };
        record.readers = record.readers.saturating_sub(1);
        if record.readers == 0 && record.cancel_on_disconnect {
            // A task that has just been found cannot be unknown.
            let _ = self.cancel(key, CancelReason::Disconnect, now);
        }
    }
}

/// What the core said to this submission.
fn verdict(actions: &[Action], ticket: TaskId) -> Result<Admission, Refusal> {
    let said = actions.iter().find_map(|action| match action {
        Action::Admitted { task, admission } if *task == ticket => Some(Ok(*admission)),
        Action::Refused { task, reason } if *task == ticket => Some(Err(reason.clone())),
        _ => None,
    });
    said.expect("the core answers a submission in the same call")
}

fn bytes_of(task: &NewTask) -> u64 {
    let stops: usize = task.sampling.stop.iter().map(String::len).sum();
    let labels: usize = task
        .labels
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (RECORD_BYTES + task.prompt.len() + stops + labels) as u64
}
