//! What can go wrong between a client and a daemon.

use contracts_api_types::error::ErrorBody;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum SdkError {
    /// The client cannot be set up with what it was given.
    #[error("{problem}")]
    Config {
        /// What is wrong, and what to give instead.
        problem: String,
    },
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
    /// A stream ended early again and again.
    #[error("the stream {url} ended early {times} times in a row")]
    Interrupted {
        /// What was called.
        url: String,
        /// How often.
        times: u32,
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
            Self::Transport { .. } | Self::Interrupted { .. } => true,
            Self::Config { .. } | Self::Protocol { .. } => false,
        }
    }
}
