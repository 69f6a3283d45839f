//! The wire types of llama-orch: what stands in requests, answers, SSE frames and node pushes.
//!
//! Data only. The OpenAPI documents are emitted from these types, the daemons and the SDK share
//! them, and a change here is a change of the contract. Unknown fields in requests are refused;
//! answers may grow fields.
//!
//! Not here: any rule about which values are acceptable (orchestratord) or how a task is placed
//! (orchestrator-core).

pub mod capability;
pub mod error;
pub mod kind;
pub mod node;
pub mod pool;
pub mod stream;
pub mod task;

/// The version of all three APIs: `info.version` of the OpenAPI documents and `api_version` of
/// the capabilities.
// spec: ORCH-3096, OC-CTRL-2061, ORCH-3044
pub const API_VERSION: &str = "1.0.0";

/// The header that carries a correlation id both ways.
// spec: ORCH-2009
pub const CORRELATION_HEADER: &str = "x-correlation-id";
