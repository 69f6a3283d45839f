//! Leases, incarnations and the ownership of pools.

use std::sync::Arc;

use contracts_api_types::kind::{DeviceClass, EngineName, FullQueuePolicy, Workload};
use contracts_api_types::node::{
    PoolState, PoolTimeouts, QueueBounds, ReplicaState, WorkerEndpoint, WorkerPhase,
};
use orchestrator_core::engine::Engine;
use orchestrator_core::fleet::{PoolView, Readiness};
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_mock::MockAdapter;

use super::*;
use crate::services::adapters::AdapterFactory;

fn fleet() -> Fleet {
    let mock: AdapterFactory =
        Arc::new(|_| Ok(Arc::new(MockAdapter::new(1)) as Arc<dyn WorkerAdapter>));
    Fleet::new(AdapterRegistry::new([(Engine::LlamaCpp, mock)]))
}

fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(Duration::from_secs(seconds))
}

fn state(agent: u128, seq: u64, pools: Vec<PoolState>) -> NodeState {
    NodeState {
        incarnation: Uuid::from_u128(agent),
        seq,
        version: "0".into(),
        api_url: "http://127.0.0.1:9200".into(),
        devices: Vec::new(),
        pools,
    }
}

fn pool(id: &str, phase: WorkerPhase, start: u64) -> PoolState {
    PoolState {
        id: id.into(),
        engine: EngineName::LlamaCpp,
        model_ref: "file:m.gguf".into(),
        aliases: Vec::new(),
        model_digest: Some("sha256:1".into()),
        engine_version: Some("b1".into()),
        ctx: 512,
        slots: 2,
        device_class: DeviceClass::CpuCi,
        sampler_profile_version: "v1".into(),
        workloads: vec![Workload::Completion],
        queue: QueueBounds {
            capacity: 4,
            bytes: 1024,
            interactive_full: FullQueuePolicy::Reject,
            batch_full: FullQueuePolicy::DropLru,
        },
        timeouts: PoolTimeouts {
            first_token_ms: 1,
            gap_ms: 1,
        },
        replicas: vec![ReplicaState {
            id: "r".into(),
            phase,
            start,
            cause: None,
            eta_ms: None,
            endpoint: Some(WorkerEndpoint {
                url: "mock".into(),
                api_key: Some("secret".into()),
            }),
            devices: Vec::new(),
            vram_free_bytes: 0,
            restarts: 0,
        }],
    }
}

fn ready(id: &str, start: u64) -> PoolState {
    pool(id, WorkerPhase::Ready, start)
}

/// The one changed pool of these events.
#[track_caller]
fn changed(events: &[Event]) -> &PoolView {
    match events {
        [Event::PoolChanged(view)] => view,
        other => panic!("{other:?}"),
    }
}

// spec: ORCH-3403, ORCH-3440, ORCH-3503
#[test]
fn a_lease_lapses_and_a_push_brings_the_node_back() {
    let mut fleet = fleet();
    let events = fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    let incarnation = changed(&events).replicas[0].incarnation;
    assert_eq!(changed(&events).replicas[0].readiness, Readiness::Ready);
    assert_eq!(fleet.next_due(), Some(at(10)));
    assert!(fleet.pass(at(9), |_| false).is_empty());
    let events = fleet.pass(at(10), |_| false);
    assert_eq!(
        changed(&events).replicas[0].readiness,
        Readiness::Unavailable
    );
    assert_eq!(changed(&events).replicas[0].incarnation, incarnation);
    let events = fleet
        .push(&node("n"), state(1, 2, vec![ready("p", 1)]), at(20))
        .unwrap();
    assert_eq!(changed(&events).replicas[0].readiness, Readiness::Ready);
    assert_eq!(changed(&events).replicas[0].incarnation, incarnation);
}

// spec: ORCH-3440
#[test]
fn a_silent_node_is_forgotten_when_nothing_runs_on_it() {
    let mut fleet = fleet();
    fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    fleet.pass(at(10), |_| true);
    assert!(fleet.pass(at(70), |_| true).is_empty(), "a task runs there");
    assert_eq!(fleet.next_due(), Some(at(80)));
    let gone = PoolId::parse("p").unwrap();
    assert_eq!(fleet.pass(at(80), |_| false), [Event::PoolRemoved(gone)]);
    assert!(fleet.view().nodes.is_empty() && fleet.view().pools.is_empty());
    assert_eq!(fleet.next_due(), None);
}

