//! The real routers against their documents: every operation is visited, with success and with each
//! documented refusal that the world can provoke, and so are paths and methods that nobody documents.
//!
//! # Invariants
//! - What is documented is visited, or stands in `coverage::EXCUSED` with the reason.
//! - Both daemons are processes, started as a user starts them.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod agent;
mod client;
mod contract;
mod control_plane;
mod coverage;
mod data_plane;
mod ending;
mod stage;
mod strangers;
mod walk;

use contract::{Contract, Seen};
use serde_json::json;
use stage::Stage;

// spec: ORCH-3521, ORCH-2006, ORCH-2016
#[tokio::test]
async fn every_operation_of_both_daemons_answers_as_its_document_says() {
    let mut stage = Stage::set().await;
    // Their answers take as long as the patience of the server, so they are begun first.
    let stalled = stage.begin_stalled();
    stage.visit_gates().await;
    stage.visit_data_plane().await;
    stage.visit_control_plane().await;
    stage.visit_agent().await;
    stage.visit_strangers().await;
    stage.visit_with_the_client().await;
    stage.end_stalled(stalled).await;
    let Stage {
        fleet, mut walk, ..
    } = stage.visit_the_end().await;
    fleet.stop();
    walk.problems.extend(coverage::problems(&walk));
    let problems = walk.problems.join("\n");
    assert!(problems.is_empty(), "{} visits\n{problems}", walk.visits);
}

// spec: OC-CTRL-2069, ORCH-3521
#[test]
fn every_example_is_what_its_own_schema_says() {
    for contract in Contract::all() {
        for (operation, part, schema, example) in contract.examples() {
            let problems = contract.violations(&schema, &example);
            assert!(problems.is_empty(), "{operation} {part}: {problems:?}");
        }
    }
}

#[track_caller]
fn check_departure(change: impl FnOnce(&mut Seen), words: &str) {
    let body = json!({
        "code": "NOT_FOUND", "message": "there is none", "retriable": false, "correlation_id": "c",
    });
    let headers = [
        ("content-type", "application/json"),
        ("x-correlation-id", "c"),
    ];
    let read = |(name, value): (&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
    let mut seen = Seen {
        status: 404,
        headers: headers.map(read).into_iter().collect(),
        body: body.to_string(),
    };
    change(&mut seen);
    let contracts = Contract::all();
    let problems = contracts[0].problems("task_read", &seen).join("\n");
    assert_eq!(problems.is_empty(), words.is_empty(), "{problems}");
    assert!(problems.contains(words), "{problems}");
}

// spec: ORCH-3521
#[test]
fn an_answer_that_departs_from_its_document_is_seen() {
    let replace = |from: &'static str, to: &'static str| {
        move |seen: &mut Seen| seen.body = seen.body.replace(from, to)
    };
    check_departure(|_| {}, "");
    check_departure(|seen| seen.status = 418, "the status 418 is not documented");
    check_departure(
        replace("NOT_FOUND", "CONFLICT"),
        "the code `CONFLICT` is not documented",
    );
    check_departure(replace("retriable", "retryable"), "retriable");
    check_departure(replace("{", "{\"more\":1,"), "more");
    check_departure(|seen| seen.body.clear(), "the body is no JSON");
    let header = |name: &'static str| {
        move |seen: &mut Seen| drop(seen.headers.insert(name, "text/html".parse().unwrap()))
    };
    check_departure(
        header("content-type"),
        "the body is of the kind `text/html`",
    );
    check_departure(header("x-more"), "the header `x-more` is not documented");
}
