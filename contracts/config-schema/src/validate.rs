//! Rules that types alone do not state. Each refusal names the field's path and what to write.

use std::collections::BTreeSet;

use contracts_api_types::kind::{DeviceClass, EngineName};

use crate::agent::{PoolConfig, ProvisioningMode, SourceOrigin};
use crate::orchestrator::AuthConfig;
use crate::{Config, OrchestratordConfig, PoolManagerdConfig};

/// A value that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Invalid {
    /// Path of the field, for instance `pool_managerd.pools[0].slots`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

fn refuse(path: impl Into<String>, problem: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid {
        path: path.into(),
        problem: problem.into(),
    })
}

/// Checks the whole file.
///
/// # Errors
/// The first value that cannot be accepted.
pub fn validate(config: &Config) -> Result<(), Invalid> {
    orchestratord(&config.orchestratord)?;
    pool_managerd(&config.pool_managerd)
}

fn orchestratord(config: &OrchestratordConfig) -> Result<(), Invalid> {
    // spec: ORCH-3035, OC-CTRL-2040, HME-004
    if !config.bind.ip().is_loopback() && config.auth.keys.is_empty() {
        return refuse(
            "orchestratord.bind",
            format!(
                "{} can be reached from other hosts, and no key is configured: bind to \
                 127.0.0.1, or add an entry to orchestratord.auth.keys",
                config.bind
            ),
        );
    }
    if config.admission.default_deadline.0.is_zero() {
        return refuse(
            "orchestratord.admission.default_deadline",
            "must be longer than 0s",
        );
    }
    if config.admission.max_body.0 < 1024 {
        return refuse("orchestratord.admission.max_body", "must be at least 1KiB");
    }
    auth(&config.auth)
}

fn auth(auth: &AuthConfig) -> Result<(), Invalid> {
    if auth.keys.is_empty() && !auth.open_on_loopback {
        return refuse(
            "orchestratord.auth",
            "nobody could call: set open_on_loopback: true for callers on this host, or add an \
             entry to keys",
        );
    }
    for (index, key) in auth.keys.iter().enumerate() {
        let path = format!("orchestratord.auth.keys[{index}]");
        if !is_sha256(&key.sha256) {
            return refuse(
                format!("{path}.sha256"),
                "must be the SHA-256 of the key in 64 hex digits: printf %s KEY | sha256sum",
            );
        }
        if !is_id(&key.tenant) {
            return refuse(format!("{path}.tenant"), ID_RULE);
        }
        if key.scopes.is_empty() {
            return refuse(
                format!("{path}.scopes"),
                "must name at least one of data, control",
            );
        }
    }
    Ok(())
}

fn pool_managerd(config: &PoolManagerdConfig) -> Result<(), Invalid> {
    if !config.bind.ip().is_loopback() {
        return refuse(
            "pool_managerd.bind",
            format!(
                "{} is not a loopback address: bind to 127.0.0.1",
                config.bind
            ),
        );
    }
    if !config.orchestrator.starts_with("http://") {
        return refuse(
            "pool_managerd.orchestrator",
            "must be a URL such as http://127.0.0.1:8080",
        );
    }
    if config.node_id.as_deref().is_some_and(|id| !is_id(id)) {
        return refuse("pool_managerd.node_id", ID_RULE);
    }
    let mut seen = BTreeSet::new();
    for (index, pool) in config.pools.iter().enumerate() {
        let path = format!("pool_managerd.pools[{index}]");
        if !seen.insert(&pool.id) {
            return refuse(format!("{path}.id"), format!("`{}` is used twice", pool.id));
        }
        self::pool(&path, pool, config.allow_cpu_ci)?;
    }
    Ok(())
}

