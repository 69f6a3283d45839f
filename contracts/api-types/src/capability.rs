//! What this installation can do, for clients that choose by themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::kind::{DeviceClass, EngineName, Workload};

/// The answer of `GET /v1/capabilities`.
// spec: ORCH-3095, ORCH-3096, OC-CTRL-2060
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capabilities {
    /// Equal to `info.version` of the OpenAPI documents.
    pub api_version: String,
    /// One entry per pool.
    pub pools: Vec<PoolCapability>,
}

/// What one pool can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolCapability {
    /// The pool.
    pub pool_id: String,
    /// Its engine.
    pub engine: EngineName,
    /// The engine's version, once it is known.
    pub engine_version: Option<String>,
    /// Names under which its model can be asked for.
    pub models: Vec<String>,
    /// Digest of the model file, once it has been read.
    pub model_digest: Option<String>,
    /// The kind of device.
    pub device_class: DeviceClass,
    /// The largest context of a task.
    pub ctx_max: u32,
    /// The most tokens of an answer.
    pub max_tokens_out: u32,
    /// Tasks at once over all ready replicas.
    pub concurrency: u32,
    /// What it computes.
    pub workloads: Vec<Workload>,
    /// The sampler profile.
    pub sampler_profile_version: String,
}
