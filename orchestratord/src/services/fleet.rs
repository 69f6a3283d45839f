//! Nodes, their leases, and the pools and workers that they report.
//!
//! ```text
//!            push                    no push for a lease          no push for long, nothing runs
//! unknown ────────▶ live ◀─── push ── lapsed ──────────────────▶ forgotten
//! ```
//!
//! # Invariants
//! - The newest state of a node is the only one that counts: an outdated push changes nothing.
//! - A pool belongs to one node. A live node's pool cannot be taken by another.
//! - A worker process has one number of ours, whatever its agent calls it, and one adapter.
//! - A worker's key stays in its adapter and its endpoint; what is shown does not hold it.
//!
//! Not here: which replica gets a task (`orchestrator-core`), how workers are started
//! (pool-managerd).

mod check;
mod pool;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::node::{DeviceStatus, NodeLease, NodeState};
use orchestrator_core::event::Event;
use orchestrator_core::fleet::SetKey;
use orchestrator_core::ids::{NodeId, PoolId, ReplicaId};
use orchestrator_core::time::MonoTime;
use uuid::Uuid;

pub(crate) use pool::Pool;

use crate::services::adapters::AdapterRegistry;
use crate::services::nodes::PushError;
use crate::services::wire::millis;

/// How long a push is good for. Three renewals may be lost before a node lapses, so that one lost
/// packet or one slow second takes no replica out of placement.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// How often an agent is asked to push.
const RENEW: Duration = Duration::from_secs(3);
/// How long a lapsed node is remembered: an agent that is restarted by its supervisor is back well
/// before, and queued tasks of a node that is really gone do not wait for their deadline.
pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(70);
/// Earlier incarnations that are remembered per node, to tell a late push from a new agent.
const REPLACED_MAX: usize = 8;

/// A node as its agent reported it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) incarnation: Uuid,
    pub(crate) version: String,
    pub(crate) api_url: String,
    pub(crate) devices: Vec<DeviceStatus>,
    pub(crate) pools: BTreeSet<PoolId>,
    pub(crate) live: bool,
    pub(crate) last_push: MonoTime,
    seq: u64,
    forget_at: MonoTime,
    replaced: VecDeque<Uuid>,
}

/// What is known of all nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct FleetView {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) pools: BTreeMap<PoolId, Arc<Pool>>,
}

impl FleetView {
    /// Whether the lease of the pool's node holds.
    pub(crate) fn is_live(&self, pool: &Pool) -> bool {
        self.nodes.get(&pool.node).is_some_and(|node| node.live)
    }

    /// The first pool of a set by id: what queued work of the set is counted under.
    pub(crate) fn first_pool(&self, set: &SetKey) -> Option<PoolId> {
        let mut pools = self.pools.iter();
        pools
            .find(|(_, pool)| pool.set.as_ref() == Some(set))
            .map(|(id, _)| id.clone())
    }
}

/// The nodes and what they report, kept by the owner task.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Shared with the snapshots, and copied only when it changes while one of them lives.
    view: Arc<FleetView>,
    registry: AdapterRegistry,
    /// The last number given to a worker process.
    processes: u64,
}

impl Fleet {
    pub(crate) fn new(registry: AdapterRegistry) -> Self {
        Self {
            view: Arc::default(),
            registry,
            processes: 0,
        }
    }

    pub(crate) fn view(&self) -> &Arc<FleetView> {
        &self.view
    }

    /// The answer to every push that is taken.
    pub(crate) fn lease() -> NodeLease {
        NodeLease {
            lease_ms: millis(LEASE),
            renew_ms: millis(RENEW),
        }
    }

    /// Takes a node's state and says what that means for the scheduler.
    // spec: ORCH-3403, ORCH-3441
    pub(crate) fn push(
        &mut self,
        node: &NodeId,
        state: NodeState,
        now: MonoTime,
    ) -> Result<Vec<Event>, PushError> {
        let pools = check::pools(&state)?;
        if self.is_outdated(node, &state) {
            return Ok(Vec::new());
        }
        self.check_owners(node, pools.keys())?;
        check::room(&self.view, node)?;
        let mut events = self.drop_missing(node, pools.keys().cloned().collect());
        self.renew(node, &state, pools.keys().cloned().collect(), now);
        for (id, reported) in pools {
            let earlier = self.view.pools.get(&id);
            let pool = Pool::merge(node, state.incarnation, reported, earlier, || {
                self.processes += 1;
                self.processes
            });
            let pool = pool.connected(&self.registry);
            events.extend(pool.event(&id, true, earlier.is_some_and(|known| known.set.is_some())));
            self.view_mut().pools.insert(id, Arc::new(pool));
        }
        Ok(events)
    }

