//! Which pool a request's `model_ref` means.
//!
//! A name matches a pool by its alias, file stem, reference, path or digest. What matches is then
//! held against the rest of the request, and the first miss is told with what would have fitted.
//!
//! Not here: models that no pool serves, and how a model gets to a pool.

use std::sync::Arc;
use std::time::Duration;

use contracts_api_types::kind::Workload;
use orchestrator_core::engine::Engine;
use orchestrator_core::fleet::SetKey;
use orchestrator_core::ids::PoolId;

use crate::services::fleet::{FleetView, Pool};
use crate::services::tasks::SubmitError;
use crate::services::wire::engine_of;

/// When to come back to a pool that is not ready: a few lease renewals.
const RETRY: Duration = Duration::from_secs(5);

/// What a task asks of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) model_ref: &'a str,
    pub(crate) engine: Engine,
    pub(crate) workload: Workload,
    pub(crate) ctx: Option<u32>,
    pub(crate) sampler_profile: &'a str,
}

/// The pool that stands for the replica set a task will run on.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) pool_id: PoolId,
    pub(crate) pool: Arc<Pool>,
    pub(crate) set: SetKey,
}

type Candidate = (PoolId, Arc<Pool>);

/// The pool that serves what is wanted: one that is ready before one that is not, then by id.
// spec: ORCH-3450, ORCH-3451, ORCH-3452, ORCH-3454
pub(crate) fn find(fleet: &FleetView, wanted: Wanted<'_>) -> Result<Found, SubmitError> {
    let named = served_as(fleet, wanted)?;
    let fitting = fitting(named, wanted)?;
    let best = fitting
        .into_iter()
        .min_by_key(|(id, pool)| (rank(fleet, pool), id.clone()));
    let (pool_id, pool) = best.expect("what fits is not empty");
    match &pool.set {
        Some(set) if fleet.is_live(&pool) && pool.is_coming_up() => {
            let set = set.clone();
            Ok(Found { pool_id, pool, set })
        }
        _ => Err(not_ready(fleet, &pool)),
    }
}

/// Why nothing runs on this pool now. Its set is Ready nowhere, or it would not be the best.
// spec: ORCH-3018, ORCH-3460
pub(crate) fn not_ready(fleet: &FleetView, pool: &Pool) -> SubmitError {
    let (engine, pool_id) = (wanted_engine(pool), pool.state.id.clone());
    if !fleet.is_live(pool) {
        let cause = format!("the agent of its host {} is not heard of", pool.node);
        return SubmitError::PoolUnavailable {
            engine,
            pool_id,
            cause,
            retry_after: RETRY,
        };
    }
    let cause = pool
        .cause()
        .unwrap_or_else(|| "it has no replica".to_owned());
    if pool.set.is_none() || pool.is_coming_up() {
        return SubmitError::PoolUnready {
            engine,
            pool_id,
            cause,
            retry_after: RETRY,
        };
    }
    SubmitError::PoolUnavailable {
        engine,
        pool_id,
        cause,
        retry_after: RETRY,
    }
}

/// Ready first, then coming up, then the rest.
fn rank(fleet: &FleetView, pool: &Pool) -> (bool, bool, bool) {
    let live = fleet.is_live(pool);
    let ready = live && pool.set.is_some() && pool.ready().next().is_some();
    (!ready, !pool.is_coming_up(), !live)
}

fn served_as(fleet: &FleetView, wanted: Wanted<'_>) -> Result<Vec<Candidate>, SubmitError> {
    let is_meant = |(_, pool): &(&PoolId, &Arc<Pool>)| {
        wanted_engine(pool) == wanted.engine
            && pool
                .model_names()
                .iter()
                .any(|name| name == wanted.model_ref)
    };
    let owned = |(id, pool): (&PoolId, &Arc<Pool>)| (id.clone(), Arc::clone(pool));
    let named: Vec<_> = fleet.pools.iter().filter(is_meant).map(owned).collect();
    if named.is_empty() {
        return Err(SubmitError::UnknownModel {
            model_ref: wanted.model_ref.to_owned(),
            engine: wanted.engine,
            available: available(fleet),
        });
    }
    Ok(named)
}

fn wanted_engine(pool: &Pool) -> Engine {
    engine_of(pool.state.engine)
}

/// Each model by its first name, with its engine.
fn available(fleet: &FleetView) -> Vec<String> {
    let name = |pool: &Arc<Pool>| {
        let names = pool.model_names();
        format!("{} ({})", names[0], pool.state.engine)
    };
    let mut all: Vec<_> = fleet.pools.values().map(name).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn fitting(pools: Vec<Candidate>, wanted: Wanted<'_>) -> Result<Vec<Candidate>, SubmitError> {
    let pools = keep(pools, |pool| {
        pool.state.workloads.contains(&wanted.workload)
    })
    .ok_or_else(|| {
        let problem = format!(
            "`{}` is not offered for this model: choose another workload or model",
            wanted.workload
        );
        SubmitError::BadField {
            field: "workload",
            problem,
        }
    })?;
    let pools = keep(pools, |pool| {
        pool.state.sampler_profile_version == wanted.sampler_profile
    })
    .ok_or_else(|| SubmitError::BadField {
        field: "sampler_profile_version",
        problem: format!(
            "`{}` is not what the pools of this model use",
            wanted.sampler_profile
        ),
    })?;
    let most = pools
        .iter()
        .map(|(_, pool)| pool.state.ctx)
        .max()
        .unwrap_or_default();
    let asked = wanted.ctx.unwrap_or_default();
    // spec: ORCH-3014, OC-CORE-1020
    keep(pools, |pool| asked <= pool.state.ctx).ok_or_else(|| SubmitError::BadField {
        field: "ctx",
        problem: format!(
            "is {asked}, and the largest context of this model is {most}: ask for less"
        ),
    })
}

fn keep(mut pools: Vec<Candidate>, fits: impl Fn(&Pool) -> bool) -> Option<Vec<Candidate>> {
    pools.retain(|(_, pool)| fits(pool));
    (!pools.is_empty()).then_some(pools)
}
