//! `llama-orch.yaml`: the one file that both daemons read.
//!
//! Layers, the later one winning: built-in defaults, the file, `LLORCH_ORCHESTRATORD__…` and
//! `LLORCH_POOL_MANAGERD__…` variables, flags. Unknown fields are refused with line and excerpt,
//! values are checked here, and the JSON Schema is emitted from the same types.
//!
//! Not here: whether a model, a tool or a GPU exists (pool-managerd finds out).

pub mod agent;
pub mod load;
pub mod orchestrator;
pub mod quantity;
pub mod validate;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agent::{PoolConfig, PoolManagerdConfig};
pub use load::{ConfigError, Loaded, Sources, load};
pub use orchestrator::OrchestratordConfig;
pub use quantity::{AutoOr, ByteSize, Span};

/// The whole file.
// spec: OC-CONFIG-6001, ORCH-3030
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The daemon that admits tasks and streams tokens.
    pub orchestratord: OrchestratordConfig,
    /// The agent of this host.
    pub pool_managerd: PoolManagerdConfig,
}

/// The JSON Schema of the file, as pretty JSON with a final newline.
// spec: OC-CONFIG-6010
#[must_use]
pub fn schema_json() -> String {
    let schema = schemars::schema_for!(Config);
    let mut text =
        serde_json::to_string_pretty(&schema).expect("a schema is plain JSON and always prints");
    text.push('\n');
    text
}
