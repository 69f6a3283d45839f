//! All pools of this host with their workers.

use std::sync::Arc;

use contracts_config_schema::PoolConfig;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::supervisor::{self, WorkerHandle};

pub use crate::supervisor::WorkerView as View;

/// One pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its entry in the config.
    pub config: Arc<PoolConfig>,
    /// Its workers, by number.
    pub workers: Vec<WorkerHandle>,
}

/// Starts every worker of every pool. Their tasks end some time after `stop`.
#[must_use]
pub fn start(
    configs: &[PoolConfig],
    host: &Arc<Host>,
    stop: &CancellationToken,
) -> (Vec<Pool>, Vec<JoinHandle<()>>) {
    let mut tasks = Vec::new();
    let mut pool = |config: &PoolConfig| {
        let config = Arc::new(config.clone());
        let worker = |number: u32| {
            let replica = replica_id(&config.id, number);
            let (handle, task) =
                supervisor::start(replica, Arc::clone(&config), Arc::clone(host), stop.clone());
            tasks.push(task);
            handle
        };
        let workers = (0..config.replicas).map(worker).collect();
        Pool {
            config: Arc::clone(&config),
            workers,
        }
    };
    let pools = configs.iter().map(&mut pool).collect();
    (pools, tasks)
}

/// The longest id.
const ID_MAX: usize = 64;
/// What is kept of a name that is too long to stand before a number; a digest takes the rest.
const HEAD: usize = 48;

/// `pool-0`. The name of a pool is unique over all hosts, and so is this.
fn replica_id(pool: &str, number: u32) -> String {
    let id = format!("{pool}-{number}");
    if id.len() <= ID_MAX {
        return id;
    }
    let digest = Sha256::digest(pool);
    let short = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    format!("{}-{short:08x}-{number}", &pool[..HEAD])
}

#[cfg(test)]
mod tests {
    use orchestrator_core::ids::ReplicaId;

    use super::*;

    #[test]
    fn replica_ids_are_ids_whatever_the_pool_is_called() {
        assert_eq!(replica_id("haiku", 0), "haiku-0");
        let (one, other) = (
            format!("{}a", "x".repeat(63)),
            format!("{}b", "x".repeat(63)),
        );
        assert!(ReplicaId::parse(&replica_id(&one, 63)).is_ok());
        assert_ne!(replica_id(&one, 63), replica_id(&other, 63));
    }
}
