//! One generation as a dialect asks for it, and as it comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::flow::{Delta, Incomplete};
use crate::vocabulary::TokenId;

/// What is to be generated. Dialects have checked and clipped it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The prompt as text, without specials: what the answer depends on.
    pub(crate) text: String,
    /// The prompt as the engine counts it.
    pub(crate) prompt: Arc<[TokenId]>,
    pub(crate) max_tokens: u32,
    /// Whether the context rather than the client set `max_tokens`.
    pub(crate) is_truncated: bool,
    /// Absent: a different one for every generation.
    pub(crate) seed: Option<u64>,
    pub(crate) temperature: f64,
    pub(crate) stops: Vec<String>,
    pub(crate) ignore_eos: bool,
    pub(crate) stream: bool,
    pub(crate) slot: Option<usize>,
    pub(crate) reuse_cache: bool,
    pub(crate) on_leave: OnLeave,
    pub(crate) incomplete: Incomplete,
    pub(crate) slot_params: Arc<str>,
    /// After how much silence a stream gets a comment, which the server sends whether or not
    /// anything is computed.
    pub(crate) ping: Option<Duration>,
}

/// What becomes of the generation when its client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLeave {
    /// Given up before the next token.
    Abort,
    /// Given up once no result has left the engine for so long, which other traffic prevents.
    AbortWhenQuiet(Duration),
    /// Computed to its end for nobody.
    Continue,
}

/// Why a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Length,
    Eos,
    Stop(String),
    Abort,
}

impl Reason {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Eos => "eos",
            Self::Stop(_) => "stop",
            Self::Abort => "abort",
        }
    }
}

/// A finished generation.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    pub(crate) text: String,
    pub(crate) is_truncated: bool,
    pub(crate) counts: Counts,
    /// Every token with its text as shown on its own.
    pub(crate) tokens: Vec<(TokenId, String)>,
}

/// The numbers of a generation, up to the token they come with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) slot: usize,
    pub(crate) prompt_tokens: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) completion_tokens: u32,
    pub(crate) queued: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
}

/// What comes out of a generation, in this order, the last two only at its end.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The prompt is read.
    Prefilled,
    Token(Delta, Counts),
    Last(Delta, Box<End>),
    Failed(String),
}
