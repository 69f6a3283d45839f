//! The typed Rust client of llama-orch: transport only.
//!
//! [`Client`] has one method per operation and speaks the types of `contracts-api-types`, so a
//! drift between client and server is a compile error. [`TaskStream`] reads a task's events and
//! picks the stream up again where it broke, without a gap or a repeat.
//!
//! Not here: prompts, retries of refused work, files; see `llama-orch-utils` and the CLI for those.

mod client;
mod error;
mod stream;

pub use client::Client;
pub use error::SdkError;
pub use stream::{StreamEvent, TaskStream};
