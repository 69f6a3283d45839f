//! Loading, and what is said meanwhile.

use std::time::Duration;

use test_harness_fake_engine::Dialect::{Llamacpp, Tgi, Triton, Vllm};
use test_harness_fake_engine::log::{Event, LogTo};
use test_harness_fake_engine::script::Script;
use test_harness_fake_engine::{Dialect, FakeEngine, Mortality, Options, StartError};
use tokio::net::TcpStream;

use crate::{client, fixture, wait_for};

async fn starting(dialect: Dialect, script: &str) -> Result<FakeEngine, StartError> {
    let options = Options {
        dialect,
        script: Script::parse(script, dialect).unwrap(),
        bind: ([127, 0, 0, 1], 0).into(),
        log: LogTo::Memory,
        mortality: Mortality::InProcess,
    };
    FakeEngine::start(options).await
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_says_that_it_is_loading() {
    let engine = starting(Llamacpp, "start: {load_ms: 300}").await.unwrap();
    let recorded = fixture::exchange("llamacpp", "61");
    let loading = client::ask(engine.address(), &recorded.request).await;
    assert_eq!((loading.head, loading.body), (recorded.head, recorded.body));
    let props = client::ask(engine.address(), &client::get("/props")).await;
    assert_eq!(props.status(), 503);
    wait_for(&engine, |event| *event == Event::Ready).await;
    assert_eq!(
        client::ask(engine.address(), &recorded.request)
            .await
            .status(),
        200
    );
}

// spec: OC-TEST-7302
#[tokio::test]
async fn the_others_refuse_connections_until_they_are_loaded() {
    for dialect in [Vllm, Tgi, Triton] {
        let engine = starting(dialect, "start: {load_ms: 200}").await.unwrap();
        let refused = TcpStream::connect(engine.address()).await.unwrap_err();
        assert_eq!(
            refused.kind(),
            std::io::ErrorKind::ConnectionRefused,
            "{dialect:?}"
        );
        wait_for(&engine, |event| *event == Event::Ready).await;
        let connected = async {
            while TcpStream::connect(engine.address()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(client::PATIENCE, connected)
            .await
            .unwrap();
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn health_can_lie_about_loading() {
    let engine = starting(Llamacpp, "start: {load_ms: 5000}\nhealth: lies")
        .await
        .unwrap();
    assert_eq!(
        client::ask(engine.address(), &client::get("/health"))
            .await
            .status(),
        200
    );
    assert_eq!(
        client::ask(engine.address(), &client::get("/props"))
            .await
            .status(),
        503
    );
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_failed_start_says_why_in_the_engines_own_words() {
    for (dialect, fail, word) in [
        (Llamacpp, "port_taken", "couldn't bind HTTP server socket"),
        (Vllm, "port_taken", "address already in use"),
        (Triton, "missing_library", "libcudart"),
    ] {
        let error = starting(dialect, &format!("start: {{fail: {fail}}}"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn an_engine_that_runs_out_of_memory_while_loading_is_gone_then() {
    let engine = starting(Llamacpp, "start: {load_ms: 50, fail: oom}")
        .await
        .unwrap();
    assert_eq!(
        client::ask(engine.address(), &client::get("/health"))
            .await
            .status(),
        503
    );
    tokio::time::timeout(client::PATIENCE, engine.died())
        .await
        .unwrap();
    assert!(!engine.log().iter().any(|entry| entry.event == Event::Ready));
}
