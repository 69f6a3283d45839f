//! One look through NVML.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use crate::gpu::{Gpu, GpuProblem, Picture};

/// The names of the library: the first is in every driver, the second only with its headers.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// Looks at every GPU. `reader` is kept open between looks and opened again after a failure.
pub(super) fn look(
    reader: &mut Option<Nvml>,
    library: Option<&Path>,
) -> Result<Picture, GpuProblem> {
    let nvml = match reader.take() {
        Some(nvml) => nvml,
        None => open(library)?,
    };
    let picture = read_all(&nvml)?;
    *reader = Some(nvml);
    Ok(Arc::new(picture))
}

fn open(library: Option<&Path>) -> Result<Nvml, GpuProblem> {
    let init = |name: &OsStr| Nvml::builder().lib_path(name).init();
    let opened = match library {
        Some(library) => init(library.as_os_str()),
        None => init(LIBRARIES[0].as_ref()).or_else(|error| match error {
            NvmlError::LibloadingError(_) => init(LIBRARIES[1].as_ref()).map_err(|_| error),
            other => Err(other),
        }),
    };
    opened.map_err(|error| problem(&error))
}

fn problem(error: &NvmlError) -> GpuProblem {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => GpuProblem::NoLibrary {
            reason: error.to_string(),
        },
        NvmlError::DriverNotLoaded => GpuProblem::NoDriver,
        NvmlError::LibRmVersionMismatch => GpuProblem::Mismatch,
        other => GpuProblem::Failed {
            reason: other.to_string(),
        },
    }
}

fn read_all(nvml: &Nvml) -> Result<Vec<Gpu>, GpuProblem> {
    let count = nvml.device_count().map_err(|error| problem(&error))?;
    if count == 0 {
        return Err(GpuProblem::NoDevice);
    }
    (0..count)
        .map(|index| read(index, &nvml.device_by_index(index)?))
        .collect::<Result<_, NvmlError>>()
        .map_err(|error| problem(&error))
}

/// What a device must tell is an error when it does not; what it may not know stays open.
fn read(index: u32, device: &Device<'_>) -> Result<Gpu, NvmlError> {
    let memory = device.memory_info()?;
    let processes = device.running_compute_processes().unwrap_or_default();
    let ecc = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    Ok(Gpu {
        index,
        uuid: device.uuid()?,
        name: device.name()?,
        total_bytes: memory.total,
        free_bytes: memory.free,
        used_bytes: memory.used,
        utilization: device
            .utilization_rates()
            .ok()
            .map(|rates| f64::from(rates.gpu) / 100.0),
        temperature: device.temperature(TemperatureSensor::Gpu).ok(),
        ecc_errors: ecc.ok(),
        processes: processes
            .into_iter()
            .map(|process| {
                let used = match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(bytes),
                    UsedGpuMemory::Unavailable => None,
                };
                (process.pid, used)
            })
            .collect(),
    })
}
