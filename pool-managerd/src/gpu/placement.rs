//! Which GPUs a worker gets, and whether it really sits on them.
//!
//! Pure over pictures. Without a split a worker gets the one GPU of its pool with the most free
//! memory; with a split it gets them all, with the given shares.
//!
//! # Invariants
//! - What a starting worker will take counts as taken until NVML shows it, so two workers that
//!   start together do not choose the same free memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::gpu::Gpu;

/// The GPUs of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// UUIDs, in the order of the pool's devices.
    pub uuids: Vec<String>,
    /// Shares of the model per device, for a split.
    pub split: Option<Vec<f64>>,
    /// Bytes of weights expected on each device; the least that must be there.
    pub weights: Vec<u64>,
    /// Memory in use on each device before the start.
    pub used_before: Vec<u64>,
}

/// There is not enough memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "GPU {uuid} has {free} MiB free, but {need} MiB are needed for the weights alone: stop what \
     uses it, choose another device, or use a smaller model"
)]
pub struct NoRoom {
    /// The device.
    pub uuid: String,
    /// MiB free, less what starting workers will take.
    pub free: u64,
    /// MiB needed.
    pub need: u64,
}

const MIB: u64 = 1 << 20;

/// Memory that starting workers will take, by device.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, u64>>>);

/// A claim on memory; it ends when it is dropped.
#[derive(Debug)]
pub struct Claim {
    ledger: Ledger,
    taken: Vec<(String, u64)>,
}

impl Ledger {
    /// Chooses among `gpus` for a model of `weights` bytes, and claims the memory.
    ///
    /// # Errors
    /// [`NoRoom`] names the device that is too full.
    // spec: ORCH-3012, OC-POOL-3002, OC-POOL-3021, ORCH-3003
    pub fn place(
        &self,
        gpus: &[Gpu],
        split: Option<&[f64]>,
        weights: u64,
    ) -> Result<(Placement, Claim), NoRoom> {
        let mut claimed = self
            .0
            .lock()
            .expect("nothing panics while it holds the ledger");
        let free = |gpu: &Gpu| {
            gpu.free_bytes
                .saturating_sub(claimed.get(&gpu.uuid).copied().unwrap_or_default())
        };
        let chosen: Vec<&Gpu> = match split {
            Some(_) => gpus.iter().collect(),
            // The first of equals, so that the choice does not depend on chance.
            None => gpus
                .iter()
                .max_by_key(|gpu| (free(gpu), u32::MAX - gpu.index))
                .into_iter()
                .collect(),
        };
        let shares = shares(split, chosen.len());
        let weights: Vec<u64> = shares
            .iter()
            .map(|share| (weights as f64 * share) as u64)
            .collect();
        for (gpu, need) in chosen.iter().zip(&weights) {
            let free = free(gpu);
            if free < *need {
                return Err(NoRoom {
                    uuid: gpu.uuid.clone(),
                    free: free / MIB,
                    need: need / MIB,
                });
            }
        }
        let uuids: Vec<String> = chosen.iter().map(|gpu| gpu.uuid.clone()).collect();
        let taken: Vec<_> = uuids.iter().cloned().zip(weights.iter().copied()).collect();
        for (uuid, bytes) in &taken {
            *claimed.entry(uuid.clone()).or_default() += bytes;
        }
        let used_before = chosen.iter().map(|gpu| gpu.used_bytes).collect();
        let placement = Placement {
            uuids,
            split: split.map(<[f64]>::to_vec),
            weights,
            used_before,
        };
        Ok((
            placement,
            Claim {
                ledger: self.clone(),
                taken,
            },
        ))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self
            .ledger
            .0
            .lock()
            .expect("nothing panics while it holds the ledger");
        for (uuid, bytes) in &self.taken {
            if let Some(left) = claimed.get_mut(uuid) {
                *left = left.saturating_sub(*bytes);
            }
        }
    }
}

fn shares(split: Option<&[f64]>, devices: usize) -> Vec<f64> {
    match split {
        Some(split) => {
            let sum: f64 = split.iter().sum();
            split.iter().map(|share| share / sum).collect()
        }
        None => vec![1.0; devices],
    }
}

/// A worker that does not sit on its GPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "NVML shows {shown} MiB of this worker on GPU {uuid}, but its weights need {need} MiB: the \
     engine does not run on the GPU. Is it built with CUDA?"
)]
pub struct NotOnDevice {
    /// The device.
    pub uuid: String,
    /// MiB that NVML shows.
    pub shown: u64,
    /// MiB expected.
    pub need: u64,
}

