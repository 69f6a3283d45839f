//! The whole way, from a prompt to a poem, with nothing mocked.

use std::time::Instant;

use serde_json::json;
use test_harness_e2e_haiku::{Fleet, FleetOptions, models, tasks};

fn options() -> FleetOptions {
    FleetOptions {
        model: models::haiku_tiny(),
        ctx: 512,
        slots: 2,
    }
}

fn haiku_prompt(minute: &str, nonce: &str) -> String {
    format!(
        "Write a haiku (3 lines). Include this exact English minute phrase: \"{minute}\". Also \
         include this nonce verbatim: \"{nonce}\". Output only the poem."
    )
}

/// The value of a counter, summed over its series.
fn counter(metrics: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    let value = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|text| text.parse::<f64>().ok())
    };
    metrics.lines().filter(of_name).filter_map(value).sum()
}

// spec: ORCH-2001, ORCH-2002, ORCH-3032, HME-001, OC-TEST-7331, OC-TEST-7332
#[tokio::test]
async fn a_real_engine_writes_a_haiku_about_what_it_was_told() {
    let fleet = Fleet::start(&options()).await;
    let before = counter(&fleet.client.metrics().await.unwrap(), "tokens_out_total");
    let nonce: String = nonce();
    let task = tasks::completion(
        &haiku_prompt("forty-two", &nonce),
        96,
        json!({ "sampling": { "temperature": 0.0 } }),
    );
    let started_at = Instant::now();
    let poem = tasks::run(&fleet.client, &task).await.unwrap();

    let text = poem.text();
    assert!(
        text.contains("forty-two") && text.contains(&nonce),
        "{text}"
    );
    assert!(
        text.lines().filter(|line| !line.trim().is_empty()).count() >= 3,
        "{text}"
    );
    assert!(
        poem.pieces.len() > 5,
        "not streamed token by token: {:?}",
        poem.pieces
    );
    assert!(started_at.elapsed().as_secs() < 30, "over the time budget");

    let started = poem.started.expect("a started event");
    assert!(!started.engine_version.is_empty());
    assert!(
        started.model_digest.starts_with("sha256:b6701ce9771b0f3c"),
        "{}",
        started.model_digest
    );
    assert_eq!(started.device_class.as_str(), "cpu-ci");
    let end = poem.end.expect("an end event");
    let after = counter(&fleet.client.metrics().await.unwrap(), "tokens_out_total");
    assert!(end.tokens_out > 0);
    assert!(
        (after - before - f64::from(end.tokens_out)).abs() < 0.5,
        "{before} {after}"
    );
    fleet.stop();
}

/// A nonce that no fixture can know.
fn nonce() -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('2'..='7').collect();
    let bytes = uuid::Uuid::new_v4().into_bytes();
    bytes
        .iter()
        .take(8)
        .map(|byte| alphabet[usize::from(byte % 32)])
        .collect()
}
