//! The adapter for llama.cpp's `llama-server`.
//!
//! Maps the server's own HTTP API (`/completion`, `/slots`, `/props`, `/tokenize`, `/metrics`,
//! `/health`) to [`WorkerAdapter`](worker_adapters_adapter_api::WorkerAdapter). Its
//! OpenAI-compatible paths are not used.
//!
//! # Invariants
//! - A request holds the fields of one allow-list, all of them, always.
//! - A generation counts as finished at `"stop": true` and nowhere else.
//! - Every answer is bounded in bytes and in time.
//! - A slot index is checked against the server's slot count, since the server wraps it around.
//!
//! Not here: starting the server, retries, and the digest of its model, which it does not know.

mod adapter;
mod completion;
mod config;
mod frames;
mod metrics;
mod refusal;
mod slots;
mod transport;

pub use adapter::LlamaCppAdapter;
pub use config::{ApiKey, ConfigError, LlamaCppConfig};
