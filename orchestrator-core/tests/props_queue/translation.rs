//! The histories' small numbers as the scheduler's types, and its words as the model's.

use std::time::Duration;

use orchestrator_core::action::{AbortReason, FailReason, Outcome, Refusal};
use orchestrator_core::engine::Engine;
use orchestrator_core::event::{AttemptResult, Event, Fault};
use orchestrator_core::fleet::{PoolView, Readiness, ReplicaView, SetKey};
use orchestrator_core::ids::{PoolId, ReplicaId, TaskId};
use orchestrator_core::priority::ByPriority;

use crate::history::{News, Ready, ReplicaReport, Report};
use crate::model::{How, Stop, Why};

pub(crate) fn news_event(task: u8, attempt: u32, news: News) -> Event {
    let task = task_id(task);
    let failed = |fault| {
        let result = AttemptResult::Failed { fault };
        Event::Ended {
            task,
            attempt,
            result,
        }
    };
    match news {
        News::Started => Event::Started { task, attempt },
        News::Progressed { tokens } => Event::Progressed {
            task,
            attempt,
            tokens_out: tokens,
        },
        News::Completed { us } => {
            let took = Duration::from_micros(us);
            let result = AttemptResult::Completed {
                tokens_in: 10,
                tokens_out: 10,
                prefill: took,
                decode: took,
            };
            Event::Ended {
                task,
                attempt,
                result,
            }
        }
        News::ReplicaFault => failed(Fault::Replica),
        News::Timeout => failed(Fault::Timeout),
        News::Rejected => failed(Fault::Request),
        News::Released => Event::SlotReleased { task, attempt },
    }
}

pub(crate) fn view(report: &Report) -> PoolView {
    let [interactive, batch] = report.policies;
    PoolView {
        pool: pool_id(report.pool),
        set: set_key(report.set),
        capacity: report.capacity,
        bytes: report.bytes,
        full_policy: ByPriority { interactive, batch },
        replicas: report.replicas.iter().map(replica_view).collect(),
    }
}

fn replica_view(report: &ReplicaReport) -> ReplicaView {
    ReplicaView {
        replica: ReplicaId::parse(&format!("r{}", report.replica)).expect("a short id"),
        incarnation: report.incarnation,
        slots: report.slots,
        readiness: match report.readiness {
            Ready::Yes => Readiness::Ready,
            Ready::In { ms } => Readiness::Starting {
                eta: Duration::from_millis(ms),
            },
            Ready::No => Readiness::Unavailable,
        },
        free_vram_bytes: 1,
    }
}

pub(crate) fn set_key(set: u8) -> SetKey {
    SetKey {
        engine: Engine::LlamaCpp,
        model_digest: format!("m{set}").into(),
        ctx: 512,
        engine_version: "b1".into(),
        sampler_profile: "v1".into(),
        quant: "q8_0".into(),
    }
}

pub(crate) fn pool_id(pool: u8) -> PoolId {
    PoolId::parse(&format!("p{pool}")).expect("a short id")
}

pub(crate) fn task_id(task: u8) -> TaskId {
    TaskId(u128::from(task))
}

pub(crate) fn number(task: TaskId) -> u8 {
    u8::try_from(task.0).expect("the histories' own ids are small")
}

pub(crate) fn last_digit(id: &str) -> u8 {
    id[1..]
        .parse()
        .expect("the histories' own ids are a letter and a number")
}

pub(crate) fn why(reason: &Refusal) -> Why {
    match reason {
        Refusal::QueueFull { policy, .. } => Why::Full(*policy),
        Refusal::UnknownSet => Why::UnknownSet,
        Refusal::NoReplica { .. } => Why::NoReplica,
        Refusal::DeadlineUnmet { .. } => Why::Late,
        Refusal::OverBytes { .. } => Why::Bytes,
        Refusal::DuplicateTask => Why::Duplicate,
    }
}

pub(crate) fn stop(why: AbortReason) -> Stop {
    match why {
        AbortReason::Canceled => Stop::Canceled,
        AbortReason::DeadlineUnmet => Stop::Late,
        AbortReason::ReplicaGone => Stop::Gone,
    }
}

pub(crate) fn how(outcome: Outcome) -> How {
    match outcome {
        Outcome::Completed => How::Completed,
        Outcome::Canceled => How::Canceled,
        Outcome::Failed(FailReason::DroppedFromQueue { policy }) => How::Dropped(policy),
        Outcome::Failed(FailReason::DeadlineUnmet) => How::Late,
        Outcome::Failed(FailReason::WorkerReset) => How::Reset,
        Outcome::Failed(FailReason::Timeout) => How::Timeout,
        Outcome::Failed(FailReason::RequestRejected) => How::Rejected,
        Outcome::Failed(FailReason::PoolUnavailable) => How::NoPool,
    }
}
