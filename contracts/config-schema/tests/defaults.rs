//! What a file that says little leaves to the defaults, and what no file can ask for.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs;

use contracts_config_schema::{Config, ConfigError, Loaded, Sources, load};

const POOL: &str = "orchestratord:\n  auth: { open_on_loopback: true }\npool_managerd:\n  \
    allow_cpu_ci: true\n  pools:\n    - { id: a, model: file:a.gguf, engine: ";

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("llama-orch.yaml");
    fs::write(&path, text).unwrap();
    load(&Sources {
        path: Some(path),
        env: Vec::new(),
    })
}

// spec: HME-002
#[test]
fn both_daemons_listen_on_loopback() {
    let config = Config::default();
    assert_eq!(config.orchestratord.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(config.pool_managerd.bind.to_string(), "127.0.0.1:9200");
}

// spec: OC-CORE-1120, ORCH-3005
#[test]
fn a_full_queue_rejects_in_both_classes() {
    let config = load_text(&format!("{POOL}llamacpp }}\n")).unwrap().config;
    let policy = &config.pool_managerd.pools[0].queue.full_policy;
    assert_eq!(policy.interactive.to_string(), "reject");
    assert_eq!(policy.batch.to_string(), "reject");
}

// spec: OC-CONFIG-6023
#[test]
fn the_mock_cannot_be_chosen() {
    let error = load_text(&format!("{POOL}mock }}\n"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("mock") && error.contains("llamacpp"),
        "{error}"
    );
}
