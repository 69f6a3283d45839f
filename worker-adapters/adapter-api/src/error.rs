//! Why an engine did not do what it was asked.

use std::time::Duration;

/// The class of a failure; it decides whose fault it was and what may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No connection, or the engine is still loading.
    Unreachable,
    /// The engine refused the request itself (a 4xx): it would refuse it again.
    Rejected,
    /// The engine has no room now.
    Overloaded,
    /// Nothing came in time.
    TimedOut,
    /// The connection ended before the engine said that it was done.
    CutOff,
    /// The engine broke its own protocol.
    Garbled,
    /// The engine reported a failure of its own.
    EngineFailed,
}

/// A failure of one call to an engine, with the engine's own words kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The connection could not be made, or the engine is not ready.
    #[error("the engine cannot be reached: {reason}")]
    Unreachable {
        /// What was tried and what came back.
        reason: String,
    },
    /// The engine refused the request.
    #[error("the engine refused the request with status {status}: {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// The engine has no room now.
    #[error("the engine is overloaded: {message}")]
    Overloaded {
        /// The engine's own words.
        message: String,
    },
    /// No answer, first token or further token came in time.
    #[error("{what} did not come within {waited:?}")]
    TimedOut {
        /// What was waited for: `connection`, `answer`, `first token` or `next token`.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The stream ended without the engine's own end.
    #[error("the engine's stream was cut off: {reason}")]
    CutOff {
        /// How it ended.
        reason: String,
    },
    /// The engine sent what its protocol does not allow.
    #[error("the engine sent something unreadable: {reason}")]
    Garbled {
        /// What was wrong, with a short excerpt.
        reason: String,
    },
    /// The engine reported a failure of its own.
    #[error("the engine failed: {message}")]
    EngineFailed {
        /// The engine's own words.
        message: String,
    },
}

impl AdapterError {
    /// The class of this failure.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Unreachable { .. } => FaultKind::Unreachable,
            Self::Rejected { .. } => FaultKind::Rejected,
            Self::Overloaded { .. } => FaultKind::Overloaded,
            Self::TimedOut { .. } => FaultKind::TimedOut,
            Self::CutOff { .. } => FaultKind::CutOff,
            Self::Garbled { .. } => FaultKind::Garbled,
            Self::EngineFailed { .. } => FaultKind::EngineFailed,
        }
    }
}
