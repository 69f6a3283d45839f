//! What the metrics of all dialects are made of.

/// Sums since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// Generations asked for.
    pub(crate) requests: u64,
    /// Generations finished, by reason.
    pub(crate) finished_by_length: u64,
    pub(crate) finished_by_stop: u64,
    /// Generations given up because the client left.
    pub(crate) dropped: u64,
    /// Generations that failed.
    pub(crate) failed: u64,
    /// Requests refused before they ran.
    pub(crate) refused: u64,
    pub(crate) overloaded: u64,
    /// Tokens of prompts, in all and from the cache.
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) prompt_s: f64,
    /// Tokens of answers.
    pub(crate) decoded_tokens: u64,
    pub(crate) decode_s: f64,
    /// Busy slots, summed over the tokens.
    pub(crate) busy_per_token: u64,
    /// The longest sequence seen.
    pub(crate) longest: u32,
    /// Time in the queue.
    pub(crate) queue_s: f64,
}

impl Counters {
    pub(crate) fn finished(&self) -> u64 {
        self.finished_by_length + self.finished_by_stop
    }
}
