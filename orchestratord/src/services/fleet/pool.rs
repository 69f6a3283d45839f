//! A pool as it was last reported, with an adapter for each of its workers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::node::{PoolState, ReplicaState, WorkerEndpoint, WorkerPhase};
use orchestrator_core::event::Event;
use orchestrator_core::fleet::{PoolView, Readiness, ReplicaView, SetKey};
use orchestrator_core::ids::{NodeId, PoolId, ReplicaId};
use orchestrator_core::priority::ByPriority;
use uuid::Uuid;
use worker_adapters_adapter_api::WorkerAdapter;

use crate::services::adapters::AdapterRegistry;
use crate::services::wire::{engine_of, policy_of};

/// The time to readiness that is assumed of a worker whose agent gives none: an engine that
/// restarts with a small model needs less, and one that needs more says so.
const UNTOLD_ETA: Duration = Duration::from_secs(30);

/// A pool as it was last reported.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) node: NodeId,
    /// Without the workers' endpoints.
    pub(crate) state: PoolState,
    /// Its replica set, once digest and version are known.
    pub(crate) set: Option<SetKey>,
    pub(crate) workers: BTreeMap<ReplicaId, Worker>,
}

/// A worker process.
#[derive(Clone)]
pub(crate) struct Worker {
    /// The agent's incarnation and its count of starts: together they name the process.
    process: (Uuid, u64),
    /// Our number of the process.
    pub(crate) incarnation: u64,
    endpoint: Option<WorkerEndpoint>,
    /// A connection to it failed, and its agent has not reported since.
    doubted: bool,
    /// How to speak to it, while its agent says how, or why that is not possible.
    pub(crate) adapter: Option<Result<Arc<dyn WorkerAdapter>, String>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// What is reported now, with the adapters of processes that are still the same.
    pub(super) fn merge(
        node: &NodeId,
        agent: Uuid,
        mut state: PoolState,
        earlier: Option<&Arc<Self>>,
        mut next_process: impl FnMut() -> u64,
    ) -> Self {
        if let Some(earlier) = earlier {
            fill_in(&mut state, &earlier.state);
        }
        let mut workers = BTreeMap::new();
        for replica in &mut state.replicas {
            let Ok(id) = ReplicaId::parse(&replica.id) else {
                continue;
            };
            let process = (agent, replica.start);
            let endpoint = replica.endpoint.take();
            let known = earlier.and_then(|pool| pool.workers.get(&id)).cloned();
            let worker = match known.filter(|worker| worker.process == process) {
                Some(same) if same.endpoint == endpoint => Worker {
                    doubted: false,
                    ..same
                },
                Some(moved) => Worker {
                    endpoint,
                    doubted: false,
                    adapter: None,
                    ..moved
                },
                None => Worker {
                    process,
                    incarnation: next_process(),
                    endpoint,
                    doubted: false,
                    adapter: None,
                },
            };
            workers.insert(id, worker);
        }
        Self {
            node: node.clone(),
            set: set_key(&state),
            state,
            workers,
        }
    }

    /// With an adapter for each worker that has an endpoint.
    pub(super) fn connected(mut self, registry: &AdapterRegistry) -> Self {
        let engine = engine_of(self.state.engine);
        for (id, worker) in &mut self.workers {
            if let (None, Some(endpoint)) = (&worker.adapter, &worker.endpoint) {
                let adapter = registry.connect(engine, endpoint);
                if let Err(problem) = &adapter {
                    tracing::warn!(pool_id = %self.state.id, replica_id = %id, problem, "worker cannot be used");
                }
                worker.adapter = Some(adapter);
            }
        }
        self
    }

    /// The same pool with this process in doubt, if it is there and not yet so.
    pub(super) fn doubting(&self, replica: &ReplicaId, incarnation: u64) -> Option<Self> {
        let mut doubting = self.clone();
        let worker = doubting.workers.get_mut(replica)?;
        if worker.incarnation != incarnation || worker.doubted {
            return None;
        }
        worker.doubted = true;
        Some(doubting)
    }

    /// What the scheduler has to know of it; `was_known` says whether it knew the pool before.
    pub(super) fn event(&self, id: &PoolId, live: bool, was_known: bool) -> Option<Event> {
        match &self.set {
            Some(set) => Some(Event::PoolChanged(self.core_view(id, set, live))),
            None => was_known.then(|| Event::PoolRemoved(id.clone())),
        }
    }

    fn core_view(&self, id: &PoolId, set: &SetKey, live: bool) -> PoolView {
        let queue = &self.state.queue;
        let reported = |(replica, state)| self.replica_view(replica, state, live);
        PoolView {
            pool: id.clone(),
            set: set.clone(),
            capacity: queue.capacity as usize,
            bytes: queue.bytes,
            full_policy: ByPriority {
                interactive: policy_of(queue.interactive_full),
                batch: policy_of(queue.batch_full),
            },
            replicas: self.replicas().map(reported).collect(),
        }
    }

