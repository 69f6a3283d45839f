//! One prompt and one seed give the same bytes, whatever happens around them.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use serde_json::json;
use test_harness_e2e_haiku::tasks::{self, Transcript};
use test_harness_e2e_haiku::{Fleet, FleetOptions, models};

fn options(model: std::path::PathBuf) -> FleetOptions {
    FleetOptions {
        model,
        ctx: 4096,
        slots: 2,
    }
}

async fn seeded(fleet: &Fleet, seed: u32) -> Transcript {
    let extra = json!({ "seed": seed, "sampling": { "temperature": 1.0 } });
    tasks::run(
        &fleet.client,
        &tasks::completion("The same words.", 400, extra),
    )
    .await
    .unwrap()
}

fn digest(transcript: &Transcript) -> String {
    transcript.end.as_ref().expect("an end").text_digest.clone()
}

// spec: ORCH-3045, OC-CORE-1030
#[tokio::test]
async fn a_seed_gives_the_same_bytes_after_a_restart_and_with_a_busy_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let model = models::long_stream(dir.path());

    let fleet = Fleet::start(&options(model.clone())).await;
    let alone = seeded(&fleet, 7).await;
    assert!(
        alone.text().len() >= 400,
        "too short to tell: {:?}",
        alone.text()
    );
    let again = seeded(&fleet, 7).await;
    assert_eq!(again.text(), alone.text(), "a warm cache changed the bytes");
    let other = seeded(&fleet, 8).await;
    assert_ne!(other.text(), alone.text(), "the seed has no effect");

    let neighbour = fleet
        .client
        .submit(&tasks::completion("Busy.", 3000, json!({})))
        .await
        .unwrap();
    let mut stream = fleet.client.stream(neighbour.task_id, None).await.unwrap();
    let mut seen = Transcript::default();
    while seen.pieces.is_empty() {
        assert!(tasks::read_event(&mut stream, &mut seen).await.unwrap());
    }
    let beside = seeded(&fleet, 7).await;
    let state = fleet.client.task(neighbour.task_id).await.unwrap().state;
    assert_eq!(
        state.as_str(),
        "running",
        "the neighbour ended too early to prove anything"
    );
    assert_eq!(
        beside.text(),
        alone.text(),
        "a busy neighbour changed the bytes"
    );
    fleet.client.cancel(neighbour.task_id).await.unwrap();
    fleet.stop();

    let fleet = Fleet::start(&options(model)).await;
    let restarted = seeded(&fleet, 7).await;
    assert_eq!(
        digest(&restarted),
        digest(&alone),
        "a restart changed the bytes"
    );
    fleet.stop();
}
