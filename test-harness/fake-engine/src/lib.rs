//! A scripted inference engine that speaks the dialects of llama.cpp, vLLM, TGI and Triton.
//!
//! As a process (`fake-engine`) or inside a test's own process ([`FakeEngine`]). It follows a
//! [`script::Script`] and keeps a [`log`] of what it really did.

pub mod flow;
pub mod log;
pub mod script;
pub mod text;
pub mod vocabulary;

mod answer;
mod conversation;
mod dialect;
mod engine;
mod http;
mod server;
mod wire;

pub use dialect::Dialect;
pub use engine::Mortality;
pub use server::{FakeEngine, Options, StartError};