// spec: ORCH-3468
#[test]
fn a_new_agent_that_has_not_read_its_model_yet_leaves_the_set_as_it_was() {
    let unread = |model: &str| PoolState {
        model_ref: model.into(),
        model_digest: None,
        engine_version: None,
        ..pool("p", WorkerPhase::Preflight, 0)
    };
    let mut fleet = fleet();
    let before = fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    let events = fleet
        .push(&node("n"), state(2, 1, vec![unread("file:m.gguf")]), at(1))
        .unwrap();
    assert_eq!(changed(&events).set, changed(&before).set);
    let starting = changed(&events).replicas[0].readiness;
    assert!(
        matches!(starting, Readiness::Starting { .. }),
        "{starting:?}"
    );

    let other = fleet
        .push(&node("n"), state(3, 1, vec![unread("file:x.gguf")]), at(2))
        .unwrap();
    assert_eq!(other, [Event::PoolRemoved(PoolId::parse("p").unwrap())]);
}

// spec: ORCH-3505, ORCH-3506
#[test]
fn a_late_push_changes_nothing_and_a_new_agent_replaces_the_old() {
    let mut fleet = fleet();
    let events = fleet
        .push(&node("n"), state(1, 5, vec![ready("p", 1)]), at(0))
        .unwrap();
    let first = changed(&events).replicas[0].incarnation;
    for seq in [4, 5] {
        let late = state(1, seq, Vec::new());
        assert!(fleet.push(&node("n"), late, at(1)).unwrap().is_empty());
    }
    assert_eq!(
        fleet.next_due(),
        Some(at(10)),
        "a late push renews no lease"
    );
    let events = fleet
        .push(&node("n"), state(2, 1, vec![ready("p", 1)]), at(2))
        .unwrap();
    assert_ne!(
        changed(&events).replicas[0].incarnation,
        first,
        "another agent, another process"
    );
    let from_before = state(1, 6, Vec::new());
    assert!(
        fleet
            .push(&node("n"), from_before, at(3))
            .unwrap()
            .is_empty()
    );
    assert_eq!(fleet.view().pools.len(), 1);
}

// spec: ORCH-3441
#[test]
fn a_restarted_process_has_a_new_number_and_a_new_adapter() {
    let mut fleet = fleet();
    let adapter = |fleet: &Fleet| {
        let pool = fleet.view().pools.values().next().unwrap();
        Arc::clone(pool.workers.values().next().unwrap().adapter().unwrap())
    };
    fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    let first = adapter(&fleet);
    fleet
        .push(&node("n"), state(1, 2, vec![ready("p", 1)]), at(3))
        .unwrap();
    assert!(
        Arc::ptr_eq(&first, &adapter(&fleet)),
        "one adapter per process"
    );
    let events = fleet
        .push(&node("n"), state(1, 3, vec![ready("p", 2)]), at(6))
        .unwrap();
    assert!(!Arc::ptr_eq(&first, &adapter(&fleet)));
    assert_eq!(changed(&events).replicas[0].incarnation, 2);
}

// spec: ORCH-3403, ORCH-3507
#[test]
fn a_pool_of_a_live_node_cannot_be_taken_and_that_of_a_silent_one_can() {
    let mut fleet = fleet();
    fleet
        .push(
            &node("n"),
            state(1, 1, vec![ready("p", 1), ready("q", 1)]),
            at(0),
        )
        .unwrap();
    let taken = fleet.push(&node("m"), state(9, 1, vec![ready("p", 1)]), at(1));
    let refusal = PushError::PoolTaken {
        pool: "p".into(),
        owner: node("n"),
    };
    assert_eq!(taken.unwrap_err(), refusal);
    assert_eq!(fleet.view().nodes.len(), 1, "a refused node is not there");
    fleet.pass(at(10), |_| false);
    let events = fleet
        .push(&node("m"), state(9, 1, vec![ready("p", 1)]), at(11))
        .unwrap();
    assert_eq!(changed(&events).replicas[0].readiness, Readiness::Ready);
    let removed: Vec<_> = fleet.pass(at(70), |_| false);
    assert_eq!(
        removed.last(),
        Some(&Event::PoolRemoved(PoolId::parse("q").unwrap()))
    );
    let left: Vec<_> = fleet.view().pools.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["p"]);
}

