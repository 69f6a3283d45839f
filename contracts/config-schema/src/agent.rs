//! The part of pool-managerd.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use contracts_api_types::kind::{DeviceClass, EngineName, FullQueuePolicy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::orchestrator::default_data_dir;
use crate::quantity::{AutoOr, ByteSize, Span};

/// Settings of pool-managerd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolManagerdConfig {
    /// Address of the agent's API.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// Name of this host among its peers; the host name when absent.
    pub node_id: Option<String>,
    /// Where state is kept. A leading `~` is the home directory.
    pub data_dir: PathBuf,
    /// Where orchestratord answers.
    pub orchestrator: String,
    /// Allows pools of class `cpu-ci`, which are for CI and demos.
    // spec: ORCH-1102
    pub allow_cpu_ci: bool,
    /// Allows fetching engines.
    pub allow_downloads: bool,
    /// Where engines are built and kept. A leading `~` is the home directory.
    pub cache_dir: PathBuf,
    /// The pools of this host.
    pub pools: Vec<PoolConfig>,
}

impl Default for PoolManagerdConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9200)),
            node_id: None,
            data_dir: default_data_dir(),
            orchestrator: "http://127.0.0.1:8080".into(),
            allow_cpu_ci: false,
            allow_downloads: true,
            cache_dir: PathBuf::from("~/.cache/llama-orch"),
            pools: Vec::new(),
        }
    }
}

/// One pool: a model, an engine and devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Name, unique over all hosts: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// The engine.
    #[schemars(with = "EngineNameSchema")]
    pub engine: EngineName,
    /// The model: `file:` and a path, relative to this file, or absolute.
    pub model: String,
    /// Further names under which clients may ask for the model; its file name without the
    /// ending is always one.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Context of one task, in tokens.
    #[serde(default = "PoolConfig::default_ctx")]
    pub ctx: u32,
    /// What it runs on; `cpu-ci` only with `allow_cpu_ci: true`.
    #[serde(default = "PoolConfig::default_device_class")]
    #[schemars(with = "DeviceClassSchema")]
    pub device_class: DeviceClass,
    /// GPUs by index or UUID; all of them when absent.
    #[serde(default)]
    pub devices: Option<Vec<DeviceRef>>,
    /// Shares of the model per GPU, for a split over unlike ones.
    // spec: ORCH-3012
    #[serde(default)]
    pub tensor_split: Option<Vec<f64>>,
    /// Worker processes.
    #[serde(default = "PoolConfig::one")]
    pub replicas: u32,
    /// Generations at once, per worker.
    #[serde(default = "PoolConfig::one")]
    pub slots: u32,
    /// CPU threads per worker; the engine's own choice when absent.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Sampler profile.
    #[serde(default = "PoolConfig::default_profile")]
    pub sampler_profile_version: String,
    /// Where the engine comes from.
    #[serde(default)]
    pub provisioning: ProvisioningConfig,
    /// Bounds of the queue.
    #[serde(default)]
    pub queue: QueueConfig,
    /// The longest waits.
    #[serde(default)]
    pub timeouts: TimeoutConfig,
    /// How failures are retried.
    #[serde(default)]
    pub restart: RestartConfig,
}

impl PoolConfig {
    const fn default_ctx() -> u32 {
        4096
    }

    const fn default_device_class() -> DeviceClass {
        DeviceClass::Nvidia
    }

    const fn one() -> u32 {
        1
    }

    fn default_profile() -> String {
        "v1".into()
    }
}

/// A GPU, by index or UUID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DeviceRef {
    /// Index in NVML's order.
    Index(u32),
    /// UUID, such as `GPU-…`.
    Uuid(String),
}

/// Where an engine comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProvisioningConfig {
    /// How it is obtained.
    pub mode: ProvisioningMode,
    /// Mode `binary`: the program; when absent it is looked up on `PATH`.
    pub binary: Option<PathBuf>,
    /// Mode `source`: where the source comes from.
    pub source: SourceConfig,
}

