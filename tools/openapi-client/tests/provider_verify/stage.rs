//! The two daemons, with a config in which every refusal is near, and what the walk needs of them.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_harness_e2e_haiku::{Fleet, FleetOptions, models};
use tokio::task::JoinHandle;

use crate::contract::Seen;
use crate::walk::{Ask, Body, Visit, Walk};

/// The longest wait for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A key that opens the data plane only.
pub(crate) const DATA_KEY: &str = "a key for the data plane";
/// A key that opens the control plane only.
pub(crate) const CONTROL_KEY: &str = "a key for the control plane";
/// A task that nobody has submitted.
pub(crate) const NOBODY: &str = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";
/// The largest body that is taken.
pub(crate) const BODY_MAX: usize = 16 << 10;

pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) walk: Walk,
    pub(crate) node_token: String,
    /// A port on which connections are taken and nothing is answered.
    pub(crate) silent: TcpListener,
    seq: u64,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let options = FleetOptions {
            model: models::haiku_tiny(),
            ctx: 512,
            slots: 1,
        };
        let fleet = Fleet::start_with(&options, change).await;
        let agent = run_file(&fleet, "pool-managerd")["address"]
            .as_str()
            .unwrap()
            .to_owned();
        let node_token = fs::read_to_string(fleet.data_dir().join("node.token")).unwrap();
        let walk = Walk::new([fleet.base().to_owned(), format!("http://{agent}")]);
        Self {
            fleet,
            walk,
            node_token: node_token.trim().to_owned(),
            silent: TcpListener::bind("127.0.0.1:0").unwrap(),
            seq: 0,
        }
    }

    /// The state of a host that only these tests know, with these pools.
    pub(crate) fn state(&mut self, pools: Value) -> Value {
        self.seq += 1;
        json!({
            "incarnation": "0b8f5e0e-7c5d-4f0a-9a64-5d7f7a3f7e11", "seq": self.seq,
            "version": "0.1.0", "api_url": "http://127.0.0.1:9", "devices": [], "pools": pools,
        })
    }

    /// Makes orchestratord believe in a host with these pools.
    pub(crate) async fn push(&mut self, pools: Value) {
        let ask = Ask::json(self.state(pools)).key(&self.node_token);
        self.walk
            .visit("control", "node_push", ask, (200, ""))
            .await;
    }

    /// Begins the visits whose body never comes.
    pub(crate) fn begin_stalled(&mut self) -> Vec<JoinHandle<Visit>> {
        let stalled = || Ask {
            body: Body::Stalled,
            ..Ask::default()
        };
        let push = stalled().key(&self.node_token);
        let visits = [
            tokio::spawn(self.walk.begin("data", "task_submit", stalled())),
            tokio::spawn(self.walk.begin("control", "node_push", push)),
        ];
        visits.into()
    }

    pub(crate) async fn end_stalled(&mut self, visits: Vec<JoinHandle<Visit>>) {
        for visit in visits {
            let visit = tokio::time::timeout(PATIENCE * 2, visit).await;
            let seen = self.walk.note(visit.expect("an answer in time").unwrap());
            assert_eq!(seen.status, 408, "{seen:?}");
        }
    }

    /// Asks again and again until this status comes, and notes that answer only.
    pub(crate) async fn until(
        &mut self,
        document: &'static str,
        operation: &'static str,
        ask: impl Fn() -> Ask,
        expected: (u16, &str),
    ) -> Seen {
        let begun = Instant::now();
        loop {
            let visit = self.walk.begin(document, operation, ask()).await;
            if (visit.seen.status, visit.seen.code().as_str()) == expected {
                return self.walk.note(visit);
            }
            let said = &visit.seen;
            assert!(
                begun.elapsed() < PATIENCE,
                "{operation}: no {expected:?}, but {said:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn change(config: &mut Value) {
    let key = |name: &str, key: &str, scope: &str| {
        let digest = Sha256::digest(key)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        json!({ "name": name, "tenant": "home", "sha256": digest, "scopes": [scope] })
    };
    let daemon = &mut config["orchestratord"];
    daemon["auth"]["keys"] = json!([
        key("walk-data", DATA_KEY, "data"),
        key("walk-control", CONTROL_KEY, "control"),
    ]);
    daemon["admission"] = json!({ "max_body": format!("{BODY_MAX}B") });
    daemon["retention"] = json!({ "stream": "2s" });
    daemon["drain"] = json!("3s");
    let pool = &mut config["pool_managerd"]["pools"][0];
    // So long a pool that has lost its engine is seen not to be ready.
    pool["restart"] = json!({ "backoff": { "min": "5s", "max": "5s" } });
}

pub(crate) fn run_file(fleet: &Fleet, name: &str) -> Value {
    let path = fleet.data_dir().join("run").join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A pool as an agent would describe it; `changes` are laid over its one replica.
pub(crate) fn pool(id: &str, changes: Value) -> Value {
    let mut replica = json!({
        "id": format!("{id}-0"), "phase": "ready", "start": 1, "devices": [], "vram_free_bytes": 0,
        "restarts": 0,
    });
    for (name, value) in changes.as_object().unwrap() {
        replica[name] = value.clone();
    }
    json!({
        "id": id, "engine": "llamacpp", "model_ref": format!("file:/{id}.gguf"), "aliases": [],
        "model_digest": format!("sha256:{}", "0".repeat(64)), "engine_version": id, "ctx": 512,
        "slots": 1, "device_class": "cpu-ci", "sampler_profile_version": "v1",
        "workloads": ["completion"],
        "queue": { "capacity": 8, "bytes": 1 << 20, "interactive_full": "reject", "batch_full": "reject" },
        "timeouts": { "first_token_ms": 30_000, "gap_ms": 30_000 },
        "replicas": [replica],
    })
}

/// A completion with these fields laid over the usual ones.
pub(crate) fn task(changes: Value) -> Value {
    let mut task = json!({
        "workload": "completion", "model_ref": "e2e", "engine": "llamacpp",
        "prompt": "Write a haiku about the sea.", "max_tokens": 16,
    });
    for (name, value) in changes.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}
