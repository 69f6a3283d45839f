//! The frames of one task: written once by its dispatcher, read by any number of readers.
//!
//! ```text
//! open ── append_started? ── append_token* / append_metrics* ── seal ──▶ sealed
//! ```
//!
//! # Invariants
//! - Each event is encoded once; readers share its bytes. [OC-CTRL-2120]
//! - Indexes of `token` frames run from 0 without a gap, and what was appended never changes.
//! - Exactly one terminal frame, the last one: nothing is appended after [`StreamLog::seal`].
//!   [ORCH-2002, ORCH-3428]
//! - A writer never waits for a reader. A slow reader costs its own position and nothing else.
//! - The log holds at most its byte limit, and the terminal frame.
//!
//! Not here: how long a log is kept (the owner task), HTTP (`api`), cutting text at character
//! borders (the adapters).

mod position;
mod reader;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use contracts_api_types::error::ErrorCode;
use contracts_api_types::kind::EngineName;
use contracts_api_types::stream::{EndEvent, ErrorEvent, MetricsEvent, StartedEvent, TokenEvent};
use contracts_api_types::task::FinishReason;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::services::wire::millis;

pub use position::{InvalidPosition, Position, parse_resume};
pub use reader::{Pace, Place};

/// The encoded bytes that one task may hold. An answer is bounded by its context; a frame costs
/// some 100 bytes around its text, so this is room for a context of over 100,000 tokens.
pub const LOG_BYTES_MAX: usize = 16 << 20;

/// The memory that a frame takes besides its own bytes: its entries in two lists, and what the
/// allocator needs for the bytes and for the count of their readers.
const FRAME_COST: usize = size_of::<Bytes>() + size_of::<TokenMark>() + 64;

/// A position that is not one of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the id of an event of this task; send the id of the last one you have, or none")]
pub struct ForeignPosition;

/// Why a frame was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream has its terminal frame.
    #[error("the stream has ended")]
    Sealed,
    /// The log holds as much as it may.
    #[error("the stream holds {limit} bytes, which is all that one task may keep")]
    Full {
        /// The limit.
        limit: usize,
    },
}

/// The stream has ended already, in the way that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended already")]
pub struct AlreadySealed;

/// How a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an `end` frame; also a canceled task.
    End {
        /// Prompt tokens.
        tokens_in: u32,
        /// Generated tokens.
        tokens_out: u32,
        /// Time the engine spent generating.
        decode_time: Duration,
        /// Time between admission and start.
        queue_time: Duration,
        /// Why it ended.
        finish_reason: FinishReason,
    },
    /// With an `error` frame.
    Error {
        /// The cause.
        code: ErrorCode,
        /// What happened and what to do about it.
        message: String,
        /// The engine, where one was involved.
        engine: Option<EngineName>,
        /// The pool, where one was involved.
        pool_id: Option<String>,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
}

/// What the log knows of its text once it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedText {
    /// SHA-256 of the whole text, in hex.
    pub digest: String,
    /// Whether any text is visible.
    pub any: bool,
}

/// The frames of one task.
#[derive(Debug)]
pub struct StreamLog {
    state: Mutex<State>,
    /// Grows with every append. Readers mark it as seen before they look, so none is missed.
    appended: watch::Sender<()>,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<Bytes>,
    tokens: Vec<TokenMark>,
    text: Sha256,
    bytes: usize,
    sealed: bool,
}

/// What a `token` frame's id says, and where the frame is.
#[derive(Debug)]
struct TokenMark {
    frame: usize,
    byte_end: u64,
    hash: u64,
}

impl Default for StreamLog {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamLog {
    /// An empty log of at most [`LOG_BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(LOG_BYTES_MAX)
    }

