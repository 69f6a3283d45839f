//! The real binary over its real sockets, with the test in the place of the agent and the engine.
//!
//! Each operation has a test that fails when its handler answers a constant. The parts' own rules
//! are tested beside them; what needs a real engine is in `test-harness`.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod engine;
mod node;
mod support;

mod access;
mod bad_input;
mod control_plane;
mod data_plane;
mod lifecycle;
mod streams;