fn pool(path: &str, pool: &PoolConfig, allow_cpu_ci: bool) -> Result<(), Invalid> {
    if !is_id(&pool.id) {
        return refuse(format!("{path}.id"), ID_RULE);
    }
    if pool.engine != EngineName::LlamaCpp {
        return refuse(
            format!("{path}.engine"),
            format!("`{}` cannot be run yet: use llamacpp", pool.engine),
        );
    }
    if !pool.model.starts_with("file:") || pool.model.len() == "file:".len() {
        return refuse(
            format!("{path}.model"),
            "must be `file:` and the path of a GGUF file",
        );
    }
    // spec: ORCH-1102, OC-POOL-3012
    if pool.device_class == DeviceClass::CpuCi && !allow_cpu_ci {
        return refuse(
            format!("{path}.device_class"),
            "cpu-ci is for CI and demos: set pool_managerd.allow_cpu_ci: true to allow it",
        );
    }
    if pool.sampler_profile_version != "v1" {
        return refuse(format!("{path}.sampler_profile_version"), "must be v1");
    }
    for (name, value, most) in [
        ("ctx", pool.ctx, 16_777_216),
        ("slots", pool.slots, 256),
        ("replicas", pool.replicas, 64),
        ("threads", pool.threads.unwrap_or(1), 1024),
        ("queue.capacity", pool.queue.capacity, 1_000_000),
        ("restart.breaker", pool.restart.breaker, 1_000_000),
        (
            "restart.start_failures.count",
            pool.restart.start_failures.count,
            1_000_000,
        ),
    ] {
        if value == 0 || value > most {
            return refuse(
                format!("{path}.{name}"),
                format!("must be between 1 and {most}"),
            );
        }
    }
    devices(path, pool)?;
    restart(path, pool)?;
    provisioning(path, pool)
}

fn devices(path: &str, pool: &PoolConfig) -> Result<(), Invalid> {
    if pool.device_class == DeviceClass::CpuCi && pool.devices.is_some() {
        return refuse(format!("{path}.devices"), "must be absent for cpu-ci");
    }
    let Some(split) = &pool.tensor_split else {
        return Ok(());
    };
    let fits = split.iter().all(|share| share.is_finite() && *share > 0.0)
        && pool
            .devices
            .as_ref()
            .is_some_and(|devices| devices.len() == split.len());
    if fits {
        Ok(())
    } else {
        refuse(
            format!("{path}.tensor_split"),
            "must be one share above 0 per entry of `devices`",
        )
    }
}

fn restart(path: &str, pool: &PoolConfig) -> Result<(), Invalid> {
    let backoff = &pool.restart.backoff;
    if !(0.0..=1.0).contains(&backoff.jitter) {
        return refuse(
            format!("{path}.restart.backoff.jitter"),
            "must be between 0 and 1",
        );
    }
    if backoff.min.0.is_zero() || backoff.max < backoff.min {
        return refuse(
            format!("{path}.restart.backoff.max"),
            "must be at least `min`, above 0s",
        );
    }
    Ok(())
}

fn provisioning(path: &str, pool: &PoolConfig) -> Result<(), Invalid> {
    let wanted = &pool.provisioning;
    if wanted.mode == ProvisioningMode::Source && wanted.binary.is_some() {
        return refuse(
            format!("{path}.provisioning.binary"),
            "belongs to mode: binary",
        );
    }
    let source = &wanted.source;
    let path = format!("{path}.provisioning.source");
    match source.origin {
        SourceOrigin::Package => Ok(()),
        SourceOrigin::Git if source.url.is_none() => refuse(format!("{path}.url"), "is missing"),
        SourceOrigin::Git if source.reference.is_none() => {
            refuse(format!("{path}.reference"), "must be a tag or a commit")
        }
        SourceOrigin::Tarball if source.url.is_none() => {
            refuse(format!("{path}.url"), "is missing")
        }
        SourceOrigin::Tarball if !source.sha256.as_deref().is_some_and(is_sha256) => refuse(
            format!("{path}.sha256"),
            "must be the file's SHA-256 in 64 hex digits",
        ),
        SourceOrigin::Git | SourceOrigin::Tarball => Ok(()),
    }
}

const ID_RULE: &str = "must be 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot";

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
