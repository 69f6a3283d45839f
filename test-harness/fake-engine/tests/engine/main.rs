//! The engine as its clients see it, over sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod asking;
mod client;
mod endings;
mod faults;
mod fixture;
mod leaving;
mod load;
mod mask;
mod process;
mod starting;
mod transcripts;

use test_harness_fake_engine::log::{Entry, Event, LogTo};
use test_harness_fake_engine::script::Script;
use test_harness_fake_engine::{Dialect, FakeEngine, Mortality, Options};

/// An engine in this process, with this script.
async fn engine(dialect: Dialect, script: &str) -> FakeEngine {
    let script = Script::parse(script, dialect).unwrap();
    let options = Options {
        dialect,
        script,
        bind: ([127, 0, 0, 1], 0).into(),
        log: LogTo::Memory,
        mortality: Mortality::InProcess,
    };
    let engine = FakeEngine::start(options).await.unwrap();
    wait_for(&engine, |event| *event == Event::Ready).await;
    engine
}

/// Waits until something like this is in the log.
async fn wait_for(engine: &FakeEngine, what: impl Fn(&Event) -> bool) -> Entry {
    let found = async {
        loop {
            if let Some(entry) = engine.log().into_iter().find(|entry| what(&entry.event)) {
                return entry;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(client::PATIENCE, found).await {
        Ok(entry) => entry,
        Err(_) => panic!("not in the log: {:#?}", engine.log()),
    }
}

/// The moment of the first entry like this.
fn at(log: &[Entry], what: impl Fn(&Event) -> bool) -> u64 {
    let entry = log.iter().find(|entry| what(&entry.event));
    entry
        .unwrap_or_else(|| panic!("not in the log: {log:#?}"))
        .t_us
}
