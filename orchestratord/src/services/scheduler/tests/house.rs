//! Running services with mock workers, and short words for what tests do with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::kind::{
    Determinism, DeviceClass, EngineName, FullQueuePolicy, OnDisconnect, Workload,
};
use contracts_api_types::node::{
    NodeState, PoolState, PoolTimeouts, QueueBounds, ReplicaState, WorkerEndpoint, WorkerPhase,
};
use contracts_api_types::task::{TaskState, TaskStatus};
use contracts_sse::{Decoder, Event};
use futures_util::StreamExt;
use orchestrator_core::engine::Engine;
use orchestrator_core::ids::{NodeId, TenantId};
use orchestrator_core::priority::Priority;
use orchestrator_core::scheduler::Limits;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_adapter_api::sampling::Sampling;
use worker_adapters_mock::MockAdapter;

use crate::services::adapters::{AdapterFactory, AdapterRegistry};
use crate::services::stream_log::{Pace, Place, StreamLog};
use crate::services::tasks::NewTask;
use crate::services::{Bounds, Retention, Services, StopTokens};
use crate::telemetry::metrics::Metrics;

/// Longer than anything in a test takes, on the test's own clock.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Services whose workers are mocks.
pub(super) struct House {
    pub(super) services: Services,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: StopTokens,
    workers: BTreeMap<String, Arc<MockAdapter>>,
    agent: Uuid,
    seq: u64,
}

/// What is kept in tests unless they say otherwise: a little of everything.
pub(super) const RETENTION: Retention = Retention {
    stream: Duration::from_secs(600),
    task: Duration::from_secs(7 * 24 * 3600),
    bytes: 1 << 20,
    tasks: 100,
};

impl House {
    /// Services that know these workers, each with that many slots. No node has registered yet.
    pub(super) fn empty(workers: &[(&str, u32)], retention: Retention) -> Self {
        let workers: BTreeMap<_, _> = workers
            .iter()
            .map(|(name, slots)| ((*name).to_owned(), Arc::new(MockAdapter::new(*slots))))
            .collect();
        let known = workers.clone();
        let factory: AdapterFactory = Arc::new(move |endpoint: &WorkerEndpoint| {
            let worker = known.get(&endpoint.url).ok_or("no such worker")?;
            Ok(Arc::clone(worker) as Arc<dyn WorkerAdapter>)
        });
        let registry = AdapterRegistry::new([(Engine::LlamaCpp, factory)]);
        let default_deadline = Duration::from_secs(600);
        let bounds = Bounds {
            core: Limits::STANDARD,
            retention,
            default_deadline,
        };
        let (metrics, stop) = (Arc::new(Metrics::new()), StopTokens::default());
        let services = Services::start(
            bounds,
            registry,
            Arc::clone(&metrics),
            &stop,
            &TaskTracker::new(),
        );
        Self {
            services,
            metrics,
            stop,
            workers,
            agent: Uuid::from_u128(1),
            seq: 0,
        }
    }

    /// Services with one pool `p` of one ready replica for each worker.
    pub(super) async fn with(workers: &[(&str, u32)]) -> Self {
        Self::keeping(workers, RETENTION).await
    }

    pub(super) async fn keeping(workers: &[(&str, u32)], retention: Retention) -> Self {
        let mut house = Self::empty(workers, retention);
        let replicas: Vec<_> = workers.iter().map(|(name, _)| ready(name, 1)).collect();
        house.push(vec![pool("p", workers[0].1, replicas)]).await;
        house
    }

    pub(super) fn worker(&self, name: &str) -> &Arc<MockAdapter> {
        &self.workers[name]
    }

    /// Registers the node's whole state.
    pub(super) async fn push(&mut self, pools: Vec<PoolState>) {
        self.seq += 1;
        let state = node_state(self.agent, self.seq, pools);
        self.services.nodes.push(node("n"), state).await.unwrap();
    }

    /// Admits a task that must be admitted.
    pub(super) async fn submit(&self, task: NewTask) -> Uuid {
        self.services.tasks.submit(task).await.unwrap().task_id
    }

    pub(super) async fn status(&self, task: Uuid) -> TaskStatus {
        self.services.tasks.status(&tenant(), task).await.unwrap()
    }

    pub(super) async fn cancel(&self, task: Uuid) {
        self.services.tasks.cancel(&tenant(), task).await.unwrap();
    }

    /// Every frame of a task, to its end.
    pub(super) async fn read(&self, task: Uuid) -> Vec<Event> {
        let open = self
            .services
            .tasks
            .open_stream(&tenant(), task, None)
            .await
            .unwrap();
        frames(&bytes_of(open.log).await)
    }

    /// Waits until the task is in this state.
    pub(super) async fn until(&self, task: Uuid, wanted: TaskState) {
        self.until_status(task, |status| status.state == wanted)
            .await;
    }

