//! Waiting until every pool has a worker that takes work.

use std::time::Duration;

use contracts_api_types::node::WorkerPhase;
use contracts_api_types::pool::PoolSummary;
use llama_orch_sdk::{Client, SdkError};
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use crate::failure::Failure;
use crate::output::Waiting;

const POLL: Duration = Duration::from_millis(100);

/// How the wanted pools stand together.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Underway(String),
    Broken(String),
}

pub(super) async fn wait(
    fleet: &mut Fleet,
    client: &Client,
    wanted: &[&str],
    limit: Duration,
    waiting: &mut Waiting,
) -> Result<(), Failure> {
    let end = Instant::now() + limit;
    loop {
        fleet.check()?;
        let standing = match client.pools().await {
            Ok(pools) => standing(&pools, wanted),
            // It has just begun to listen.
            Err(SdkError::Transport { .. }) => {
                Standing::Underway("orchestratord is starting".into())
            }
            Err(error) => return Err(error.into()),
        };
        match standing {
            Standing::Ready => return Ok(()),
            Standing::Broken(why) => return Err(not_ready(why)),
            Standing::Underway(what) if Instant::now() > end => {
                return Err(not_ready(format!("{what}, for longer than {limit:?}")));
            }
            Standing::Underway(what) => waiting.show(&what),
        }
        sleep(POLL).await;
    }
}

fn not_ready(why: String) -> Failure {
    Failure::failed(why).hint(
        "the daemons run on; `llama-orch pools` shows how they stand, `llama-orch down` stops them",
    )
}

fn standing(pools: &[PoolSummary], wanted: &[&str]) -> Standing {
    let mut underway = Vec::new();
    for id in wanted {
        let Some(pool) = pools.iter().find(|pool| pool.id == *id) else {
            underway.push(format!("{id}: not registered yet"));
            continue;
        };
        let phase = |phase| {
            pool.replicas
                .iter()
                .find(move |replica| replica.phase == phase)
        };
        if phase(WorkerPhase::Ready).is_some() {
            continue;
        }
        let all_broken = pool
            .replicas
            .iter()
            .all(|replica| replica.phase == WorkerPhase::Broken);
        if let Some(broken) = phase(WorkerPhase::Broken).filter(|_| all_broken) {
            let cause = broken.cause.as_deref().unwrap_or("without a cause");
            return Standing::Broken(format!("pool {id} is broken: {cause}"));
        }
        underway.push(in_short(id, pool));
    }
    if underway.is_empty() {
        Standing::Ready
    } else {
        Standing::Underway(underway.join(", "))
    }
}

fn in_short(id: &str, pool: &PoolSummary) -> String {
    let Some(replica) = pool.replicas.first() else {
        return format!("{id}: no workers yet");
    };
    match &replica.cause {
        Some(cause) => format!("{id}: {} ({cause})", replica.phase),
        None => format!("{id}: {}", replica.phase),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pools::tests::{pool, replica};
    use super::*;

    #[test]
    fn all_wanted_pools_must_have_a_ready_worker() {
        let ready = || replica(WorkerPhase::Ready, None);
        let broken = || replica(WorkerPhase::Broken, Some("no GPU"));
        let loading = replica(WorkerPhase::Preloading, None);
        let pools = [pool("a", vec![broken(), ready()]), pool("b", vec![loading])];
        assert_eq!(standing(&pools, &["a"]), Standing::Ready);
        let both = standing(&pools, &["a", "b", "c"]);
        assert_eq!(
            both,
            Standing::Underway("b: preloading, c: not registered yet".into())
        );
        let lost = standing(&[pool("a", vec![broken(), broken()])], &["a"]);
        assert_eq!(lost, Standing::Broken("pool a is broken: no GPU".into()));
        let none = standing(&[pool("a", vec![])], &["a"]);
        assert_eq!(none, Standing::Underway("a: no workers yet".into()));
    }
}
