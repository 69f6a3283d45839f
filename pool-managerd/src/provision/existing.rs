//! Mode `binary`: a program that is there already.

use std::path::PathBuf;

use super::EngineRequest;
use super::error::ProvisionError;
use super::host::{Host, is_program};

/// The configured program, else `llama-server` of `PATH`.
///
/// # Errors
/// [`ProvisionError::BinaryMissing`].
pub(super) fn find(host: &Host, request: &EngineRequest) -> Result<PathBuf, ProvisionError> {
    let Some(named) = &request.provisioning.binary else {
        return host
            .find("llama-server")
            .ok_or_else(|| ProvisionError::BinaryMissing {
                looked: "for `llama-server` on PATH".into(),
            });
    };
    let binary = std::path::absolute(request.base_dir.join(named)).unwrap_or_default();
    if is_program(&binary) {
        return Ok(binary);
    }
    let looked = format!(
        "at {} (provisioning.binary), which is no program",
        binary.display()
    );
    Err(ProvisionError::BinaryMissing { looked })
}
