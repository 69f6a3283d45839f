//! The dialects against the recordings of the real servers: status line, headers in their order,
//! and the body byte for byte, but for the values that a mask names.
//!
//! What the real model said is given to the engine as a scripted answer, token by token, so that
//! text and frames are compared as well.

mod llamacpp;
mod tgi;
mod triton;
mod vllm;

use test_harness_fake_engine::{Dialect, FakeEngine};

use crate::mask::Mask;
use crate::{client, engine, fixture};

/// Replays recordings against one engine.
async fn replay(dialect: Dialect, script: &str, mask: &Mask, numbers: &[&str]) {
    let engine = engine(dialect, script).await;
    for number in numbers {
        replay_one(&engine, dialect, mask, number).await;
    }
}

async fn replay_one(engine: &FakeEngine, dialect: Dialect, mask: &Mask, number: &str) {
    let recorded = fixture::exchange(folder(dialect), number);
    let address = match recorded.request.starts_with(b"GET /metrics") {
        true => engine.metrics_address().unwrap_or(engine.address()),
        false => engine.address(),
    };
    let answer = client::ask(address, &recorded.request).await;
    assert_eq!(
        mask.head(&answer.head, &answer.body),
        mask.head(&recorded.head, &recorded.body),
        "head of {}",
        recorded.name
    );
    assert_eq!(
        mask.body(&answer.body),
        mask.body(&recorded.body),
        "body of {}",
        recorded.name
    );
    assert!(answer.is_whole, "{} ends", recorded.name);
}

fn folder(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Llamacpp => "llamacpp",
        Dialect::Vllm => "vllm",
        Dialect::Tgi => "tgi",
        Dialect::Triton => "triton",
    }
}

/// A script with the answer to one prompt; pieces are JSON.
fn answering(rest: &str, prompt: &str, pieces: &str) -> String {
    format!("{rest}\ntext: {{answers: [{{prompt: {prompt:?}, pieces: [{pieces}]}}]}}\n")
}

/// Every family of `told` is one of the recorded server's, with its help and type, and `needed` are
/// among them.
fn check_families(told: &str, file: &str, needed: &[&str]) {
    let recorded = std::fs::read_to_string(fixture::path("", file)).unwrap();
    for line in told.lines().filter(|line| line.starts_with('#')) {
        assert!(
            recorded.lines().any(|known| known == line),
            "not the real server's: {line}"
        );
    }
    for name in needed {
        let is_told = told.lines().any(|line| line.starts_with(name));
        assert!(is_told, "no {name} in\n{told}");
    }
}
