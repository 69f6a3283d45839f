//! The handle through which the API submits, reads, follows and cancels tasks.
//!
//! Every call is one command to the owner task, except admission, which first finds the model and,
//! where it matters, asks an engine's tokenizer: nothing that waits runs in the owner.
//!
//! # Invariants
//! - A task belongs to its tenant: for any other tenant its id is unknown.
//! - [`TaskService::cancel`] returns after the log is sealed, so no token follows it.
//! - Each reader of a stream holds one [`ReaderGuard`].

mod refusal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::kind::{Determinism, OnDisconnect, Workload};
use contracts_api_types::task::{AdmissionResponse, TaskStatus};
use orchestrator_core::engine::Engine;
use orchestrator_core::fleet::FullPolicy;
use orchestrator_core::ids::TenantId;
use orchestrator_core::priority::Priority;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_adapters_adapter_api::sampling::Sampling;

pub use refusal::{SubmitError, TaskError};

use crate::services::admission;
use crate::services::scheduler::{Command, Snapshot};
use crate::services::stream_log::{Place, Position, StreamLog};
use crate::telemetry::metrics::Metrics;

/// A task whose form has been checked. Whether it can be served is checked by
/// [`TaskService::submit`].
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Who asks.
    pub tenant: TenantId,
    /// The name of the key that was used, for logs.
    pub client: Arc<str>,
    /// Its id, by the client's choice or made by the API.
    pub task_id: Uuid,
    /// The conversation, where the client named one. The service makes one otherwise.
    pub session_id: Option<Uuid>,
    /// The id in every log line of the request.
    pub correlation_id: String,
    /// SHA-256 of the normalised request; it tells a repeat from a conflict.
    pub body_hash: [u8; 32],
    /// What to compute.
    pub workload: Workload,
    /// The model as the client named it.
    pub model_ref: String,
    /// The engine.
    pub engine: Engine,
    /// Context in tokens; the set's where the client named none.
    pub ctx: Option<u32>,
    /// Its class.
    pub priority: Priority,
    /// The seed; derived from the id where the client named none.
    pub seed: Option<u32>,
    /// What is needed of repeatability.
    pub determinism: Determinism,
    /// Version of the sampler profile.
    pub sampler_profile: String,
    /// The profile with the client's fields laid over it.
    pub sampling: Sampling,
    /// The prompt.
    pub prompt: String,
    /// The most tokens to generate, at least 1.
    pub max_tokens: u32,
    /// Time from admission to the end, where the client asked for one.
    pub deadline: Option<Duration>,
    /// The client's guess of the output length.
    pub expected_tokens: Option<u32>,
    /// What happens when the last reader leaves.
    pub on_disconnect: OnDisconnect,
    /// The client's own labels.
    pub labels: BTreeMap<String, String>,
}

/// A reader's access to a stream. Keep `guard` for as long as the reader is there.
#[derive(Debug)]
pub struct OpenStream {
    /// The frames.
    pub log: Arc<StreamLog>,
    /// From where on this reader reads them.
    pub place: Place,
    /// Counts this reader.
    pub guard: ReaderGuard,
}

/// One task of one tenant: the key that clients know it by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskKey {
    pub(crate) tenant: TenantId,
    pub(crate) task_id: Uuid,
}

/// Counts one reader of a stream, until it is dropped.
///
/// When the last reader of a task with `on_disconnect: cancel` leaves before the end, the task is
/// cancelled.
#[derive(Debug)]
pub struct ReaderGuard {
    key: TaskKey,
    departures: mpsc::UnboundedSender<TaskKey>,
}

impl ReaderGuard {
    pub(crate) fn new(key: TaskKey, departures: mpsc::UnboundedSender<TaskKey>) -> Self {
        Self { key, departures }
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        // After the owner has gone there is nothing left to cancel.
        let _ = self.departures.send(self.key.clone());
    }
}

/// The wait that is suggested when the owner cannot keep up: it is busy for milliseconds at most.
const BUSY_RETRY: Duration = Duration::from_millis(250);
/// The wait that is suggested during a planned stop: about what a restart takes.
const STOPPING_RETRY: Duration = Duration::from_secs(5);

/// Submits, reads, follows and cancels tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskService {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
}

