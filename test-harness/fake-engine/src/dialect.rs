//! The four dialects: which paths exist, what is asked, and how answers look.
//!
//! Each is held to recordings of the real server (`tests/transcripts`). What no recording shows is
//! not spoken: it is a 404 of that engine.

mod llamacpp;
pub(crate) mod start;
mod tgi;
mod triton;
mod vllm;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Hex};
use crate::engine::Engine;
use crate::engine::job::{Counts, End, Job};
use crate::flow::Delta;
use crate::http::Request;

/// Whose language the engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// llama.cpp's `llama-server`.
    Llamacpp,
    /// vLLM's OpenAI server.
    Vllm,
    /// Text Generation Inference.
    Tgi,
    /// Triton Inference Server.
    Triton,
}

/// What becomes of a request.
pub(crate) enum Routed {
    Answer(Answer),
    Generate(Box<Asked>),
    /// Accepted, and never answered.
    Silence,
}

/// A generation, and the voice that tells it.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) job: Job,
    pub(crate) voice: Box<dyn Voice>,
}

/// How one dialect tells one generation.
pub(crate) trait Voice: Send {
    /// The head of the stream.
    fn stream_head(&self) -> Vec<u8>;

    /// Whether the head is written before the first token is there.
    fn opens_early(&self) -> bool;

    fn hex(&self) -> Hex {
        Hex::Lower
    }

    /// The data of a token's frame, if the token has one.
    fn delta(&mut self, delta: &Delta, counts: &Counts) -> Option<String>;

    /// The data of the last frames. The first of them tells `delta`, if it has tokens.
    fn last(&mut self, delta: &Delta, end: &End) -> Vec<String>;

    /// The data behind the last frames.
    fn done(&self) -> Option<&'static str> {
        None
    }

    /// Whether frames end the stream, rather than its last chunk alone.
    fn has_end_frame(&self) -> bool {
        true
    }

    /// The data of the frames that tell of an error in mid-stream, up to the end.
    fn error_frames(&self, message: &str) -> Vec<String>;

    /// A frame as if of somebody else's answer.
    fn foreign(&mut self, delta: &Delta, counts: &Counts) -> Option<String>;

    /// The answer that is no stream.
    fn whole(&mut self, end: &End) -> Answer;

    /// The answer to an error before anything was written.
    fn failed(&self, message: &str) -> Answer;

    /// The answer of an engine that is overloaded.
    fn overloaded(&self) -> Answer;

    /// The answer of an engine whose computing part is dead.
    fn dead(&self) -> Answer;
}

/// Which of the listeners a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Main,
    /// Triton has its metrics on a port of their own.
    Metrics,
}

/// Finds out what becomes of a request.
pub(crate) fn route(engine: &Arc<Engine>, door: Door, request: &Request) -> Routed {
    match engine.dialect {
        Dialect::Llamacpp => llamacpp::route(engine, request),
        Dialect::Vllm => vllm::route(engine, request),
        Dialect::Tgi => tgi::route(engine, request),
        Dialect::Triton => triton::route(engine, door, request),
    }
}

/// What health can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wellness {
    Well,
    Loading,
    Dead,
    Silent,
}

/// What health says now, by script and phase.
pub(crate) fn wellness(engine: &Engine) -> Wellness {
    use crate::engine::Phase;
    use crate::script::behaviour::Health;
    match (engine.script.health, engine.phase()) {
        (Health::Lies, _) => Wellness::Well,
        (Health::Hangs, _) => Wellness::Silent,
        (Health::Honest, _) if engine.is_hung() => Wellness::Silent,
        (Health::Honest, Phase::Loading) => Wellness::Loading,
        (Health::Honest, Phase::Dead) => Wellness::Dead,
        (Health::Honest, Phase::Ready | Phase::Stopping) => Wellness::Well,
    }
}
