//! Starting, being the only one, and stopping.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::node::with_pool;
use crate::support::{Daemon, SOON, eventually, task, text};

// spec: ORCH-3437, OC-CTRL-2130, OC-CTRL-2139
#[tokio::test]
async fn a_stop_refuses_new_work_lets_running_work_end_and_exits_cleanly() {
    let (mut daemon, mut engine, _node) = with_pool(1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    generation.say("one ").await;
    let mut reader = daemon.follow(&id, None).await;
    reader.event("token").await;
    daemon.terminate();
    let refused = eventually(|| async {
        Some(daemon.get("/readyz").await).filter(|reply| reply.status == 503)
    })
    .await;
    refused.check_refused(503, "POOL_UNAVAILABLE", None);
    daemon
        .submit(&task(json!({})))
        .await
        .check_refused(503, "POOL_UNAVAILABLE", None);
    assert_eq!(daemon.get("/healthz").await.status, 200);
    generation.say("two").await;
    generation.end().await;
    let rest = reader.rest().await;
    assert_eq!(
        (text(&rest).as_str(), rest.last().unwrap().name.as_str()),
        ("two", "end")
    );
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert!(!daemon.data_dir().join("run/orchestratord.json").exists());
}

// spec: OC-CTRL-2130
#[tokio::test]
async fn a_stop_without_work_is_quick_and_closes_what_is_open() {
    let (mut daemon, _engine, _node) = with_pool(1).await;
    let begun = Instant::now();
    daemon.terminate();
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert!(begun.elapsed() < SOON / 4, "{:?}", begun.elapsed());
}

// spec: OC-CTRL-2130
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut daemon, mut engine, _node) = with_pool(1).await;
    daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    generation.say("one").await;
    daemon.terminate();
    eventually(|| async { (daemon.get("/readyz").await.status == 503).then_some(()) }).await;
    daemon.terminate();
    assert!(!daemon.ended().await.success());
    generation.closed().await;
}

// spec: ORCH-3438
#[tokio::test]
async fn readers_of_what_is_left_after_the_drain_are_sent_away_to_come_back() {
    let (mut daemon, mut engine, _node) = crate::node::with_settings("drain: 200ms", 1).await;
    let id = daemon.submitted(&task(json!({}))).await;
    let mut generation = engine.generation().await;
    generation.say("one").await;
    let mut reader = daemon.follow(&id, None).await;
    reader.event("token").await;
    daemon.terminate();
    let rest = reader.rest().await;
    assert!(rest.iter().all(|event| event.name == "metrics"), "{rest:?}");
    assert!(reader.bytes.ends_with(b"retry: 1000\n\n"));
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_instance_on_the_same_directory_is_refused() {
    let daemon = Daemon::start().await;
    let second = daemon.run_again();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("data directory"), "{said}");
    assert_eq!(daemon.get("/healthz").await.status, 200);
}

// spec: ORCH-3044, ORCH-3520
#[test]
fn the_documents_are_printed_by_the_binary_and_are_those_of_the_handlers() {
    use orchestratord::openapi::{Plane, to_yaml};
    for (name, plane) in [("data", Plane::Data), ("control", Plane::Control)] {
        let output = Command::new(env!("CARGO_BIN_EXE_orchestratord"))
            .args(["openapi", name])
            .output()
            .unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), to_yaml(plane));
    }
    let wrong = Command::new(env!("CARGO_BIN_EXE_orchestratord"))
        .args(["openapi", "web"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

// spec: OC-CONFIG-6001
#[test]
fn a_config_that_is_wrong_is_named_by_field_and_ends_with_two() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("c.yaml");
    std::fs::write(&config, "orchestratord:\n  colour: red\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_orchestratord"))
        .env_clear()
        .arg("--config")
        .arg(&config)
        .arg("--data-dir")
        .arg(home.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("colour"), "{said}");
}
