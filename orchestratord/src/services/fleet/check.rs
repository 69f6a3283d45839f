//! The form of a push: ids, bounds, and nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use contracts_api_types::node::{NodeState, PoolState};
use orchestrator_core::ids::{NodeId, PoolId, ReplicaId};

use super::FleetView;
use crate::services::nodes::PushError;

/// The most nodes. One that would exceed it is refused; known ones go on.
const NODES_MAX: usize = 1024;
/// The most pools of a node.
const POOLS_MAX: usize = 256;
/// The most replicas of a pool, and slots of a replica.
const REPLICAS_MAX: usize = 256;

fn refuse<T>(field: String, problem: impl Into<String>) -> Result<T, PushError> {
    Err(PushError::BadField {
        field,
        problem: problem.into(),
    })
}

/// Refuses a node that is new when there is no room for it.
pub(super) fn room(view: &FleetView, node: &NodeId) -> Result<(), PushError> {
    if view.nodes.len() >= NODES_MAX && !view.nodes.contains_key(node) {
        return refuse(
            "id".into(),
            format!("is one too many: {NODES_MAX} nodes are registered"),
        );
    }
    Ok(())
}

/// The pools of a push by id.
pub(super) fn pools(state: &NodeState) -> Result<BTreeMap<PoolId, PoolState>, PushError> {
    if state.pools.len() > POOLS_MAX {
        return refuse("pools".into(), format!("has more than {POOLS_MAX} entries"));
    }
    let mut pools = BTreeMap::new();
    for (index, pool) in state.pools.iter().enumerate() {
        let path = format!("pools[{index}]");
        let id = PoolId::parse(&pool.id)
            .or_else(|why| refuse(format!("{path}.id"), format!("is no id: {why}")))?;
        replicas(&path, pool)?;
        if pools.insert(id, pool.clone()).is_some() {
            return refuse(
                format!("{path}.id"),
                format!("is used twice: `{}`", pool.id),
            );
        }
    }
    Ok(pools)
}

fn replicas(path: &str, pool: &PoolState) -> Result<(), PushError> {
    if pool.ctx == 0 {
        return refuse(format!("{path}.ctx"), "must be at least 1");
    }
    if pool.slots as usize > REPLICAS_MAX {
        return refuse(
            format!("{path}.slots"),
            format!("must be at most {REPLICAS_MAX}"),
        );
    }
    if pool.replicas.len() > REPLICAS_MAX {
        return refuse(
            format!("{path}.replicas"),
            format!("has more than {REPLICAS_MAX} entries"),
        );
    }
    let mut seen = BTreeSet::new();
    for (index, replica) in pool.replicas.iter().enumerate() {
        let path = format!("{path}.replicas[{index}].id");
        let id = ReplicaId::parse(&replica.id)
            .or_else(|why| refuse(path.clone(), format!("is no id: {why}")))?;
        if !seen.insert(id) {
            return refuse(path, format!("is used twice: `{}`", replica.id));
        }
    }
    Ok(())
}
