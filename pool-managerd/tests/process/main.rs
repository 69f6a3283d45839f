//! The program as a process: the guard with real children, and the agent with its API.
//!
//! Engines are small shell scripts here, each wrong in one way; the real llama-server is driven by
//! the end-to-end tests.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be unwrapped fails the test, as it should"
)]

mod agent;
mod api;
mod guard;
mod support;