impl TaskService {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            commands,
            snapshot,
            metrics,
            stopping,
        }
    }

    /// Admits a task, or says why not. A repeat of an admitted one gets the same answer again.
    ///
    /// # Errors
    /// See [`SubmitError`]. After an error the task does not exist.
    // spec: ORCH-2001, ORCH-3025, ORCH-3462, OC-CTRL-2010
    pub async fn submit(&self, task: NewTask) -> Result<AdmissionResponse, SubmitError> {
        let engine = task.engine;
        let admitted = self.try_submit(task).await;
        if let Err(refusal) = &admitted {
            self.metrics.task_rejected(engine, refusal.code());
            if matches!(refusal, SubmitError::Overloaded { .. }) {
                self.metrics.backpressure(engine, FullPolicy::Reject);
            }
            let reason = refusal.code().as_str();
            let human = "a task was not admitted";
            tracing::info!(%engine, reason, cause = %refusal, human, "task refused");
        }
        admitted
    }

    async fn try_submit(&self, task: NewTask) -> Result<AdmissionResponse, SubmitError> {
        let key = task.key();
        let body_hash = task.body_hash;
        let (reply, answer) = oneshot::channel();
        let earlier = self
            .ask(
                Command::Recall {
                    key,
                    body_hash,
                    reply,
                },
                answer,
            )
            .await??;
        if let Some(admission) = earlier {
            return Ok(admission);
        }
        let view = Arc::clone(&self.snapshot.borrow());
        let checked = admission::check(task, &view.fleet).await?;
        // Looked at last: the check may take a while, and a repeat admits nothing.
        if self.stopping.is_cancelled() {
            return Err(SubmitError::Stopping {
                retry_after: STOPPING_RETRY,
            });
        }
        let (reply, answer) = oneshot::channel();
        self.ask(
            Command::Submit {
                task: Box::new(checked),
                reply,
            },
            answer,
        )
        .await?
    }

    /// How the task stands, or ended.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], or [`TaskError::Stopping`].
    pub async fn status(&self, tenant: &TenantId, task_id: Uuid) -> Result<TaskStatus, TaskError> {
        let key = TaskKey {
            tenant: tenant.clone(),
            task_id,
        };
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Status { key, reply }, answer).await
    }

    /// Cancels the task, if it has not ended. No token is added to its stream afterwards.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], or [`TaskError::Stopping`].
    // spec: ORCH-2003, ORCH-3026, OC-CTRL-2012
    pub async fn cancel(&self, tenant: &TenantId, task_id: Uuid) -> Result<(), TaskError> {
        let key = TaskKey {
            tenant: tenant.clone(),
            task_id,
        };
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Cancel { key, reply }, answer).await
    }

    /// Gives access to the task's stream: behind `resume`, or from its beginning. Only a call that
    /// succeeds makes a reader.
    ///
    /// # Errors
    /// [`TaskError`].
    // spec: ORCH-2002, ORCH-3401
    pub async fn open_stream(
        &self,
        tenant: &TenantId,
        task_id: Uuid,
        resume: Option<Position>,
    ) -> Result<OpenStream, TaskError> {
        let key = TaskKey {
            tenant: tenant.clone(),
            task_id,
        };
        let (reply, answer) = oneshot::channel();
        let command = Command::Open { key, resume, reply };
        self.tell(command, answer).await
    }

    /// Resolves when no admitted task is left to end.
    pub async fn idle(&self) {
        let mut snapshot = self.snapshot.clone();
        // An owner that has gone has nothing left to end either.
        let _ = snapshot.wait_for(|view| view.live_tasks == 0).await;
    }

    /// A command of an admission: where the owner is behind, the client is told to come back.
    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, SubmitError> {
        self.commands
            .try_send(command)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => SubmitError::Overloaded {
                    retry_after: BUSY_RETRY,
                },
                mpsc::error::TrySendError::Closed(_) => SubmitError::Stopping {
                    retry_after: STOPPING_RETRY,
                },
            })?;
        answer.await.map_err(|_| SubmitError::Stopping {
            retry_after: STOPPING_RETRY,
        })
    }

    /// A command about a task that exists: it waits for its turn, so that a cancel is never refused.
    async fn tell<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, TaskError>>,
    ) -> Result<T, TaskError> {
        self.commands
            .send(command)
            .await
            .map_err(|_| TaskError::Stopping)?;
        answer.await.map_err(|_| TaskError::Stopping)?
    }
}

impl NewTask {
    pub(crate) fn key(&self) -> TaskKey {
        TaskKey {
            tenant: self.tenant.clone(),
            task_id: self.task_id,
        }
    }
}
