//! The trait that hides an engine.

use std::time::Duration;

use async_trait::async_trait;
use orchestrator_core::engine::Engine;

use crate::error::AdapterError;
use crate::generation::{GenerateRequest, GenerationStream};

/// Whether an engine can take work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers, but its model is still loading.
    Loading,
    /// It is ready for requests.
    Ready,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineProps {
    /// Version and build, in the engine's own form, for instance `b6123-0c1e570`.
    pub engine_version: String,
    /// How many generations run at once.
    pub slots: u32,
    /// Context of one slot, in tokens.
    pub ctx_per_slot: u32,
}

/// One slot as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Index from 0.
    pub index: u32,
    /// Whether a generation holds it.
    pub busy: bool,
}

/// Gauges and counters of an engine under our own names. `None`: this engine does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineMetrics {
    /// Requests being generated.
    pub running: Option<u32>,
    /// Requests waiting inside the engine.
    pub waiting: Option<u32>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_cache_usage_ratio: Option<f64>,
    /// Prompt tokens processed since its start.
    pub tokens_in_total: Option<u64>,
    /// Tokens generated since its start.
    pub tokens_out_total: Option<u64>,
}

/// How sure it is that a slot is free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRelease {
    /// The engine said so.
    Confirmed,
    /// The engine cannot be asked per slot; its totals agree with it.
    Inferred,
    /// Not within the time given.
    Unknown,
}

/// One worker process, spoken to in its engine's dialect.
#[async_trait]
pub trait WorkerAdapter: Send + Sync + 'static {
    /// The engine behind this adapter.
    fn engine(&self) -> Engine;

    /// Asks whether the engine is ready.
    ///
    /// # Errors
    /// When it does not answer, or answers with a failure.
    async fn health(&self) -> Result<Health, AdapterError>;

    /// Asks for version and capacity.
    ///
    /// # Errors
    /// When it does not answer, or not in its known form.
    async fn props(&self) -> Result<EngineProps, AdapterError>;

    /// Asks for the state of every slot.
    ///
    /// # Errors
    /// When it does not answer, or has no such view.
    async fn slots(&self) -> Result<Vec<SlotState>, AdapterError>;

    /// Counts `text` with the engine's own tokenizer, special tokens included.
    ///
    /// # Errors
    /// When it does not answer, or has no tokenizer to ask.
    async fn count_tokens(&self, text: &str) -> Result<u32, AdapterError>;

    /// Starts a generation. It resolves when the engine accepted the request; dropping the stream
    /// cancels it.
    ///
    /// # Errors
    /// When the engine refuses the request or cannot be reached.
    async fn generate(&self, request: GenerateRequest) -> Result<GenerationStream, AdapterError>;

    /// After a stream was dropped: waits until the engine shows `slot` free, `within` at most.
    async fn confirm_release(&self, slot: u32, within: Duration) -> SlotRelease;

    /// Reads the engine's metrics.
    ///
    /// # Errors
    /// When it does not answer, or not in its known form.
    async fn metrics(&self) -> Result<EngineMetrics, AdapterError>;
}