    /// Waits until the task's status is as wanted.
    pub(super) async fn until_status(&self, task: Uuid, wanted: impl Fn(&TaskStatus) -> bool) {
        let reached = async {
            while !wanted(&self.status(task).await) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("the task gets there");
    }

    /// Busy slots and queued tasks of pool `p`.
    pub(super) fn load(&self) -> (u32, u64) {
        let figures = self.services.nodes.pool_health("p").unwrap().metrics;
        (figures.busy, figures.queued)
    }

    /// Waits until pool `p` has so many busy slots and queued tasks.
    pub(super) async fn until_load(&self, busy: u32, queued: u64) {
        let reached = async {
            while self.load() != (busy, queued) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("the load gets there");
    }

    /// Whether a line of `/metrics` begins so and ends with this value.
    pub(super) fn counts(&self, series: &str, labels: &str, value: &str) -> bool {
        let text = self.metrics.render();
        let is_meant = |line: &&str| line.starts_with(series) && line.contains(labels);
        text.lines()
            .filter(is_meant)
            .any(|line| line.ends_with(&format!(" {value}")))
    }
}

/// Every byte of a log, to its end.
pub(super) async fn bytes_of(log: Arc<StreamLog>) -> Vec<u8> {
    let pace = Pace {
        ping: PATIENCE,
        close: CancellationToken::new(),
    };
    let chunks = Box::pin(log.read(Place::default(), pace)).collect::<Vec<_>>();
    tokio::time::timeout(PATIENCE, chunks)
        .await
        .expect("the stream ends")
        .concat()
}

pub(super) fn frames(bytes: &[u8]) -> Vec<Event> {
    Decoder::new().push(bytes).unwrap()
}

/// The names of the frames, in order.
pub(super) fn names(frames: &[Event]) -> Vec<&str> {
    frames.iter().map(|frame| frame.name.as_str()).collect()
}

/// The data of the one frame of this name.
#[track_caller]
pub(super) fn data(frames: &[Event], name: &str) -> Value {
    let mut found = frames.iter().filter(|frame| frame.name == name);
    let frame = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {frames:?}"));
    assert!(found.next().is_none(), "more than one {name} in {frames:?}");
    serde_json::from_str(&frame.data).unwrap()
}

/// The text of all token frames.
pub(super) fn text(frames: &[Event]) -> String {
    let tokens = frames.iter().filter(|frame| frame.name == "token");
    let pieces = tokens.map(|frame| {
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        data["t"].as_str().unwrap().to_owned()
    });
    pieces.collect()
}

pub(super) fn tenant() -> TenantId {
    TenantId::parse("home").unwrap()
}

pub(super) fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

/// A task of an own id for the model of the test pools.
pub(super) fn task(number: u128) -> NewTask {
    NewTask {
        tenant: tenant(),
        client: "dev".into(),
        task_id: Uuid::from_u128(number),
        session_id: None,
        correlation_id: format!("c-{number}"),
        body_hash: [7; 32],
        workload: Workload::Completion,
        model_ref: "tiny".into(),
        engine: Engine::LlamaCpp,
        ctx: None,
        priority: Priority::Interactive,
        seed: Some(42),
        determinism: Determinism::Strict,
        sampler_profile: "v1".into(),
        sampling: Sampling::profile_v1(),
        prompt: "two words".into(),
        max_tokens: 8,
        deadline: None,
        expected_tokens: None,
        on_disconnect: OnDisconnect::Keep,
        labels: BTreeMap::new(),
    }
}

pub(super) fn node_state(incarnation: Uuid, seq: u64, pools: Vec<PoolState>) -> NodeState {
    NodeState {
        incarnation,
        seq,
        version: "0".into(),
        api_url: "http://127.0.0.1:9200".into(),
        devices: Vec::new(),
        pools,
    }
}

pub(super) fn pool(id: &str, slots: u32, replicas: Vec<ReplicaState>) -> PoolState {
    PoolState {
        id: id.into(),
        engine: EngineName::LlamaCpp,
        model_ref: "file:/models/tiny.gguf".into(),
        aliases: vec!["the-model".into()],
        model_digest: Some("sha256:abc".into()),
        engine_version: Some("b1".into()),
        ctx: 64,
        slots,
        device_class: DeviceClass::CpuCi,
        sampler_profile_version: "v1".into(),
        workloads: vec![Workload::Completion],
        queue: QueueBounds {
            capacity: 2,
            bytes: 1 << 16,
            interactive_full: FullQueuePolicy::Reject,
            batch_full: FullQueuePolicy::Reject,
        },
        timeouts: PoolTimeouts {
            first_token_ms: 30_000,
            gap_ms: 30_000,
        },
        replicas,
    }
}

/// A ready replica whose endpoint is the worker of the same name.
pub(super) fn ready(name: &str, start: u64) -> ReplicaState {
    ReplicaState {
        id: name.into(),
        phase: WorkerPhase::Ready,
        start,
        cause: None,
        eta_ms: None,
        endpoint: Some(WorkerEndpoint {
            url: name.into(),
            api_key: Some("secret".into()),
        }),
        devices: Vec::new(),
        vram_free_bytes: 0,
        restarts: start - 1,
    }
}

/// A replica that is coming up.
pub(super) fn starting(name: &str, start: u64, eta_ms: u64) -> ReplicaState {
    ReplicaState {
        phase: WorkerPhase::Preloading,
        eta_ms: Some(eta_ms),
        endpoint: None,
        cause: Some("the model is loading".into()),
        ..ready(name, start)
    }
}
