//! One generation: what is asked of the engine and what comes back.

use std::time::Duration;

use futures_util::stream::BoxStream;

use crate::error::AdapterError;
use crate::sampling::Sampling;

/// The longest waits of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the request to the first text.
    pub first_token: Duration,
    /// Between two pieces of text.
    pub gap: Duration,
}

/// A generation, ready for an engine: every value is set and within its range.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    /// For the engine's log and for correlation.
    pub request_id: String,
    /// The slot that the scheduler gave to this generation.
    pub slot: u32,
    /// The prompt as text.
    pub prompt: String,
    /// The most tokens to generate, at least 1.
    pub max_tokens: u32,
    /// The seed, 0 to 4,294,967,294: the range that every engine keeps whole.
    pub seed: u32,
    /// Every sampler field.
    pub sampling: Sampling,
    /// The longest waits.
    pub limits: Limits,
}

/// Why an engine ended a generation by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// The token limit, or the end of the context.
    Length,
}

/// The engine's account of a finished generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Prompt tokens, those from the cache included.
    pub tokens_in: u32,
    /// Prompt tokens taken from the cache.
    pub tokens_cached: u32,
    /// Generated tokens.
    pub tokens_out: u32,
    /// Time spent on the prompt, by the engine's clock.
    pub prefill: Duration,
    /// Time spent generating, by the engine's clock.
    pub decode: Duration,
}

/// What a generation yields before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GenerationEvent {
    /// A piece of output, never empty. Engines cut where timing cuts: pieces are not tokens.
    Text(String),
    /// The end. Nothing follows.
    Done(Completion),
}

/// The stream of one generation. Dropping it cancels the generation.
pub type GenerationStream = BoxStream<'static, Result<GenerationEvent, AdapterError>>;