/// How an engine is obtained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProvisioningMode {
    /// A program that is there already.
    Binary,
    /// Built on this host from the engine's own source.
    #[default]
    Source,
}

/// Where an engine's source comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// The kind of origin.
    pub origin: SourceOrigin,
    /// Origins `git` and `tarball`: where it is.
    pub url: Option<String>,
    /// Origin `git`: the tag or the commit.
    pub reference: Option<String>,
    /// Origin `tarball`: SHA-256 of the file, 64 hex digits.
    pub sha256: Option<String>,
}

/// The kind of a source's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceOrigin {
    /// The source distribution of a Python package that carries llama.cpp; pinned by digest.
    #[default]
    Package,
    /// A git repository, at a tag or commit.
    Git,
    /// A release tarball, checked by digest.
    Tarball,
}

/// Bounds of a queue, per priority class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Tasks.
    pub capacity: u32,
    /// Bytes of requests.
    pub bytes: ByteSize,
    /// What happens when it is full.
    pub full_policy: FullPolicyConfig,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 256,
            bytes: ByteSize(64 << 20),
            full_policy: FullPolicyConfig::default(),
        }
    }
}

/// What a full queue does, per class of the newcomer.
// spec: ORCH-3005
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FullPolicyConfig {
    /// For interactive newcomers.
    #[schemars(with = "FullQueuePolicySchema")]
    pub interactive: FullQueuePolicy,
    /// For batch newcomers.
    #[schemars(with = "FullQueuePolicySchema")]
    pub batch: FullQueuePolicy,
}

impl Default for FullPolicyConfig {
    fn default() -> Self {
        Self {
            interactive: FullQueuePolicy::Reject,
            batch: FullQueuePolicy::Reject,
        }
    }
}

/// The longest waits on an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutConfig {
    /// To the first text; `auto` is three times the load estimate, at least 30 s.
    pub first_token: AutoOr,
    /// Between two pieces of text.
    pub gap: Span,
    /// From the start of the process to Ready; `auto` grows with the model's size.
    pub preload: AutoOr,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            first_token: AutoOr::Auto,
            gap: Span::from_secs(30),
            preload: AutoOr::Auto,
        }
    }
}

/// How failures are retried.
// spec: OC-POOL-3011
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartConfig {
    /// The wait before the next start.
    pub backoff: BackoffConfig,
    /// Consecutive failures that open the breaker.
    pub breaker: u32,
    /// Failed starts that make a worker `broken`.
    pub start_failures: StartFailureConfig,
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self {
            backoff: BackoffConfig::default(),
            breaker: 7,
            start_failures: StartFailureConfig::default(),
        }
    }
}

/// The wait before the next start: doubling from `min` to `max`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffConfig {
    /// The first wait.
    pub min: Span,
    /// The longest.
    pub max: Span,
    /// Share of the wait that is drawn at random, 0 to 1.
    pub jitter: f64,
    /// Healthy time after which the next failure counts as the first.
    pub reset_after: Span,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        // Decision 29.
        Self {
            min: Span::from_secs(1),
            max: Span::from_secs(60),
            jitter: 0.5,
            reset_after: Span::from_secs(600),
        }
    }
}

/// How many failed starts are too many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartFailureConfig {
    /// This many,
    pub count: u32,
    /// within this time.
    pub window: Span,
}

impl Default for StartFailureConfig {
    fn default() -> Self {
        Self {
            count: 5,
            window: Span::from_secs(600),
        }
    }
}

// The wire types know nothing of JSON Schema; these mirrors give their names to the schema, and a
// test holds them equal.
#[derive(JsonSchema)]
#[schemars(rename = "EngineName", rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum EngineNameSchema {
    LlamaCpp,
}

#[derive(JsonSchema)]
#[schemars(rename = "DeviceClass", rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum DeviceClassSchema {
    Nvidia,
    CpuCi,
}

#[derive(JsonSchema)]
#[schemars(rename = "FullQueuePolicy", rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum FullQueuePolicySchema {
    Reject,
    DropLru,
    ShedLowPriority,
}
