//! The handle through which agents register and operators look at nodes and pools.
//!
//! Reads come from the snapshot that the owner task publishes; only a push is a command.

use std::sync::Arc;

use contracts_api_types::capability::Capabilities;
use contracts_api_types::node::{NodeLease, NodeState, NodeSummary};
use contracts_api_types::pool::{PoolHealth, PoolSummary};
use orchestrator_core::ids::NodeId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::services::clock::Clock;
use crate::services::scheduler::{Command, Snapshot};

/// Why a push was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// CONFLICT.
    #[error("the pool {pool} belongs to the node {owner}; pool ids are unique over all nodes")]
    PoolTaken {
        /// The pool.
        pool: String,
        /// The live node that has it.
        owner: NodeId,
    },
    /// INVALID_PARAMS.
    #[error("`{field}` {problem}")]
    BadField {
        /// The field's path.
        field: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// POOL_UNAVAILABLE: the daemon is going down.
    #[error("this server is stopping; try again later")]
    Stopping,
}

/// Why no task can be admitted now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// A planned stop has begun.
    #[error("this server is stopping")]
    Stopping,
    /// No agent has registered a pool.
    #[error("no pool is registered; start pool-managerd")]
    NoPool,
    /// No pool has a ready replica.
    #[error("no replica is ready: {cause}")]
    NoReplica {
        /// Why, of the first pool.
        cause: String,
    },
}

/// Registers nodes and shows nodes, pools and capabilities. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeService {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    clock: Clock,
    stopping: CancellationToken,
}

impl NodeService {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        clock: Clock,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            commands,
            snapshot,
            clock,
            stopping,
        }
    }

    /// Takes a node's whole state and renews its lease. An outdated state changes nothing.
    ///
    /// # Errors
    /// See [`PushError`].
    // spec: ORCH-3403, ORCH-3440
    pub async fn push(&self, node: NodeId, state: NodeState) -> Result<NodeLease, PushError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Push {
            node,
            state: Box::new(state),
            reply,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| PushError::Stopping)?;
        answer.await.map_err(|_| PushError::Stopping)?
    }

    /// Every pool, by id.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolSummary> {
        self.snapshot.borrow().pools()
    }

    /// How a pool does, if it is known.
    // spec: ORCH-2103, OC-CTRL-2001
    #[must_use]
    pub fn pool_health(&self, pool: &str) -> Option<PoolHealth> {
        self.snapshot.borrow().pool_health(pool)
    }

    /// Every node, by id.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeSummary> {
        self.snapshot.borrow().nodes(self.clock.now())
    }

    /// What this installation can do.
    // spec: ORCH-3095, OC-CTRL-2060
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.snapshot.borrow().capabilities()
    }

    /// Whether a task that is submitted now can start now.
    ///
    /// # Errors
    /// [`NotReady`] says what is missing.
    // spec: OC-CTRL-2139
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.stopping.is_cancelled() {
            return Err(NotReady::Stopping);
        }
        self.snapshot.borrow().readiness()
    }
}
