//! An in-process adapter for tests, with faults on demand.
//!
//! [`MockAdapter`] generates text that depends on prompt and seed alone, or follows a [`Script`]
//! step by step, so that a test decides when the next piece comes and how the stream ends.
//!
//! # Invariants
//! - The same prompt, seed and token limit give the same pieces, always.
//! - A slot is busy from the acceptance of a generation until its stream is dropped, or until
//!   [`MockAdapter::unstick`] where the slot is stuck.
//! - A second generation on a busy slot is refused, so that a scheduler's slip is seen at once.
//!
//! Not here: any dialect or process. This adapter is never selectable in a config.

mod adapter;
mod script;

pub use adapter::MockAdapter;
pub use script::Script;
