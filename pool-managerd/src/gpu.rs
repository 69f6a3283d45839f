//! The GPUs of this host, as NVML shows them.
//!
//! NVML calls may hang when a GPU is in trouble, so one thread makes them all and publishes what it
//! saw; readers take the newest picture and call it stale after [`STALE`].
//!
//! # Invariants
//! - No caller ever waits for NVML longer than [`STALE`], and nothing here panics over it.
//! - Devices are handled by UUID; an index is only a way to name one in a config.
//!
//! Not here: what a worker needs (placement), Xid events.

pub mod placement;
mod reading;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use contracts_config_schema::agent::DeviceRef;
use tokio::sync::watch;

/// After this time without a new picture NVML counts as not answering.
pub const STALE: Duration = Duration::from_secs(5);
/// How often a picture is taken, and how often a missing library is looked for again.
const EVERY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(10);

/// One GPU at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Index in NVML's order.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// Memory in all.
    pub total_bytes: u64,
    /// Memory free.
    pub free_bytes: u64,
    /// Memory in use.
    pub used_bytes: u64,
    /// Share of time that it was busy, 0 to 1.
    pub utilization: Option<f64>,
    /// Temperature in °C.
    pub temperature: Option<u32>,
    /// Uncorrected memory errors since the driver was loaded.
    pub ecc_errors: Option<u64>,
    /// Processes that compute on it, with their memory where it is told.
    pub processes: Vec<(u32, Option<u64>)>,
}

/// All GPUs at one moment.
pub type Picture = Arc<Vec<Gpu>>;

/// Why no GPU can be used. The text says what is missing, how to mend it and what else can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuProblem {
    /// The driver's library is not there.
    #[error(
        "no NVIDIA GPU can be used: the driver's library libnvidia-ml.so.1 cannot be loaded \
         ({reason}). Install the NVIDIA driver until `nvidia-smi` lists the GPU{HINT}"
    )]
    NoLibrary {
        /// What the loader said.
        reason: String,
    },
    /// The driver is not loaded.
    #[error(
        "no NVIDIA GPU can be used: the driver is installed but not loaded. Run `modprobe nvidia`, \
         or pass the GPU into this container (`--gpus all`){HINT}"
    )]
    NoDriver,
    /// Library and driver do not fit.
    #[error(
        "no NVIDIA GPU can be used: driver and library are of different versions. Restart the \
         host, or reinstall the driver{HINT}"
    )]
    Mismatch,
    /// There is a driver but no device.
    #[error(
        "no NVIDIA GPU can be used: the driver sees no device. Check `nvidia-smi`, the slot and \
         the container's devices{HINT}"
    )]
    NoDevice,
    /// The library answers with something else.
    #[error("no NVIDIA GPU can be used: NVML says `{reason}`. Check `nvidia-smi`{HINT}")]
    Failed {
        /// What it said.
        reason: String,
    },
    /// The library does not answer.
    #[error(
        "no NVIDIA GPU can be used: NVML has not answered for {STALE:?}. Check `nvidia-smi` and \
         the kernel log; a GPU may need a reset{HINT}"
    )]
    Silent,
    /// The config names a device that is not there.
    #[error("there is no GPU `{wanted}` on this host: use one of {present}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What is there.
        present: String,
    },
}

/// What to do on a host without a GPU.
const HINT: &str = ". For CI and demos on a CPU set pool_managerd.allow_cpu_ci: true and \
                    device_class: cpu-ci on the pool";

/// What the thread saw last, and when.
type Seen = Option<(Instant, Result<Picture, GpuProblem>)>;

/// The GPUs of this host.
#[derive(Clone, Debug)]
pub struct Gpus {
    seen: watch::Receiver<Seen>,
    look: SyncSender<()>,
}

