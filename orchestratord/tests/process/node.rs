//! The agent, played by the test: it pushes what the test wants orchestratord to believe.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::engine::{CTX, Engine, KEY};
use crate::support::{Daemon, Reply};

pub(crate) const DIGEST: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// One host.
pub(crate) struct Node {
    pub(crate) id: &'static str,
    incarnation: Uuid,
    seq: u64,
}

impl Node {
    pub(crate) fn new(id: &'static str) -> Self {
        Self {
            id,
            incarnation: Uuid::new_v4(),
            seq: 0,
        }
    }

    pub(crate) fn state(&mut self, pools: Value) -> Value {
        self.seq += 1;
        json!({
            "incarnation": self.incarnation, "seq": self.seq, "version": "0.1.0",
            "api_url": "http://127.0.0.1:9200", "devices": [], "pools": pools,
        })
    }

    /// Pushes these pools.
    pub(crate) async fn push(&mut self, daemon: &Daemon, pools: Value) -> Reply {
        let state = self.state(pools);
        push(daemon, self.id, &daemon.node_token(), &state).await
    }
}

pub(crate) async fn push(daemon: &Daemon, node: &str, token: &str, state: &Value) -> Reply {
    let path = format!("/v1/nodes/{node}");
    daemon
        .call(Method::PUT, &path, |request| {
            request.bearer_auth(token).json(state)
        })
        .await
}

/// A pool of one ready replica behind this engine.
pub(crate) fn pool(id: &str, engine: &Engine, slots: u32) -> Value {
    json!({
        "id": id, "engine": "llamacpp", "model_ref": "file:/models/haiku.gguf", "aliases": ["haiku"],
        "model_digest": DIGEST, "engine_version": "b1-test", "ctx": CTX, "slots": slots,
        "device_class": "cpu-ci", "sampler_profile_version": "v1", "workloads": ["completion"],
        "queue": {
            "capacity": 8, "bytes": 1 << 20, "interactive_full": "reject", "batch_full": "reject",
        },
        "timeouts": { "first_token_ms": 30_000, "gap_ms": 30_000 },
        "replicas": [{
            "id": format!("{id}-0"), "phase": "ready", "start": 1,
            "endpoint": { "url": format!("http://{}", engine.address), "api_key": KEY },
            "devices": [], "vram_free_bytes": 0, "restarts": 0,
        }],
    })
}

/// A pool whose replica is still loading.
pub(crate) fn loading_pool(id: &str, engine: &Engine) -> Value {
    let mut pool = pool(id, engine, 1);
    let replica = &mut pool["replicas"][0];
    replica["phase"] = json!("preloading");
    replica["cause"] = json!("the model is loading");
    replica["eta_ms"] = json!(2_000);
    replica.as_object_mut().unwrap().remove("endpoint");
    pool
}

/// A daemon with one pool, `p0`, of that many slots.
pub(crate) async fn with_pool(slots: u32) -> (Daemon, Engine, Node) {
    with_settings("", slots).await
}

pub(crate) async fn with_settings(settings: &str, slots: u32) -> (Daemon, Engine, Node) {
    let daemon = Daemon::start_with(settings).await;
    let engine = Engine::start(slots as usize).await;
    let mut node = Node::new("host-a");
    let reply = node
        .push(&daemon, json!([pool("p0", &engine, slots)]))
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    (daemon, engine, node)
}
