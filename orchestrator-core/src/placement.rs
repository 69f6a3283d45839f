//! Where a task runs: one pure function over the replicas of its set.
//!
//! In order: only replicas that accept work and have a free slot; the earliest predicted end; a
//! warm slot; the most free memory; the replica's id, then the pool's. Warmth enters the predicted
//! end as the prefill that it saves and otherwise only breaks ties, so it never outvotes load.
//!
//! Not here: which task is placed (`selection`); where models are loaded (pool-managerd).

use std::cmp::Reverse;
use std::time::Duration;

use crate::ids::{PoolId, ReplicaId};

/// A replica as placement sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its pool.
    pub pool: &'a PoolId,
    /// Its id.
    pub replica: &'a ReplicaId,
    /// Whether it is Ready and takes work.
    pub accepts: bool,
    /// Its lowest free slot.
    pub free_slot: Option<u32>,
    /// The slot that holds the session's cache, if that one is free.
    pub warm_slot: Option<u32>,
    /// How long the prompt is expected to take there, its load considered.
    pub prefill: Duration,
    /// How long generation is expected to take there, its load considered.
    pub decode: Duration,
    /// Free memory on its devices.
    pub free_vram_bytes: u64,
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The pool.
    pub pool: PoolId,
    /// The replica.
    pub replica: ReplicaId,
    /// The slot.
    pub slot: u32,
    /// Whether the slot holds the session's cache.
    pub kv_warm: bool,
}

/// Why a task goes nowhere now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlacement {
    /// The set has no replica.
    #[error("the set has no replica")]
    NoReplica,
    /// No replica accepts work.
    #[error("no replica of the set accepts work")]
    NoneAccepts,
    /// All slots of the replicas that accept work are taken.
    #[error("all slots of the set are taken")]
    NoFreeSlot,
}

/// Chooses a replica and a slot.
///
/// # Errors
/// [`NoPlacement`] says what is missing. Then the task stays queued.
// spec: ORCH-3008, ORCH-3009, ORCH-3010, ORCH-3019, OC-CORE-1010, OC-CORE-1012, OC-CORE-1013
// spec: OC-CORE-1130, OC-CORE-1132
pub fn place<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
) -> Result<Placement, NoPlacement> {
    let mut why_not = NoPlacement::NoReplica;
    let mut best: Option<(_, Placement)> = None;
    for candidate in candidates {
        let Some(slot) = candidate
            .warm_slot
            .or(candidate.free_slot)
            .filter(|_| candidate.accepts)
        else {
            why_not = why_not.or(candidate.accepts);
            continue;
        };
        let kv_warm = candidate.warm_slot.is_some();
        let prefill = if kv_warm {
            Duration::ZERO
        } else {
            candidate.prefill
        };
        let rank = (
            prefill.saturating_add(candidate.decode),
            !kv_warm,
            Reverse(candidate.free_vram_bytes),
            candidate.replica,
            candidate.pool,
        );
        if best.as_ref().is_none_or(|(best_rank, _)| rank < *best_rank) {
            let (pool, replica) = (candidate.pool.clone(), candidate.replica.clone());
            best = Some((
                rank,
                Placement {
                    pool,
                    replica,
                    slot,
                    kv_warm,
                },
            ));
        }
    }
    best.map(|(_, placement)| placement).ok_or(why_not)
}

impl NoPlacement {
    /// The nearer miss of this one and a replica that was passed over.
    fn or(self, accepts: bool) -> Self {
        if accepts || self == Self::NoFreeSlot {
            Self::NoFreeSlot
        } else {
            Self::NoneAccepts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names {
        pool: PoolId,
        a: ReplicaId,
        b: ReplicaId,
    }

    fn names() -> Names {
        let replica = |text| ReplicaId::parse(text).unwrap();
        Names {
            pool: PoolId::parse("p").unwrap(),
            a: replica("a"),
            b: replica("b"),
        }
    }

    fn candidate<'a>(names: &'a Names, replica: &'a ReplicaId) -> Candidate<'a> {
        Candidate {
            pool: &names.pool,
            replica,
            accepts: true,
            free_slot: Some(0),
            warm_slot: None,
            prefill: Duration::from_millis(100),
            decode: Duration::from_millis(900),
            free_vram_bytes: 8,
        }
    }

    #[track_caller]
    fn check(candidates: [Candidate<'_>; 2], chosen: &str) {
        let reversed = [candidates[1], candidates[0]];
        let placement = place(candidates).unwrap();
        assert_eq!(placement.replica.as_str(), chosen);
        assert_eq!(
            place(reversed),
            Ok(placement),
            "the order of candidates must not matter"
        );
    }

    // spec: ORCH-3008, OC-CORE-1012, OC-CORE-1130
    #[test]
    fn the_earliest_predicted_end_wins_then_free_memory_then_the_id() {
        let names = names();
        let [a, b] = [candidate(&names, &names.a), candidate(&names, &names.b)];
        check([a, b], "a");
        check(
            [
                a,
                Candidate {
                    free_vram_bytes: 9,
                    ..b
                },
            ],
            "b",
        );
        let sooner = Candidate {
            decode: Duration::from_millis(899),
            ..a
        };
        check(
            [
                sooner,
                Candidate {
                    free_vram_bytes: 9,
                    ..b
                },
            ],
            "a",
        );
    }

    // spec: ORCH-3009, OC-CORE-1013, OC-CORE-1132
    #[test]
    fn a_warm_slot_saves_the_prefill_and_does_not_outvote_load() {
        let names = names();
        let a = Candidate {
            free_vram_bytes: 9,
            ..candidate(&names, &names.a)
        };
        let warm = Candidate {
            warm_slot: Some(3),
            ..candidate(&names, &names.b)
        };
        check([a, warm], "b");
        assert_eq!(place([warm]).map(|to| (to.slot, to.kv_warm)), Ok((3, true)));
        check(
            [
                a,
                Candidate {
                    decode: Duration::from_millis(1_800),
                    ..warm
                },
            ],
            "a",
        );
        let without_prefill = |candidate| Candidate {
            prefill: Duration::ZERO,
            ..candidate
        };
        check([without_prefill(a), without_prefill(warm)], "b");
    }

    // spec: ORCH-3010, OC-CORE-1010
    #[test]
    fn nobody_is_chosen_who_does_not_accept_or_has_no_slot() {
        let names = names();
        let a = candidate(&names, &names.a);
        let closed = Candidate {
            accepts: false,
            warm_slot: Some(0),
            ..a
        };
        let full = Candidate {
            free_slot: None,
            ..a
        };
        assert_eq!(place([]), Err(NoPlacement::NoReplica));
        assert_eq!(place([closed]), Err(NoPlacement::NoneAccepts));
        assert_eq!(place([full, closed]), Err(NoPlacement::NoFreeSlot));
        assert_eq!(place([closed, full]), Err(NoPlacement::NoFreeSlot));
        check(
            [
                closed,
                Candidate {
                    replica: &names.b,
                    ..a
                },
            ],
            "b",
        );
    }
}
