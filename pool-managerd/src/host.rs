//! What all workers of this host share.

use std::path::PathBuf;

use contracts_config_schema::PoolConfig;
use tokio::sync::{Mutex, Notify};
use tokio_util::task::TaskTracker;

use crate::clock::MonoClock;
use crate::gpu::Gpus;
use crate::gpu::placement::Ledger;
use crate::marker::Owner;
use crate::metrics::Counters;
use crate::model::Digests;
use crate::provision::EngineRequest;

/// This host, as its workers see it.
#[derive(Debug)]
pub struct Host {
    /// The workers' clock.
    pub clock: MonoClock,
    /// Whose mark the workers carry.
    pub owner: Owner,
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// Where engines come from.
    pub engines: EngineSource,
    /// Known digests of model files.
    pub digests: Digests,
    /// The GPUs.
    pub gpus: Gpus,
    /// Memory of GPUs that starting workers will take.
    pub ledger: Ledger,
    /// Held while an engine is being provisioned.
    pub provisioning: Mutex<()>,
    /// Every task of every worker.
    pub tracker: TaskTracker,
    /// What is counted.
    pub counters: Counters,
    /// Told when something changed that others want to know.
    pub changed: Notify,
}

impl Host {
    /// Waits for every task of every worker.
    pub async fn tracker_done(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Where engines come from, for all pools.
#[derive(Clone, Debug)]
pub struct EngineSource {
    /// Where built engines are kept.
    pub cache_dir: PathBuf,
    /// Whether anything may be fetched.
    pub allow_downloads: bool,
    /// What relative paths of the config are relative to.
    pub base_dir: PathBuf,
}

impl EngineSource {
    /// The engine that `pool` wants.
    #[must_use]
    pub fn request(&self, pool: &PoolConfig) -> EngineRequest {
        EngineRequest {
            engine: pool.engine,
            device_class: pool.device_class,
            provisioning: pool.provisioning.clone(),
            cache_dir: self.cache_dir.clone(),
            allow_downloads: self.allow_downloads,
            base_dir: self.base_dir.clone(),
        }
    }
}
