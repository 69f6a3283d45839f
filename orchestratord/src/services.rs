//! What the daemon does: admission, scheduling, dispatch, streams and nodes.
//!
//! One owner task ([`scheduler`]) holds all state: the core's scheduler, the tasks and the nodes.
//! Everyone else holds a cheap handle, [`tasks::TaskService`] or [`nodes::NodeService`], that sends
//! it commands, or reads the snapshot it publishes.
//!
//! Not here: HTTP and wire checks (`api`), decisions (`orchestrator-core`), engine dialects
//! (`worker-adapters`).

pub mod nodes;
pub mod tasks;

pub mod adapters;
pub mod clock;
pub mod stream_log;
pub mod wire;

mod admission;
mod book;
mod catalog;
mod dispatch;
mod fleet;
mod narration;
mod scheduler;
mod snapshot;

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use book::Retention;
pub use scheduler::Bounds;

use crate::telemetry::metrics::Metrics;
use adapters::AdapterRegistry;
use clock::Clock;
use nodes::NodeService;
use scheduler::{Doors, Owner};
use tasks::TaskService;

/// How the services are told to stop, in this order.
#[derive(Clone, Debug, Default)]
pub struct StopTokens {
    /// No task is admitted any more; what was admitted goes on.
    pub admission: CancellationToken,
    /// Everything ends at once.
    pub halt: CancellationToken,
}

/// The running services.
#[derive(Debug)]
pub struct Services {
    /// For tasks.
    pub tasks: TaskService,
    /// For nodes and pools.
    pub nodes: NodeService,
    /// The owner task. It ends after `halt`; an earlier end is a defect.
    pub owner: JoinHandle<()>,
}

impl Services {
    /// Starts the owner task on `tracker`.
    #[must_use]
    pub fn start(
        bounds: Bounds,
        registry: AdapterRegistry,
        metrics: Arc<Metrics>,
        stop: &StopTokens,
        tracker: &TaskTracker,
    ) -> Self {
        let clock = Clock::start();
        let (owner, Doors { commands, snapshot }) =
            Owner::new(bounds, registry, clock, Arc::clone(&metrics));
        let admission = &stop.admission;
        Self {
            tasks: TaskService::new(
                commands.clone(),
                snapshot.clone(),
                metrics,
                admission.clone(),
            ),
            nodes: NodeService::new(commands, snapshot, clock, admission.clone()),
            owner: tracker.spawn(owner.run(stop.halt.clone())),
        }
    }
}
