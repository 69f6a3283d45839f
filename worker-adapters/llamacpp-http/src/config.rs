//! What the adapter is told about its server.

use std::fmt;
use std::time::Duration;

/// Where a `llama-server` listens and how it is spoken to.
#[derive(Clone, Debug)]
pub struct LlamaCppConfig {
    /// Such as `http://127.0.0.1:41234`; a path behind it is kept in front of the server's own.
    pub base_url: String,
    /// The key the server was started with, if any.
    pub api_key: Option<ApiKey>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
}

/// A key that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the key.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// Why no adapter could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address is not one that the adapter can use.
    #[error("base_url `{base_url}` is unusable: {reason}; use `http://HOST:PORT`")]
    BaseUrl {
        /// The address as given.
        base_url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key cannot stand in an HTTP header.
    #[error("api_key holds characters that an HTTP header cannot carry: use printable ASCII")]
    ApiKey,
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be built")]
    Client(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-CTRL-2041
    #[test]
    fn a_key_is_never_printed() {
        let config = LlamaCppConfig {
            base_url: "http://127.0.0.1:1".into(),
            api_key: Some(ApiKey::new("hunter2")),
            connect_timeout: Duration::from_secs(1),
        };
        let printed = format!("{config:?}");
        assert!(
            printed.contains("redacted") && !printed.contains("hunter2"),
            "{printed}"
        );
    }
}
