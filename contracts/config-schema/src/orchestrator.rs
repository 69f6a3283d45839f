//! The part of orchestratord.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, Span};

/// Settings of orchestratord.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrchestratordConfig {
    /// Address of the API. Anything but loopback needs a key.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// Where state is kept. A leading `~` is the home directory.
    pub data_dir: PathBuf,
    /// Who may call.
    pub auth: AuthConfig,
    /// What is admitted.
    pub admission: AdmissionConfig,
    /// How long ended tasks are kept.
    pub retention: RetentionConfig,
    /// Time that running streams get when the daemon stops.
    pub drain: Span,
}

impl Default for OrchestratordConfig {
    fn default() -> Self {
        Self {
            // spec: HME-002
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data_dir: default_data_dir(),
            auth: AuthConfig::default(),
            admission: AdmissionConfig::default(),
            retention: RetentionConfig::default(),
            // Decision 10: running streams get 30 s at a planned stop.
            drain: Span::from_secs(30),
        }
    }
}

/// Where both daemons keep their state unless told otherwise.
pub(crate) fn default_data_dir() -> PathBuf {
    PathBuf::from("~/.local/share/llama-orch")
}

/// Who may call. Either there is a key, or loopback is opened in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Callers on the loopback interface need no key.
    // spec: ORCH-3035
    pub open_on_loopback: bool,
    /// Keys, by the SHA-256 of their text.
    pub keys: Vec<ApiKey>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// For logs.
    pub name: String,
    /// Whose work it submits.
    pub tenant: String,
    /// SHA-256 of the key, 64 hex digits.
    pub sha256: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Submit, read and cancel tasks.
    Data,
    /// See pools, nodes and capabilities.
    Control,
}

/// What is admitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Bound of a task that names no deadline.
    pub default_deadline: Span,
    /// The largest request body.
    pub max_body: ByteSize,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            default_deadline: Span::from_secs(600),
            max_body: ByteSize(1 << 20),
        }
    }
}

/// How long ended tasks are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Tokens, after the end.
    pub stream: Span,
    /// Outcomes, after the end.
    pub task: Span,
    /// All kept tokens together.
    pub bytes: ByteSize,
    /// All kept outcomes together.
    pub tasks: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        // Decision 9.
        Self {
            stream: Span::from_secs(600),
            task: Span::from_secs(7 * 24 * 3600),
            bytes: ByteSize(1 << 30),
            tasks: 100_000,
        }
    }
}
