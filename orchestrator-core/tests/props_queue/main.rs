//! The scheduler against a slow, obvious model that shares no code with it.
//!
//! Random histories from a small space of ids, pools and times, so that collisions happen. Each
//! call's actions are judged by the model: order, bounds, policies, cancel races, one end per
//! task, slots, fences. Afterwards all faults end and everything left must finish.
//!
//! Not here: predictions and the choice among acceptable replicas, which have examples of their
//! own beside the code.

mod history;
mod model;
mod referee;
mod translation;

use history::{Op, any_op};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use referee::Referee;

/// The same histories in every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` widen the search.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(10),
        chosen @ RngSeed::Fixed(_) => chosen,
    };
    ProptestConfig {
        rng_seed,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    // spec: OC-CORE-1001, OC-CORE-1002, OC-CORE-1003, OC-CORE-1004, OC-CORE-1005, OC-CORE-1010
    // spec: OC-CORE-1105, OC-CORE-1122, OC-CORE-1140, OC-CORE-1142, OC-CORE-1145, ORCH-2002
    // spec: ORCH-3004, ORCH-3005, ORCH-3010, ORCH-3016, ORCH-3017, ORCH-3442, OC-TEST-7312
    #[test]
    fn scheduler_agrees_with_the_model_and_everything_ends_once_faults_stop(
        ops in proptest::collection::vec(any_op(), 0..150),
    ) {
        let mut referee = Referee::new();
        ops.iter().for_each(|op| referee.play(op));
        referee.heal_and_drain();
    }

    // spec: OC-CORE-1101
    #[test]
    fn equal_histories_give_equal_actions(ops in proptest::collection::vec(any_op(), 0..150)) {
        let play = |ops: &[Op]| {
            let mut referee = Referee::new();
            ops.iter().for_each(|op| referee.play(op));
            referee.into_record()
        };
        prop_assert_eq!(play(&ops), play(&ops));
    }
}