    /// Notes that a process could not be reached. Until its agent reports again it takes no work:
    /// the news of its death is on its way, and every task that tried it would lose an attempt.
    // spec: ORCH-3010
    pub(crate) fn doubt(
        &mut self,
        pool: &PoolId,
        replica: &ReplicaId,
        incarnation: u64,
    ) -> Option<Event> {
        let known = self.view_mut().pools.get_mut(pool)?;
        *known = Arc::new(known.doubting(replica, incarnation)?);
        let known = Arc::clone(known);
        known.event(pool, self.view.is_live(&known), true)
    }

    /// Lets leases lapse and forgets nodes. `busy` says whether a task runs in a pool.
    // spec: ORCH-3440
    pub(crate) fn pass(&mut self, now: MonoTime, busy: impl Fn(&PoolId) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let due: Vec<NodeId> = self
            .view
            .nodes
            .iter()
            .filter(|(_, node)| node.due() <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some(node) = self.view_mut().nodes.get_mut(&id) else {
                continue;
            };
            if node.live {
                node.live = false;
                node.forget_at = node.last_push.after(FORGET_AFTER);
                let pools = node.pools.clone();
                tracing::warn!(node_id = %id, human = "an agent has not been heard of for too long, so its replicas get no new work", "lease lapsed");
                events.extend(
                    pools
                        .iter()
                        .filter_map(|pool| self.view.pools.get(pool)?.event(pool, false, false)),
                );
            } else if node.pools.iter().any(&busy) {
                node.forget_at = now.after(LEASE);
            } else {
                tracing::warn!(node_id = %id, human = "an agent has been silent for so long that its pools are forgotten", "node forgotten");
                events.extend(self.drop_missing(&id, BTreeSet::new()));
                self.view_mut().nodes.remove(&id);
            }
        }
        events
    }

    fn view_mut(&mut self) -> &mut FleetView {
        Arc::make_mut(&mut self.view)
    }

    /// When [`Fleet::pass`] has something to do.
    pub(crate) fn next_due(&self) -> Option<MonoTime> {
        self.view.nodes.values().map(Node::due).min()
    }

    fn is_outdated(&self, node: &NodeId, state: &NodeState) -> bool {
        self.view.nodes.get(node).is_some_and(|known| {
            let repeated = known.incarnation == state.incarnation && state.seq <= known.seq;
            repeated || known.replaced.contains(&state.incarnation)
        })
    }

    fn check_owners<'a>(
        &self,
        node: &NodeId,
        pools: impl Iterator<Item = &'a PoolId>,
    ) -> Result<(), PushError> {
        for id in pools {
            if let Some(pool) = self.view.pools.get(id)
                && pool.node != *node
                && self.view.is_live(pool)
            {
                return Err(PushError::PoolTaken {
                    pool: id.to_string(),
                    owner: pool.node.clone(),
                });
            }
        }
        Ok(())
    }

    /// Forgets the node's pools that are not in `kept`.
    fn drop_missing(&mut self, node: &NodeId, kept: BTreeSet<PoolId>) -> Vec<Event> {
        let Some(known) = self.view.nodes.get(node) else {
            return Vec::new();
        };
        let gone: Vec<PoolId> = known.pools.difference(&kept).cloned().collect();
        let gone = gone.into_iter().filter(|id| {
            // A pool that another node has taken over is not this one's to remove.
            let ours = self
                .view
                .pools
                .get(id)
                .is_some_and(|pool| pool.node == *node);
            ours && self
                .view_mut()
                .pools
                .remove(id)
                .is_some_and(|pool| pool.set.is_some())
        });
        gone.map(Event::PoolRemoved).collect()
    }

    fn renew(&mut self, node: &NodeId, state: &NodeState, pools: BTreeSet<PoolId>, now: MonoTime) {
        let mut replaced = VecDeque::new();
        if let Some(known) = self.view_mut().nodes.remove(node) {
            replaced = known.replaced;
            if known.incarnation != state.incarnation {
                replaced.push_back(known.incarnation);
                while replaced.len() > REPLACED_MAX {
                    replaced.pop_front();
                }
            }
        }
        let node_view = Node {
            incarnation: state.incarnation,
            version: state.version.clone(),
            api_url: state.api_url.clone(),
            devices: state.devices.clone(),
            pools,
            live: true,
            last_push: now,
            seq: state.seq,
            forget_at: now.after(FORGET_AFTER),
            replaced,
        };
        self.view_mut().nodes.insert(node.clone(), node_view);
    }
}

impl Node {
    /// When it lapses, or is forgotten.
    fn due(&self) -> MonoTime {
        if self.live {
            self.last_push.after(LEASE)
        } else {
            self.forget_at
        }
    }
}

#[cfg(test)]
mod tests;