/// Checks that NVML shows the memory of a worker, whose processes are `pids`, on its devices.
///
/// In a container NVML names processes by ids of the host. Where none of ours is named, the growth
/// of the device's used memory since before the start stands for it. Half of the weights is asked
/// for, since layers are whole and the engine may keep its table of tokens on the host.
///
/// # Errors
/// [`NotOnDevice`] names the device.
// spec: OC-POOL-3153
pub fn check(placement: &Placement, picture: &[Gpu], pids: &[u32]) -> Result<(), NotOnDevice> {
    for (index, uuid) in placement.uuids.iter().enumerate() {
        let gpu = picture.iter().find(|gpu| gpu.uuid == *uuid);
        let shown = gpu.map_or(0, |gpu| shown(gpu, pids, placement.used_before[index]));
        let need = placement.weights[index];
        if shown == 0 || shown < need / 2 {
            let (shown, need) = (shown / MIB, need / MIB);
            return Err(NotOnDevice {
                uuid: uuid.clone(),
                shown,
                need,
            });
        }
    }
    Ok(())
}

fn shown(gpu: &Gpu, pids: &[u32], used_before: u64) -> u64 {
    let ours: Option<u64> = gpu
        .processes
        .iter()
        .filter(|(pid, _)| pids.contains(pid))
        .map(|(_, used)| *used)
        .sum();
    match ours {
        Some(bytes) if bytes > 0 => bytes,
        _ => gpu.used_bytes.saturating_sub(used_before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::tests::gpu;

    const GIB: u64 = 1 << 30;

    // spec: ORCH-3012, HME-011, OC-CORE-1131
    #[test]
    fn without_a_split_the_gpu_with_the_most_free_memory_is_chosen() {
        let ledger = Ledger::default();
        let gpus = [gpu(0, 24, 10), gpu(1, 12, 12), gpu(2, 12, 12)];
        let (placement, _claim) = ledger.place(&gpus, None, GIB).unwrap();
        assert_eq!(placement.uuids, ["GPU-1"]);
    }

    // spec: ORCH-3012
    #[test]
    fn workers_that_start_together_do_not_choose_the_same_memory() {
        let ledger = Ledger::default();
        let gpus = [gpu(0, 12, 12), gpu(1, 12, 11)];
        let (first, claim) = ledger.place(&gpus, None, 10 * GIB).unwrap();
        let (second, _second_claim) = ledger.place(&gpus, None, 10 * GIB).unwrap();
        assert_eq!(
            (first.uuids[0].as_str(), second.uuids[0].as_str()),
            ("GPU-0", "GPU-1")
        );
        assert!(ledger.place(&gpus, None, 10 * GIB).is_err());
        drop(claim);
        assert_eq!(
            ledger.place(&gpus, None, 10 * GIB).unwrap().0.uuids,
            ["GPU-0"]
        );
    }

    // spec: OC-POOL-3002, OC-POOL-3021, ORCH-3052
    #[test]
    fn a_split_is_refused_when_one_gpu_cannot_take_its_share() {
        let ledger = Ledger::default();
        let gpus = [gpu(0, 24, 24), gpu(1, 12, 6)];
        let (placement, _claim) = ledger.place(&gpus, Some(&[3.0, 1.0]), 24 * GIB).unwrap();
        assert_eq!(placement.weights, [18 * GIB, 6 * GIB]);
        let refusal = Ledger::default()
            .place(&gpus, Some(&[1.0, 1.0]), 24 * GIB)
            .unwrap_err();
        assert_eq!(
            refusal,
            NoRoom {
                uuid: "GPU-1".into(),
                free: 6 * 1024,
                need: 12 * 1024
            }
        );
    }

    fn placed() -> Placement {
        Placement {
            uuids: vec!["GPU-0".into()],
            split: None,
            weights: vec![4 * GIB],
            used_before: vec![4 * GIB],
        }
    }

    // spec: OC-POOL-3153, OC-POOL-3012
    #[test]
    fn a_worker_that_fell_to_the_cpu_is_found_out() {
        let mut picture = [gpu(0, 24, 20)];
        let refusal = check(&placed(), &picture, &[7]).unwrap_err();
        assert_eq!(refusal.shown, 0);
        // Somebody else's memory does not count while our process is named.
        picture[0] = gpu(0, 24, 10);
        picture[0].processes = vec![(7, Some(GIB)), (8, Some(9 * GIB))];
        assert_eq!(check(&placed(), &picture, &[7]).unwrap_err().shown, 1024);
    }

    // spec: OC-POOL-3153
    #[test]
    fn memory_is_seen_by_process_or_by_the_growth_of_the_device() {
        let mut picture = [gpu(0, 24, 16)];
        check(&placed(), &picture, &[7]).unwrap();
        picture[0].processes = vec![(7, Some(4 * GIB))];
        check(&placed(), &picture, &[7]).unwrap();
        assert!(check(&placed(), &[], &[7]).is_err());
    }
}
