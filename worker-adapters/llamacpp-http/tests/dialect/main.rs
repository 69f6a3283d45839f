//! The adapter against recorded answers of a real `llama-server`, byte by byte, and against
//! answers that no server should give.

mod faults;
mod generation;
mod queries;
mod replay;

use std::time::Duration;

use futures_util::StreamExt;
use worker_adapters_adapter_api::generation::{
    Completion, GenerateRequest, GenerationEvent, GenerationStream, Limits,
};
use worker_adapters_adapter_api::sampling::Sampling;
use worker_adapters_adapter_api::{AdapterError, WorkerAdapter};
use worker_adapters_llamacpp_http::{ApiKey, LlamaCppAdapter, LlamaCppConfig};

use crate::replay::Replay;

/// A recorded body.
macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name))
    };
}
pub(crate) use fixture;

/// A server that has the two slots of the recording and answers the rest as `add` says.
async fn server(add: impl FnOnce(&mut Replay)) -> (LlamaCppAdapter, replay::Running) {
    let mut replay = Replay::default();
    replay.json("GET /props", 200, fixture!("props.json"));
    add(&mut replay);
    let running = replay.start().await;
    (adapter(running.base_url.clone()), running)
}

fn adapter(base_url: String) -> LlamaCppAdapter {
    let api_key = Some(ApiKey::new("k1"));
    let connect_timeout = Duration::from_secs(5);
    LlamaCppAdapter::new(LlamaCppConfig {
        base_url,
        api_key,
        connect_timeout,
    })
    .expect("the config is usable")
}

fn request() -> GenerateRequest {
    GenerateRequest {
        request_id: "r".into(),
        slot: 1,
        prompt: "hello world".into(),
        max_tokens: 20,
        seed: 7,
        sampling: Sampling::profile_v1(),
        limits: Limits {
            first_token: Duration::from_secs(20),
            gap: Duration::from_secs(20),
        },
    }
}

/// The whole text, and how it ended.
async fn read(mut stream: GenerationStream) -> (String, Result<Completion, AdapterError>) {
    let mut text = String::new();
    let end = loop {
        match stream
            .next()
            .await
            .expect("a terminal item comes before the end")
        {
            Ok(GenerationEvent::Text(piece)) => {
                assert!(!piece.is_empty());
                text.push_str(&piece);
            }
            Ok(GenerationEvent::Done(completion)) => break Ok(completion),
            Err(error) => break Err(error),
        }
    };
    assert!(
        stream.next().await.is_none(),
        "something followed the terminal item"
    );
    (text, end)
}

/// The outcome of a generation, whether it fails at its start or in its stream.
async fn generate(adapter: &LlamaCppAdapter) -> (String, Result<Completion, AdapterError>) {
    match adapter.generate(request()).await {
        Ok(stream) => read(stream).await,
        Err(error) => (String::new(), Err(error)),
    }
}
