//! One task: what was asked, what was promised, how it stands, how it ended.

use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::kind::{DeviceClass, OnDisconnect};
use contracts_api_types::stream::{MetricsEvent, StartedEvent};
use contracts_api_types::task::{
    AdmissionResponse, FinishReason, TaskFailure, TaskPlacement, TaskState, TaskStatus,
};
use orchestrator_core::action::Admission;
use orchestrator_core::engine::Engine;
use orchestrator_core::fleet::SetKey;
use orchestrator_core::ids::{PoolId, ReplicaId};
use orchestrator_core::priority::Priority;
use orchestrator_core::time::MonoTime;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_adapters_adapter_api::error::AdapterError;
use worker_adapters_adapter_api::generation::Completion;

use crate::services::admission::CheckedTask;
use crate::services::clock::unix_ms;
use crate::services::stream_log::StreamLog;
use crate::services::tasks::{NewTask, TaskKey};
use crate::services::wire::{engine_name, millis, priority_class};
use crate::telemetry::metrics::{CancelReason, PoolLabels, ReplicaLabels};

/// One task.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: TaskKey,
    pub(crate) body_hash: [u8; 32],
    pub(crate) session_id: Uuid,
    pub(crate) correlation_id: String,
    pub(crate) client: Arc<str>,
    pub(crate) engine: Engine,
    pub(crate) model_ref: String,
    pub(crate) priority: Priority,
    /// Time from admission to the end, where the client asked for one.
    pub(crate) deadline: Option<Duration>,
    pub(crate) seed: u32,
    pub(crate) cancel_on_disconnect: bool,
    pub(crate) readers: usize,
    pub(crate) set: SetKey,
    /// The set's first pool: what queued work is counted under.
    pub(crate) first_pool: PoolId,
    pub(crate) promise: Admission,
    pub(crate) admitted: MonoTime,
    pub(crate) admitted_unix_ms: u64,
    /// Its frames, while they are kept.
    pub(crate) log: Option<Arc<StreamLog>>,
    /// What is sent to an engine, until the end.
    pub(crate) work: Option<Arc<NewTask>>,
    pub(crate) stage: Stage,
    /// Where it runs or ran last.
    pub(crate) placement: Option<Placement>,
    pub(crate) first_dispatch: Option<MonoTime>,
    pub(crate) started_shown: bool,
    pub(crate) first_text: Option<MonoTime>,
    /// The engine's account, once it gave one.
    pub(crate) completion: Option<Completion>,
    /// The last attempt's failure, in the adapter's words.
    pub(crate) fault: Option<AdapterError>,
    pub(crate) cancel_reason: Option<CancelReason>,
    pub(crate) end: Option<TaskEnd>,
}

/// Where a task stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It waits for a slot.
    Queued,
    /// An attempt runs. The token stops it and lets it see to its slot; the handle, which is there
    /// once it was spawned, ends it at once.
    Running {
        attempt: u32,
        stop: CancellationToken,
        handle: Option<AbortHandle>,
    },
    /// It has ended.
    Ended,
}

/// Where an attempt runs. Records outlive pools and workers by days, so nothing here holds either.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) pool_id: PoolId,
    pub(crate) replica_id: ReplicaId,
    pub(crate) incarnation: u64,
    pub(crate) device_class: DeviceClass,
    pub(crate) kv_warm: bool,
    pub(crate) attempts: u32,
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(crate) struct TaskEnd {
    pub(crate) state: TaskState,
    pub(crate) finish_reason: Option<FinishReason>,
    pub(crate) text_digest: Option<String>,
    pub(crate) failure: Option<TaskFailure>,
    pub(crate) at: MonoTime,
}

impl Record {
    /// The record of a task that was admitted now.
    pub(crate) fn new(
        checked: CheckedTask,
        first_pool: PoolId,
        promise: Admission,
        now: MonoTime,
    ) -> Self {
        let CheckedTask {
            task, set, seed, ..
        } = checked;
        Self {
            key: task.key(),
            body_hash: task.body_hash,
            session_id: task.session_id.unwrap_or_else(Uuid::new_v4),
            correlation_id: task.correlation_id.clone(),
            client: Arc::clone(&task.client),
            engine: task.engine,
            model_ref: task.model_ref.clone(),
            priority: task.priority,
            deadline: task.deadline,
            seed,
            cancel_on_disconnect: matches!(task.on_disconnect, OnDisconnect::Cancel),
            readers: 0,
            set,
            first_pool,
            promise,
            admitted: now,
            admitted_unix_ms: unix_ms(),
            log: Some(Arc::new(StreamLog::new())),
            work: Some(Arc::new(task)),
            stage: Stage::Queued,
            placement: None,
            first_dispatch: None,
            started_shown: false,
            first_text: None,
            completion: None,
            fault: None,
            cancel_reason: None,
            end: None,
        }
    }

