//! A fleet of real processes for end-to-end tests: orchestratord, pool-managerd, and the
//! `llama-server` that it starts.
//!
//! # Invariants
//! - Nothing is mocked. Programs come from the same build as the tests; the engine comes from
//!   `LLORCH_TEST_LLAMA_SERVER`, or is provisioned as a user's would be.
//! - A fleet leaves no process behind, also when a test fails half-way.
//!
//! Not here: faults that reality will not give on demand (fake-engine), and load.

pub mod fleet;
pub mod genuine;
pub mod models;
pub mod processes;
pub mod programs;
pub mod tasks;
pub mod wish;

pub use fleet::{Fleet, FleetOptions};
