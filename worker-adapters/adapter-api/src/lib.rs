//! What every engine adapter offers, on domain types.
//!
//! One trait, [`WorkerAdapter`]; its events and errors; the sampler profile with its allow-list of
//! engine parameters; and the watch over a running generation that every adapter puts around its
//! own stream.
//!
//! # Invariants
//! - A generation yields any number of `Text` events and then exactly one terminal item: `Done` or
//!   an error. Nothing follows it.
//! - Text is valid UTF-8; its concatenation is the engine's output, nothing lost or doubled.
//! - An adapter never retries: whether and where to run again is the scheduler's decision.
//!
//! Not here: wire types of our own APIs, any engine's dialect, and the decoding of server-sent
//! events (`contracts-sse`).

pub mod adapter;
pub mod error;
pub mod generation;
pub mod sampling;
pub mod watched;

pub use adapter::WorkerAdapter;
pub use error::{AdapterError, FaultKind};
