//! What can go wrong between a client and a daemon.

use contracts_api_types::error::ErrorBody;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// The server refused: its code, message and hints.
    #[error("{} ({})", body.message, body.code)]
    Refused {
        /// HTTP status.
        status: u16,
        /// The error envelope.
        body: Box<ErrorBody>,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("cannot reach {url}")]
    Transport {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered something that the contract does not allow.
    #[error("unexpected answer from {url}: {problem}")]
    Protocol {
        /// What was called.
        url: String,
        /// What was wrong.
        problem: String,
    },
}

impl SdkError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::Refused { body, .. } => body.retriable,
            Self::Transport { .. } => true,
            Self::Protocol { .. } => false,
        }
    }
}
