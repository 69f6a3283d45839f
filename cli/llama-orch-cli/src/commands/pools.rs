//! `pools`: the pools and their workers.

use contracts_api_types::node::WorkerPhase;
use contracts_api_types::pool::PoolSummary;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, table};

// spec: CLI-8008
pub(crate) async fn pools(context: &Context, output: &Output) -> Result<(), Failure> {
    let pools = context.client()?.pools().await?;
    if output.is_json() {
        return output.document(&pools);
    }
    if pools.is_empty() {
        output.say("there are no pools: is pool-managerd running? `llama-orch up` starts it");
        return Ok(());
    }
    output.data(&text(&pools))
}

/// A line per pool, and one per worker that is not ready.
fn text(pools: &[PoolSummary]) -> String {
    let heading = [
        "POOL", "READY", "BUSY", "QUEUED", "CTX", "DEVICE", "ENGINE", "MODEL",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(pools.iter().map(row));
    let causes = pools
        .iter()
        .flat_map(|pool| &pool.replicas)
        .filter_map(|replica| {
            let cause = replica.cause.as_ref()?;
            Some(format!("{} is {}: {cause}\n", replica.id, replica.phase))
        });
    table(&rows) + &causes.collect::<String>()
}

fn row(pool: &PoolSummary) -> Vec<String> {
    let ready: Vec<_> = pool
        .replicas
        .iter()
        .filter(|r| r.phase == WorkerPhase::Ready)
        .collect();
    let busy: u32 = ready.iter().map(|replica| replica.busy).sum();
    let slots: u32 = ready.iter().map(|replica| replica.slots).sum();
    let version = pool.engine_version.as_deref().unwrap_or("-");
    vec![
        pool.id.clone(),
        format!("{}/{}", ready.len(), pool.replicas.len()),
        format!("{busy}/{slots}"),
        (pool.queued_interactive + pool.queued_batch).to_string(),
        pool.ctx.to_string(),
        pool.device_class.to_string(),
        format!("{} {version}", pool.engine),
        pool.model_ref.clone(),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use contracts_api_types::kind::{DeviceClass, EngineName};
    use contracts_api_types::pool::ReplicaSummary;

    use super::*;

    pub(crate) fn replica(phase: WorkerPhase, cause: Option<&str>) -> ReplicaSummary {
        ReplicaSummary {
            id: "haiku-0".into(),
            phase,
            cause: cause.map(String::from),
            eta_ms: None,
            slots: 2,
            busy: 1,
            restarts: 0,
        }
    }

    pub(crate) fn pool(id: &str, replicas: Vec<ReplicaSummary>) -> PoolSummary {
        PoolSummary {
            id: id.into(),
            node_id: "n".into(),
            engine: EngineName::LlamaCpp,
            engine_version: None,
            model_ref: "file:haiku.gguf".into(),
            model_digest: None,
            device_class: DeviceClass::CpuCi,
            ctx: 512,
            replicas,
            queued_interactive: 2,
            queued_batch: 1,
        }
    }

    #[test]
    fn pools_are_shown_with_the_cause_of_what_is_not_ready() {
        let ready = replica(WorkerPhase::Ready, None);
        let waits = replica(WorkerPhase::BackingOff, Some("it ended with exit status 1"));
        assert_eq!(
            text(&[pool("haiku", vec![ready, waits])]),
            "POOL   READY  BUSY  QUEUED  CTX  DEVICE  ENGINE      MODEL\n\
             haiku  1/2    1/2   3       512  cpu-ci  llamacpp -  file:haiku.gguf\n\
             haiku-0 is backing-off: it ended with exit status 1\n"
        );
    }
}
