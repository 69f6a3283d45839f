//! What operators and clients see of nodes and pools.

use contracts_api_types::API_VERSION;
use contracts_api_types::kind::Workload;
use contracts_api_types::node::WorkerPhase;
use contracts_api_types::task::TaskState;

use super::house::{House, RETENTION, node, node_state, pool, ready, starting, task};
use crate::services::nodes::PushError;

// spec: ORCH-2103, OC-CTRL-2001
#[tokio::test(start_paused = true)]
async fn health_and_summary_show_slots_queue_and_causes() {
    let mut house = House::empty(&[("a", 2), ("b", 2)], RETENTION);
    let mut replicas = vec![ready("a", 3), starting("b", 1, 9_000)];
    replicas[1].phase = WorkerPhase::Draining;
    house.push(vec![pool("p", 2, replicas)]).await;
    let scripts = [house.worker("a").script(), house.worker("a").script()];
    for number in 1..=3 {
        house.submit(task(number)).await;
    }
    house.until_load(2, 1).await;
    let health = house.services.nodes.pool_health("p").unwrap();
    assert!(health.live && health.ready && health.draining);
    assert_eq!(health.last_error.as_deref(), Some("the model is loading"));
    assert_eq!((health.metrics.slots, health.metrics.restarts), (2, 2));
    let summary = house.services.nodes.pools().remove(0);
    assert_eq!((summary.id.as_str(), summary.node_id.as_str()), ("p", "n"));
    assert_eq!((summary.queued_interactive, summary.queued_batch), (1, 0));
    assert_eq!((summary.replicas[0].busy, summary.replicas[1].busy), (2, 0));
    assert!(house.services.nodes.pool_health("q").is_none());
    scripts.iter().for_each(worker_adapters_mock::Script::done);
    house.until_load(0, 0).await;
}

// spec: ORCH-3095, ORCH-3096, OC-CTRL-2060, OC-CTRL-2061
#[tokio::test(start_paused = true)]
async fn capabilities_tell_what_can_be_asked_for() {
    let house = House::with(&[("a", 3)]).await;
    let all = house.services.nodes.capabilities();
    assert_eq!(all.api_version, API_VERSION);
    let pool = &all.pools[0];
    assert_eq!(
        (pool.ctx_max, pool.max_tokens_out, pool.concurrency),
        (64, 63, 3)
    );
    assert_eq!(pool.workloads, [Workload::Completion]);
    assert_eq!(pool.models[..2], ["tiny", "the-model"]);
}

// spec: ORCH-3403
#[tokio::test(start_paused = true)]
async fn nodes_tell_how_long_they_have_been_silent_and_pushes_get_the_lease() {
    let house = House::with(&[("a", 1)]).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let shown = house.services.nodes.nodes().remove(0);
    assert_eq!(
        (shown.id.as_str(), shown.live, shown.last_seen_ms),
        ("n", true, 2_500)
    );
    assert_eq!(shown.pools, ["p"]);
    let other = node_state(
        uuid::Uuid::from_u128(2),
        1,
        vec![pool("p", 1, vec![ready("a", 1)])],
    );
    let refusal = house
        .services
        .nodes
        .push(node("m"), other)
        .await
        .unwrap_err();
    assert_eq!(
        refusal,
        PushError::PoolTaken {
            pool: "p".into(),
            owner: node("n")
        }
    );
    let none = node_state(uuid::Uuid::from_u128(2), 1, Vec::new());
    let lease = house.services.nodes.push(node("m"), none).await.unwrap();
    assert_eq!((lease.lease_ms, lease.renew_ms), (10_000, 3_000));
}

#[tokio::test(start_paused = true)]
async fn what_time_changes_is_seen_without_another_event() {
    let house = House::with(&[("a", 1)]).await;
    let id = house.submit(task(1)).await;
    house.until(id, TaskState::Done).await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert!(!house.services.nodes.nodes()[0].live);
}
