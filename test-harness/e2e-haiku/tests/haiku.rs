//! The gate against cheating: a poem that cannot have been recorded, from a real engine, through
//! both daemons.
//!
//! `LLORCH_HAIKU_MODEL` and `LLORCH_HAIKU_DEVICE` choose another model and class of devices.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use test_harness_e2e_haiku::programs::{LLAMA_SERVER, REQUIRED, llama_server, program, repository};
use test_harness_e2e_haiku::wish::Wish;
use test_harness_e2e_haiku::{Fleet, FleetOptions, genuine, models, tasks};

/// The longest generation.
const BUDGET: Duration = Duration::from_secs(30);

/// How long a counter may lag behind the event that it counts.
const SETTLE: Duration = Duration::from_secs(5);

const GATE: &str = "a_real_engine_writes_a_haiku_about_what_it_was_told";

/// The sum of `tokens_out_total` over its series.
async fn tokens_out(fleet: &Fleet) -> u64 {
    let metrics = fleet.client.metrics().await.unwrap();
    let of_name = |line: &&str| line.split(['{', ' ']).next() == Some("tokens_out_total");
    let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    metrics.lines().filter(of_name).filter_map(value).sum()
}

/// By how much the counter has grown, once it is as much as expected or has had its time.
async fn growth(fleet: &Fleet, before: u64, expected: u64) -> u64 {
    let start = Instant::now();
    loop {
        let grown = tokens_out(fleet).await - before;
        if grown == expected || start.elapsed() > SETTLE {
            return grown;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

// spec: ORCH-2001, ORCH-2002, ORCH-3032, HME-001, OC-TEST-7330, OC-TEST-7331, OC-TEST-7332
#[tokio::test]
async fn a_real_engine_writes_a_haiku_about_what_it_was_told() {
    let build = genuine::build_of(llama_server()).unwrap();
    let device_class = std::env::var("LLORCH_HAIKU_DEVICE").unwrap_or("cpu-ci".into());
    let model = models::of_the_gate();
    let options = FleetOptions {
        model: model.clone(),
        ctx: 512,
        slots: 2,
    };
    let fleet = Fleet::start_on(&device_class, &options).await;
    let (_, engine) = fleet.guard_and_engine();
    genuine::check(&engine, llama_server(), &model)
        .await
        .unwrap();

    let before = tokens_out(&fleet).await;
    let wish = Wish::of_now();
    let task = tasks::completion(
        &wish.prompt(),
        96,
        json!({ "sampling": { "temperature": 0.0 } }),
    );
    let started_at = Instant::now();
    let poem = tasks::run(&fleet.client, &task).await.unwrap();
    assert!(started_at.elapsed() < BUDGET, "{:?}", started_at.elapsed());

    let text = poem.text();
    assert_eq!(wish.faults_of(&text), Vec::<String>::new());
    assert!(
        poem.pieces.len() > 5,
        "in too few pieces: {:?}",
        poem.pieces
    );
    let end = poem.end.expect("an end event");
    assert!(end.tokens_out > 0);
    let expected = u64::from(end.tokens_out);
    assert_eq!(growth(&fleet, before, expected).await, expected);

    let started = poem.started.expect("a started event");
    assert_eq!(started.engine_version, build);
    assert_eq!(
        started.model_digest,
        format!("sha256:{}", sha256_of(&model))
    );
    assert_eq!(started.device_class.as_str(), device_class);
    assert_eq!(wish.lines_with_both(repository()), Vec::<String>::new());
    fleet.stop();
}

/// By the system's own tool, so that the daemons' sums are not compared with themselves.
fn sha256_of(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}

/// What the gate says with this engine, which must make it fail.
fn words_of_the_failed_gate(engine: Option<&Path>) -> String {
    let mut gate = Command::new(std::env::current_exe().unwrap());
    gate.args(["--exact", GATE])
        .env(REQUIRED, "1")
        .env_remove(LLAMA_SERVER);
    gate.envs(engine.map(|path| (LLAMA_SERVER, path)));
    let output = gate.output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8(words).unwrap();
    assert!(
        !output.status.success() && words.contains("1 failed"),
        "{words}"
    );
    words
}

// spec: OC-TEST-7333
#[test]
fn the_gate_fails_without_a_real_llama_server() {
    let words = words_of_the_failed_gate(None);
    assert!(
        words.contains("LLORCH_TEST_LLAMA_SERVER names no llama-server"),
        "{words}"
    );

    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("llama-server");
    fs::write(&script, "#!/bin/sh\necho 'version: 4567 (d2fcd91)'\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for (engine, why) in [
        (dir.path().join("missing"), "is no llama-server"),
        (script, "is no llama-server: it is a script"),
        (program("fake-engine"), "is no llama-server: it says"),
        ("/bin/true".into(), "is no llama-server: it says"),
    ] {
        let words = words_of_the_failed_gate(Some(&engine));
        assert!(words.contains(why), "{}: {words}", engine.display());
    }
}