#[test]
fn a_pool_that_is_not_reported_any_more_is_gone() {
    let mut fleet = fleet();
    fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    let events = fleet
        .push(&node("n"), state(1, 2, Vec::new()), at(1))
        .unwrap();
    assert_eq!(events, [Event::PoolRemoved(PoolId::parse("p").unwrap())]);
}

#[test]
fn a_pool_counts_once_its_digest_and_version_are_known() {
    let mut fleet = fleet();
    let unknown = PoolState {
        model_digest: None,
        ..ready("p", 1)
    };
    let events = fleet
        .push(&node("n"), state(1, 1, vec![unknown]), at(0))
        .unwrap();
    assert!(events.is_empty());
    let events = fleet
        .push(&node("n"), state(1, 2, vec![ready("p", 1)]), at(1))
        .unwrap();
    assert_eq!(changed(&events).capacity, 4);
}

// spec: ORCH-3010
#[test]
fn only_ready_takes_work_and_what_comes_up_has_an_eta() {
    let mut fleet = fleet();
    let mut seq = 0;
    let mut readiness = |phase, eta_ms| {
        seq += 1;
        let mut pool = pool("p", phase, 1);
        pool.replicas[0].eta_ms = eta_ms;
        let events = fleet
            .push(&node("n"), state(1, seq, vec![pool]), at(0))
            .unwrap();
        changed(&events).replicas[0].readiness
    };
    let starting = |seconds| Readiness::Starting {
        eta: Duration::from_secs(seconds),
    };
    assert_eq!(readiness(WorkerPhase::Ready, None), Readiness::Ready);
    assert_eq!(
        readiness(WorkerPhase::Draining, None),
        Readiness::Unavailable
    );
    assert_eq!(readiness(WorkerPhase::Broken, None), Readiness::Unavailable);
    assert_eq!(
        readiness(WorkerPhase::Provisioning, None),
        Readiness::Unavailable
    );
    assert_eq!(
        readiness(WorkerPhase::Provisioning, Some(2_000)),
        starting(2)
    );
    assert_eq!(readiness(WorkerPhase::Preloading, Some(3_000)), starting(3));
    assert_eq!(readiness(WorkerPhase::BackingOff, None), starting(30));
}

#[test]
fn an_engine_without_an_adapter_takes_no_work_and_says_so() {
    let mut fleet = Fleet::new(AdapterRegistry::default());
    let events = fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    assert_eq!(
        changed(&events).replicas[0].readiness,
        Readiness::Unavailable
    );
    let pool = fleet.view().pools.values().next().unwrap();
    assert_eq!(
        pool.cause().unwrap(),
        "this server has no adapter for llamacpp"
    );
}

// spec: OC-CTRL-2041
#[test]
fn no_view_holds_a_workers_key() {
    let mut fleet = fleet();
    fleet
        .push(&node("n"), state(1, 1, vec![ready("p", 1)]), at(0))
        .unwrap();
    assert!(!format!("{:?}", fleet.view()).contains("secret"));
}

#[test]
fn a_push_of_bad_form_names_the_field_and_changes_nothing() {
    let mut fleet = fleet();
    let mut field = |pools: Vec<PoolState>| match fleet.push(&node("n"), state(1, 1, pools), at(0))
    {
        Err(PushError::BadField { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(vec![ready("a/b", 1)]), "pools[0].id");
    assert_eq!(field(vec![ready("a", 1), ready("a", 1)]), "pools[1].id");
    let mut twice = ready("a", 1);
    twice.replicas.push(twice.replicas[0].clone());
    assert_eq!(field(vec![twice]), "pools[0].replicas[1].id");
    assert_eq!(
        field(vec![PoolState {
            ctx: 0,
            ..ready("a", 1)
        }]),
        "pools[0].ctx"
    );
    assert_eq!(
        field(vec![PoolState {
            slots: 257,
            ..ready("a", 1)
        }]),
        "pools[0].slots"
    );
    assert!(fleet.view().nodes.is_empty());
}
