//! Obtaining an engine: a program that is there already, or one built from the engine's source.
//!
//! [`plan`] says what would be done and changes nothing; [`provision`] does it. Both start from
//! the same [`EngineRequest`], and what is carried out is exactly the list of commands that the
//! plan prints.
//!
//! # Invariants
//! - An entry of the cache is whole or absent: it is assembled beside its place and renamed.
//! - One key is built once at a time, over all processes of the host.
//! - A build that is stopped leaves no process and no entry behind.
//! - Nothing is fetched unless downloads are allowed, and a file whose SHA-256 is known is used
//!   only after it was checked.
//!
//! Not here: starting engines, models, and whether a GPU can be used at all.

mod build;
mod cache;
mod command;
mod error;
mod existing;
mod host;
mod plan;
mod recipe;
mod source;
mod tools;
mod version;

use std::path::PathBuf;

use contracts_api_types::kind::{DeviceClass, EngineName};
use contracts_config_schema::agent::{ProvisioningConfig, ProvisioningMode};
use tokio_util::sync::CancellationToken;

pub use error::ProvisionError;
pub use plan::{Plan, PlannedStep};
pub use tools::MissingTool;

use host::Host;

/// Which engine is wanted, and what may be done to get it.
#[derive(Clone, Debug)]
pub struct EngineRequest {
    /// The engine.
    pub engine: EngineName,
    /// What it is to run on: `nvidia` needs CUDA.
    pub device_class: DeviceClass,
    /// How to obtain it.
    pub provisioning: ProvisioningConfig,
    /// Where built engines are kept.
    pub cache_dir: PathBuf,
    /// Whether sources and build tools may be fetched.
    pub allow_downloads: bool,
    /// What a relative `binary` is relative to.
    pub base_dir: PathBuf,
}

/// An engine that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionedEngine {
    /// The program.
    pub binary: PathBuf,
    /// What its `/props` will say as `build_info`, such as `b336-0c1e57098`.
    pub engine_version: String,
}

/// How far [`provision`] is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The step, in the words of the plan.
    pub step: String,
    /// Share of the step that is done, 0 to 1, where it can be told.
    pub fraction: Option<f64>,
    /// What the step said last.
    pub line: String,
}

/// Takes [`Progress`] reports.
pub type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// What [`provision`] would do. Equal machines and requests give equal plans.
///
/// # Errors
/// [`ProvisionError`], when it is clear already that it cannot be done.
// spec: OC-POOL-3165
pub fn plan(request: &EngineRequest) -> Result<Plan, ProvisionError> {
    plan_on(&Host::detect(), request)
}

/// Obtains the engine.
///
/// # Errors
/// [`ProvisionError`]; the text says what to do.
pub async fn provision(
    request: &EngineRequest,
    progress: Report<'_>,
    stop: &CancellationToken,
) -> Result<ProvisionedEngine, ProvisionError> {
    provision_on(Host::detect(), request, progress, stop).await
}

fn plan_on(host: &Host, request: &EngineRequest) -> Result<Plan, ProvisionError> {
    supported(request.engine)?;
    match request.provisioning.mode {
        ProvisioningMode::Binary => existing::find(host, request).map(Plan::of_binary),
        ProvisioningMode::Source => Ok(recipe::Recipe::new(host, request)?.plan()),
    }
}

async fn provision_on(
    host: Host,
    request: &EngineRequest,
    progress: Report<'_>,
    stop: &CancellationToken,
) -> Result<ProvisionedEngine, ProvisionError> {
    supported(request.engine)?;
    match request.provisioning.mode {
        ProvisioningMode::Binary => {
            let binary = existing::find(&host, request)?;
            let engine_version = version::of(&binary).await?;
            Ok(ProvisionedEngine {
                binary,
                engine_version,
            })
        }
        ProvisioningMode::Source => {
            // The recipe asks compilers for their versions, which blocks.
            let (of, wanted) = (host.clone(), request.clone());
            let recipe = tokio::task::spawn_blocking(move || recipe::Recipe::new(&of, &wanted))
                .await
                .expect("making a recipe does not panic")?;
            build::provision(
                &host,
                &recipe,
                request.allow_downloads,
                build::Run { progress, stop },
            )
            .await
        }
    }
}

fn supported(engine: EngineName) -> Result<(), ProvisionError> {
    match engine {
        EngineName::LlamaCpp => Ok(()),
        EngineName::Vllm | EngineName::Tgi | EngineName::Triton => {
            Err(ProvisionError::Unsupported { engine })
        }
    }
}

#[cfg(test)]
mod tests;