impl Gpus {
    /// Starts watching, with NVML from `library` or from its usual place. The thread ends with the
    /// last of these handles.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn watch(library: Option<PathBuf>) -> std::io::Result<Self> {
        let (publish, seen) = watch::channel(None);
        let (look, looks) = sync_channel(1);
        std::thread::Builder::new()
            .name("nvml".into())
            .spawn(move || observe(library, &publish, &looks))?;
        Ok(Self { seen, look })
    }

    /// The newest picture.
    ///
    /// # Errors
    /// Why there is none.
    // spec: OC-POOL-3155
    pub fn now(&self) -> Result<Picture, GpuProblem> {
        match &*self.seen.borrow() {
            Some((at, seen)) if at.elapsed() < STALE || seen.is_err() => seen.clone(),
            _ => Err(GpuProblem::Silent),
        }
    }

    /// A picture that is taken from now on.
    ///
    /// # Errors
    /// Why there is none.
    // spec: OC-POOL-3155
    pub async fn fresh(&self) -> Result<Picture, GpuProblem> {
        let asked = Instant::now();
        let mut seen = self.seen.clone();
        // A full channel means that a look is due already.
        let _ = self.look.try_send(());
        let newer = seen.wait_for(|seen| seen.as_ref().is_some_and(|(at, _)| *at >= asked));
        match tokio::time::timeout(STALE, newer).await {
            Ok(Ok(seen)) => seen
                .as_ref()
                .map_or(Err(GpuProblem::Silent), |(_, seen)| seen.clone()),
            Ok(Err(_)) | Err(_) => Err(GpuProblem::Silent),
        }
    }
}

fn observe(library: Option<PathBuf>, publish: &watch::Sender<Seen>, looks: &Receiver<()>) {
    let mut reader = None;
    loop {
        let begun = Instant::now();
        let seen = reading::look(&mut reader, library.as_deref());
        let pause = if seen.is_ok() { EVERY } else { RETRY };
        publish.send_replace(Some((begun, seen)));
        if looks.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// The GPUs of `picture` that the config names; all of them where it names none.
///
/// # Errors
/// [`GpuProblem::Unknown`] for one that is not there.
// spec: OC-POOL-3150, OC-POOL-3020
pub fn resolve(picture: &[Gpu], wanted: Option<&[DeviceRef]>) -> Result<Vec<Gpu>, GpuProblem> {
    let Some(wanted) = wanted else {
        return Ok(picture.to_vec());
    };
    let find = |wanted: &DeviceRef| {
        let (text, found) = match wanted {
            DeviceRef::Index(index) => (
                index.to_string(),
                picture.iter().find(|gpu| gpu.index == *index),
            ),
            DeviceRef::Uuid(uuid) => (uuid.clone(), picture.iter().find(|gpu| gpu.uuid == *uuid)),
        };
        found.cloned().ok_or_else(|| GpuProblem::Unknown {
            wanted: text,
            present: present(picture),
        })
    };
    wanted.iter().map(find).collect()
}

fn present(picture: &[Gpu]) -> String {
    let one = |gpu: &Gpu| format!("{} ({}, {})", gpu.index, gpu.uuid, gpu.name);
    picture.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A GPU of `total` GiB of which `free` are free.
    pub(crate) fn gpu(index: u32, total: u64, free: u64) -> Gpu {
        Gpu {
            index,
            uuid: format!("GPU-{index}"),
            name: "Test GPU".into(),
            total_bytes: total * GIB,
            free_bytes: free * GIB,
            used_bytes: (total - free) * GIB,
            utilization: None,
            temperature: None,
            ecc_errors: None,
            processes: Vec::new(),
        }
    }

    // spec: OC-POOL-3150, OC-POOL-3020
    #[test]
    fn devices_are_found_by_index_and_uuid_and_unknown_ones_are_refused() {
        let picture = [gpu(0, 24, 20), gpu(1, 12, 12)];
        let by_index = resolve(&picture, Some(&[DeviceRef::Index(1)])).unwrap();
        let by_uuid = resolve(&picture, Some(&[DeviceRef::Uuid("GPU-1".into())])).unwrap();
        assert_eq!(by_index, by_uuid);
        assert_eq!(by_index[0].uuid, "GPU-1");
        assert_eq!(resolve(&picture, None).unwrap().len(), 2);
        let refusal = resolve(&picture, Some(&[DeviceRef::Index(7)]))
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("`7`") && refusal.contains("GPU-1"),
            "{refusal}"
        );
    }

    // spec: ORCH-1102, OC-POOL-3155
    #[tokio::test]
    async fn a_host_without_the_library_is_told_what_to_do() {
        let gpus = Gpus::watch(Some("/nonexistent/libnvidia-ml.so.1".into())).unwrap();
        let problem = gpus.fresh().await.unwrap_err();
        assert!(
            matches!(problem, GpuProblem::NoLibrary { .. }),
            "{problem:?}"
        );
        assert_eq!(gpus.now(), Err(problem.clone()));
        let text = problem.to_string();
        for part in [
            "NVIDIA driver",
            "nvidia-smi",
            "allow_cpu_ci: true",
            "device_class: cpu-ci",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