    /// Whether this attempt is the one that runs.
    pub(crate) fn runs(&self, wanted: u32) -> bool {
        matches!(self.stage, Stage::Running { attempt, .. } if attempt == wanted)
    }

    /// Time between admission and the first start; so far, or up to the end, without one.
    pub(crate) fn queue_time(&self, now: MonoTime) -> Duration {
        let ended = self.end.as_ref().map(|end| end.at);
        self.first_dispatch
            .or(ended)
            .unwrap_or(now)
            .since(self.admitted)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// The answer to the submission, the same for every repeat of it.
    // spec: ORCH-3462
    pub(crate) fn admission(&self) -> AdmissionResponse {
        AdmissionResponse {
            task_id: self.key.task_id,
            session_id: self.session_id,
            correlation_id: self.correlation_id.clone(),
            queue_position: self.promise.queue_position as u64,
            predicted_start_ms: millis(self.promise.predicted_start),
            // A client that waits until its last task has started never fills the queue.
            backoff_ms: millis(self.promise.predicted_start),
            on_time_probability: self.promise.on_time_probability,
            stream_url: format!("/v1/tasks/{}/stream", self.key.task_id),
        }
    }

    // spec: OC-CTRL-2021, ORCH-3476
    pub(crate) fn started_event(&self, at: &Placement) -> StartedEvent {
        StartedEvent {
            queue_position: self.promise.queue_position as u64,
            predicted_start_ms: millis(self.promise.predicted_start),
            engine: engine_name(self.engine),
            engine_version: self.set.engine_version.to_string(),
            model_digest: self.set.model_digest.to_string(),
            pool_id: at.pool_id.to_string(),
            replica_id: at.replica_id.to_string(),
            device_class: at.device_class,
            kv_warmth: at.kv_warm,
            seed: self.seed,
        }
    }

    // spec: OC-CTRL-2023
    pub(crate) fn metrics_event(&self, at: &Placement, queue_depth: u64) -> MetricsEvent {
        MetricsEvent {
            queue_depth,
            on_time_probability: self.promise.on_time_probability,
            kv_warmth: at.kv_warm,
        }
    }

    /// How it stands. `position` counts only while it is queued.
    pub(crate) fn status(&self, position: Option<usize>, now: MonoTime) -> TaskStatus {
        let end = self.end.as_ref();
        TaskStatus {
            task_id: self.key.task_id,
            session_id: self.session_id,
            correlation_id: self.correlation_id.clone(),
            state: self.state(),
            engine: engine_name(self.engine),
            model_ref: self.model_ref.clone(),
            priority: priority_class(self.priority),
            seed: self.seed,
            queue_position: position.map(|ahead| ahead as u64),
            predicted_start_ms: millis(self.promise.predicted_start),
            admitted_unix_ms: self.admitted_unix_ms,
            queue_time_ms: millis(self.queue_time(now)),
            first_token_ms: self.first_text.map(|at| millis(at.since(self.admitted))),
            decode_time_ms: self.completion.map(|done| millis(done.decode)),
            tokens_in: self.completion.map(|done| done.tokens_in),
            tokens_out: self.completion.map(|done| done.tokens_out),
            placement: self.placement.as_ref().map(|at| self.task_placement(at)),
            finish_reason: end.and_then(|end| end.finish_reason),
            text_digest: end.and_then(|end| end.text_digest.clone()),
            error: end.and_then(|end| end.failure.clone()),
        }
    }

    fn state(&self) -> TaskState {
        match (&self.stage, &self.end) {
            (_, Some(end)) => end.state,
            (Stage::Running { .. }, None) => TaskState::Running,
            (Stage::Queued | Stage::Ended, None) => TaskState::Queued,
        }
    }

    fn task_placement(&self, at: &Placement) -> TaskPlacement {
        TaskPlacement {
            pool_id: at.pool_id.to_string(),
            replica_id: at.replica_id.to_string(),
            engine_version: self.set.engine_version.to_string(),
            model_digest: self.set.model_digest.to_string(),
            device_class: at.device_class,
            attempts: at.attempts,
        }
    }

    /// The pool that its series are about.
    pub(crate) fn pool_labels(&self) -> PoolLabels<'_> {
        let pool = self
            .placement
            .as_ref()
            .map_or(&self.first_pool, |at| &at.pool_id);
        PoolLabels {
            engine: self.engine,
            engine_version: &self.set.engine_version,
            pool_id: pool.as_str(),
        }
    }

    /// The replica that its series are about.
    pub(crate) fn labels(&self) -> ReplicaLabels<'_> {
        let replica_id = self.placement.as_ref().map(|at| at.replica_id.as_str());
        ReplicaLabels {
            pool: self.pool_labels(),
            replica_id,
        }
    }
}
