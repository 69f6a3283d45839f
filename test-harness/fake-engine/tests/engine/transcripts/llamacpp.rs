//! llama.cpp.

use test_harness_fake_engine::Dialect::Llamacpp;

use super::{answering, replay};
use crate::mask::Mask;

const MASK: Mask = Mask {
    keys: &[
        "created",
        "id",
        "media_marker",
        "cache_n",
        "prompt_n",
        "prompt_ms",
        "prompt_per_token_ms",
        "prompt_per_second",
        "predicted_ms",
        "predicted_per_token_ms",
        "predicted_per_second",
    ],
    headers: &["process-start-time-unix"],
};

const SETUP: &str = "slots: 2\nctx: 512";

/// What the real model said greedily, with the lead bytes whose token the recording does not name.
const GREEDY: &str = "219, 221, 255, 130, 316, 0, 285, 267, 263, 130, 295, 463, 436, 130, 312, 409, \
                      409, 409, 409, 409";

// spec: OC-TEST-7302
#[tokio::test]
async fn questions_and_refusals_are_answered_as_by_the_real_server() {
    let numbers = [
        "01", "02", "03", "04", "05", "17", "18", "19", "20", "21", "22", "23", "25", "26", "27",
        "29", "40", "42",
    ];
    replay(Llamacpp, SETUP, &MASK, &numbers).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn generations_are_told_as_by_the_real_server() {
    let script = answering(SETUP, "hello world", GREEDY);
    replay(Llamacpp, &script, &MASK, &["06", "07", "08", "15", "16"]).await;
    let seeded = r#""ow", " by", "ct", " is", "es", "3", " work", "$""#;
    replay(
        Llamacpp,
        &answering(SETUP, "hello world", seeded),
        &MASK,
        &["10"],
    )
    .await;
    replay(Llamacpp, &answering(SETUP, "x", "\"J\""), &MASK, &["28"]).await;
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_key_guards_everything_but_health() {
    let script = format!("{SETUP}\napi_key: k1");
    replay(
        Llamacpp,
        &script,
        &MASK,
        &["62", "63", "64", "65", "66", "67", "68"],
    )
    .await;
}