    /// An empty log of at most `limit` bytes and its terminal frame.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            appended: watch::Sender::new(()),
            limit,
        }
    }

    /// Appends `started`.
    ///
    /// # Errors
    /// [`AppendError`]; the log is unchanged.
    pub fn append_started(&self, event: &StartedEvent) -> Result<(), AppendError> {
        self.append(|state| state.push(frame("started", None, event), self.limit))
    }

    /// Appends `metrics`.
    ///
    /// # Errors
    /// [`AppendError`]; the log is unchanged.
    pub fn append_metrics(&self, event: &MetricsEvent) -> Result<(), AppendError> {
        self.append(|state| state.push(frame("metrics", None, event), self.limit))
    }

    /// Appends a piece of text.
    ///
    /// # Errors
    /// [`AppendError`]; the log is unchanged.
    // spec: ORCH-3410, ORCH-3411, OC-CTRL-2120
    pub fn append_token(&self, text: &str) -> Result<(), AppendError> {
        self.append(|state| state.push_token(text, self.limit))
    }

    /// Ends the stream. The digest and whether text was visible come from the log itself.
    ///
    /// # Errors
    /// [`AlreadySealed`]: the first ending stands.
    // spec: ORCH-2002, ORCH-3428, OC-CTRL-2012
    pub fn seal(&self, ending: Ending) -> Result<SealedText, AlreadySealed> {
        let sealed = {
            let mut state = self.lock();
            if state.sealed {
                return Err(AlreadySealed);
            }
            let text = state.text();
            let last = terminal(ending, &text);
            state.bytes += last.len();
            state.frames.push(last);
            // It is kept for a while, and nothing will be added.
            state.frames.shrink_to_fit();
            state.tokens.shrink_to_fit();
            state.sealed = true;
            text
        };
        self.appended.send_replace(());
        Ok(sealed)
    }

    /// Whether the stream has ended.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.lock().sealed
    }

    /// The `token` frames so far.
    #[must_use]
    pub fn token_frames(&self) -> usize {
        self.lock().tokens.len()
    }

    /// The memory that the log takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.bytes + FRAME_COST * state.frames.len()
    }

    /// Checks that a position is one of this log.
    ///
    /// # Errors
    /// [`ForeignPosition`], also for one that this log has not reached.
    // spec: ORCH-3401, ORCH-3443
    pub fn place(&self, position: Position) -> Result<Place, ForeignPosition> {
        let state = self.lock();
        let mark = state.tokens.get(position.index).ok_or(ForeignPosition)?;
        let same = mark.byte_end == position.byte_end && mark.hash == position.hash;
        if same {
            Ok(Place(mark.frame + 1))
        } else {
            Err(ForeignPosition)
        }
    }

    fn append(
        &self,
        push: impl FnOnce(&mut State) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        push(&mut self.lock())?;
        self.appended.send_replace(());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, frame: Bytes, limit: usize) -> Result<(), AppendError> {
        if self.sealed {
            return Err(AppendError::Sealed);
        }
        if self.bytes + frame.len() > limit {
            return Err(AppendError::Full { limit });
        }
        self.bytes += frame.len();
        self.frames.push(frame);
        Ok(())
    }

    fn push_token(&mut self, text: &str, limit: usize) -> Result<(), AppendError> {
        let index = self.tokens.len();
        let byte_end = self.tokens.last().map_or(0, |mark| mark.byte_end) + text.len() as u64;
        let hasher = self.text.clone().chain_update(text);
        let hash = leading_u64(&hasher.clone().finalize());
        let id = Position {
            index,
            byte_end,
            hash,
        }
        .to_string();
        let event = TokenEvent {
            t: text.to_owned(),
            i: index as u64,
        };
        let mark = TokenMark {
            frame: self.frames.len(),
            byte_end,
            hash,
        };
        self.push(frame("token", Some(&id), &event), limit)?;
        self.tokens.push(mark);
        self.text = hasher;
        Ok(())
    }

    fn text(&self) -> SealedText {
        let digest = self.text.clone().finalize();
        SealedText {
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            any: !self.tokens.is_empty(),
        }
    }
}

fn terminal(ending: Ending, text: &SealedText) -> Bytes {
    match ending {
        Ending::End {
            tokens_in,
            tokens_out,
            decode_time,
            queue_time,
            finish_reason,
        } => {
            let event = EndEvent {
                tokens_in,
                tokens_out,
                decode_time_ms: millis(decode_time),
                queue_time_ms: millis(queue_time),
                finish_reason,
                text_digest: text.digest.clone(),
            };
            frame("end", None, &event)
        }
        Ending::Error {
            code,
            message,
            engine,
            pool_id,
            retry_after,
        } => {
            let event = ErrorEvent {
                code,
                message,
                engine,
                pool_id,
                retriable: code.retriable(),
                retry_after_ms: retry_after.map(millis),
                partial: text.any,
            };
            frame("error", None, &event)
        }
    }
}

// spec: OC-CTRL-2022, ORCH-3412
fn frame(name: &str, id: Option<&str>, event: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(event).expect("events have string keys and plain values");
    let mut out = Vec::with_capacity(data.len() + 64);
    contracts_sse::encode(&mut out, Some(name), id, &data);
    // A long stream holds many small frames, so none keeps spare room.
    out.into_boxed_slice().into()
}

fn leading_u64(digest: &[u8]) -> u64 {
    digest
        .iter()
        .take(8)
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
