//! Pools and replicas as the scheduler is told about them, and the replica sets they form.
//!
//! Level-triggered: a [`PoolView`] replaces everything that was known of its pool, so a lost or
//! repeated report does no harm. Not here: how a pool is started, watched or restarted
//! (pool-managerd), and who still holds a lease (orchestratord).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::ids::{PoolId, ReplicaId};
use crate::priority::ByPriority;

/// What replicas must have in common for a task to run on any of them.
// spec: ORCH-3007, ORCH-3046
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetKey {
    /// The engine.
    pub engine: Engine,
    /// The digest of the model's weights.
    pub model_digest: Arc<str>,
    /// The context length in tokens.
    pub ctx: u32,
    /// The engine's version, as the worker reports it.
    pub engine_version: Arc<str>,
    /// The sampler profile's version.
    pub sampler_profile: Arc<str>,
    /// The quantisation of the weights.
    pub quant: Arc<str>,
}

/// A replica set, by the small number that the scheduler gave it.
///
/// It is stable while any pool serves the set and is never given to another set. When the last
/// pool leaves, the set ends; the same key gets a new id if it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub(crate) u32);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set-{}", self.0)
    }
}

/// What happens to a task that finds its class of the queue full.
// spec: ORCH-3005, OC-CORE-1120
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FullPolicy {
    /// The newcomer is refused.
    #[default]
    Reject,
    /// The oldest queued tasks of the class give way.
    DropLru,
    /// The newest queued batch tasks give way to an interactive newcomer; a batch one is refused.
    ShedLowPriority,
}

impl FullPolicy {
    /// The name in configs, labels and `policy_label`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DropLru => "drop-lru",
            Self::ShedLowPriority => "shed-low-priority",
        }
    }
}

impl fmt::Display for FullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything known of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// The pool.
    pub pool: PoolId,
    /// The set that its replicas belong to.
    pub set: SetKey,
    /// The places it adds to each priority class of its set's queue.
    pub capacity: usize,
    /// The bytes it adds to each priority class of its set's queue.
    pub bytes: u64,
    /// What to do when a class is full. Of several pools in a set, the first by id decides.
    pub full_policy: ByPriority<FullPolicy>,
    /// Its replicas. One that is missing here is gone, and so is what ran on it.
    pub replicas: Vec<ReplicaView>,
}

/// Everything known of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    /// The replica, unique within its pool.
    pub replica: ReplicaId,
    /// Which process this is. A changed number means that the earlier process is gone.
    pub incarnation: u64,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// Whether it takes work.
    pub readiness: Readiness,
    /// Free memory on its devices.
    pub free_vram_bytes: u64,
}

/// Whether a replica takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It takes work.
    Ready,
    /// It does not yet, but is expected to. Also a replica that waits for its next start.
    Starting {
        /// How long until it is expected to be Ready, from the report on.
        eta: Duration,
    },
    /// It takes no work and nobody knows when it will. What runs on it goes on.
    Unavailable,
}