    /// Every replica with its id and what is reported of it.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = ((&ReplicaId, &Worker), &ReplicaState)> {
        self.workers.iter().filter_map(|(id, worker)| {
            let state = self
                .state
                .replicas
                .iter()
                .find(|state| state.id == id.as_str())?;
            Some(((id, worker), state))
        })
    }

    fn replica_view(
        &self,
        (id, worker): (&ReplicaId, &Worker),
        state: &ReplicaState,
        live: bool,
    ) -> ReplicaView {
        ReplicaView {
            replica: id.clone(),
            incarnation: worker.incarnation,
            slots: self.state.slots,
            readiness: if live {
                worker.readiness(state)
            } else {
                Readiness::Unavailable
            },
            free_vram_bytes: state.vram_free_bytes,
        }
    }

    /// Why no replica is ready, in the first one's words.
    pub(crate) fn cause(&self) -> Option<String> {
        self.replicas()
            .find_map(|((_, worker), state)| worker.trouble(state))
    }

    /// Whether a replica takes work, or is expected to: then a task may wait for it.
    pub(crate) fn is_coming_up(&self) -> bool {
        self.replicas()
            .any(|((_, worker), state)| worker.readiness(state) != Readiness::Unavailable)
    }

    /// The replicas that take work.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &Arc<dyn WorkerAdapter>> {
        self.replicas().filter_map(|((_, worker), state)| {
            let ready = worker.readiness(state) == Readiness::Ready;
            worker.adapter().filter(|_| ready)
        })
    }

    /// Every name under which its model can be asked for.
    // spec: ORCH-3450
    pub(crate) fn model_names(&self) -> Vec<String> {
        let state = &self.state;
        let path = state
            .model_ref
            .strip_prefix("file:")
            .unwrap_or(&state.model_ref);
        let file = path.rsplit('/').next().unwrap_or(path);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let mut names = vec![stem.to_owned()];
        let others = [state.model_ref.as_str(), path];
        let others = others.into_iter().chain(state.model_digest.as_deref());
        for name in state.aliases.iter().map(String::as_str).chain(others) {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

impl Worker {
    /// How to speak to it, if that is possible.
    pub(crate) fn adapter(&self) -> Option<&Arc<dyn WorkerAdapter>> {
        self.adapter.as_ref()?.as_ref().ok()
    }

    fn readiness(&self, state: &ReplicaState) -> Readiness {
        let eta = state.eta_ms.map(Duration::from_millis);
        match state.phase {
            WorkerPhase::Ready if self.doubted => Readiness::Starting { eta: UNTOLD_ETA },
            WorkerPhase::Ready if self.adapter().is_some() => Readiness::Ready,
            WorkerPhase::Ready | WorkerPhase::Draining | WorkerPhase::Broken => {
                Readiness::Unavailable
            }
            // Fetching or building an engine takes as long as it takes.
            WorkerPhase::Provisioning => {
                eta.map_or(Readiness::Unavailable, |eta| Readiness::Starting { eta })
            }
            WorkerPhase::Preflight
            | WorkerPhase::Starting
            | WorkerPhase::Preloading
            | WorkerPhase::SelfTest
            | WorkerPhase::BackingOff => Readiness::Starting {
                eta: eta.unwrap_or(UNTOLD_ETA),
            },
        }
    }

    /// What keeps it from taking work.
    fn trouble(&self, state: &ReplicaState) -> Option<String> {
        if let Some(Err(problem)) = &self.adapter {
            return Some(problem.clone());
        }
        if self.readiness(state) == Readiness::Ready {
            return None;
        }
        Some(match &state.cause {
            Some(cause) => cause.clone(),
            None if self.doubted => {
                format!("the replica {} could not be reached a moment ago", state.id)
            }
            None => format!("the replica {} is {}", state.id, state.phase),
        })
    }
}

/// A new agent does not know digest and version before it has read the file and asked the engine.
/// Until then what was last said of the same model stands, so that queued tasks keep their set.
// spec: ORCH-3468
fn fill_in(state: &mut PoolState, earlier: &PoolState) {
    if state.engine == earlier.engine && state.model_ref == earlier.model_ref {
        state.model_digest = state
            .model_digest
            .take()
            .or_else(|| earlier.model_digest.clone());
        state.engine_version = state
            .engine_version
            .take()
            .or_else(|| earlier.engine_version.clone());
    }
}

fn set_key(state: &PoolState) -> Option<SetKey> {
    Some(SetKey {
        engine: engine_of(state.engine),
        model_digest: state.model_digest.as_deref()?.into(),
        ctx: state.ctx,
        engine_version: state.engine_version.as_deref()?.into(),
        sampler_profile: state.sampler_profile_version.as_str().into(),
        // The digest of a GGUF file is that of its quantised weights.
        quant: "".into(),
    })
}
