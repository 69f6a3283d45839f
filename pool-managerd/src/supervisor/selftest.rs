//! What a loaded worker must show before it takes work.
//!
//! Capacity and version as promised, a small generation, a cancel that frees its slot, and metrics
//! that can be read. Whether it sits on its GPUs is asked elsewhere (gpu::placement).

use std::time::Duration;

use futures_util::StreamExt;
use worker_adapters_adapter_api::adapter::SlotRelease;
use worker_adapters_adapter_api::generation::{GenerateRequest, GenerationEvent, Limits};
use worker_adapters_adapter_api::sampling::Sampling;
use worker_adapters_adapter_api::{AdapterError, WorkerAdapter};

/// What the worker was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Generations at once.
    pub slots: u32,
    /// Context of one task, in tokens.
    pub ctx: u32,
    /// The version that was provisioned.
    pub engine_version: String,
}

/// Why a worker takes no work. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Another version runs than was provisioned.
    #[error(
        "the engine says it is {found}, but {expected} was provisioned: remove it and try again"
    )]
    Version {
        /// What it says.
        found: String,
        /// What was provisioned.
        expected: String,
    },
    /// It has fewer or more slots.
    #[error("the engine has {found} slots instead of {expected}")]
    Slots {
        /// What it has.
        found: usize,
        /// What the pool wants.
        expected: u32,
    },
    /// Its context is too small.
    #[error(
        "the engine offers {found} tokens per task, but the pool's ctx is {expected}: the model was trained for less, so set ctx to {found}"
    )]
    Context {
        /// What it offers.
        found: u32,
        /// What the pool promises.
        expected: u32,
    },
    /// It does not generate.
    #[error("a small generation gave no token")]
    NoToken,
    /// It does not let go of a slot.
    #[error("a canceled generation did not free its slot within {within:?}")]
    SlotHeld {
        /// How long was waited.
        within: Duration,
    },
    /// A call failed.
    #[error("{what} failed: {source}")]
    Call {
        /// What was asked.
        what: &'static str,
        /// What came back.
        source: AdapterError,
    },
}

/// The longest waits of the test's own generations: those of the first token on a cold engine.
const LIMITS: Limits = Limits {
    first_token: Duration::from_secs(60),
    gap: Duration::from_secs(30),
};
/// The longest wait for a slot after a cancel. One decode step of a large model is far below it.
const RELEASE: Duration = Duration::from_secs(10);

const PROMPT: &str = "The quick brown fox";
const FEW: u32 = 4;

/// Tests the worker behind `adapter`.
///
/// # Errors
/// The first thing that is not as it must be.
// spec: ORCH-3049, ORCH-3002, ORCH-3032
pub async fn run(adapter: &dyn WorkerAdapter, expected: &Expected) -> Result<(), SelfTestError> {
    capacity(adapter, expected).await?;
    decode(adapter).await?;
    cancel(adapter, expected).await?;
    adapter
        .metrics()
        .await
        .map_err(failed("reading its metrics"))?;
    Ok(())
}

fn failed(what: &'static str) -> impl FnOnce(AdapterError) -> SelfTestError {
    move |source| SelfTestError::Call { what, source }
}

async fn capacity(adapter: &dyn WorkerAdapter, expected: &Expected) -> Result<(), SelfTestError> {
    let props = adapter
        .props()
        .await
        .map_err(failed("asking for its properties"))?;
    if props.engine_version != expected.engine_version {
        let expected = expected.engine_version.clone();
        return Err(SelfTestError::Version {
            found: props.engine_version,
            expected,
        });
    }
    if props.ctx_per_slot < expected.ctx {
        let (found, expected) = (props.ctx_per_slot, expected.ctx);
        return Err(SelfTestError::Context { found, expected });
    }
    let found = adapter
        .slots()
        .await
        .map_err(failed("asking for its slots"))?
        .len();
    if found != expected.slots as usize || props.slots != expected.slots {
        return Err(SelfTestError::Slots {
            found,
            expected: expected.slots,
        });
    }
    Ok(())
}

fn request(slot: u32, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        request_id: format!("self-test-{slot}"),
        slot,
        prompt: PROMPT.to_owned(),
        max_tokens,
        seed: 1,
        sampling: Sampling::profile_v1(),
        limits: LIMITS,
    }
}

async fn decode(adapter: &dyn WorkerAdapter) -> Result<(), SelfTestError> {
    let what = "a small generation";
    let mut stream = adapter
        .generate(request(0, FEW))
        .await
        .map_err(failed(what))?;
    while let Some(item) = stream.next().await {
        if let GenerationEvent::Done(account) = item.map_err(failed(what))? {
            return if account.tokens_out > 0 {
                Ok(())
            } else {
                Err(SelfTestError::NoToken)
            };
        }
    }
    Err(SelfTestError::NoToken)
}

/// Drops a generation after its first piece of text: the slot has to come back.
async fn cancel(adapter: &dyn WorkerAdapter, expected: &Expected) -> Result<(), SelfTestError> {
    let what = "a generation that is canceled";
    let slot = expected.slots - 1;
    let mut stream = adapter
        .generate(request(slot, expected.ctx / 2))
        .await
        .map_err(failed(what))?;
    if let Some(item) = stream.next().await {
        item.map_err(failed(what))?;
    }
    drop(stream);
    match adapter.confirm_release(slot, RELEASE).await {
        SlotRelease::Confirmed | SlotRelease::Inferred => Ok(()),
        SlotRelease::Unknown => Err(SelfTestError::SlotHeld { within: RELEASE }),
    }
}

#[cfg(test)]
mod tests {
    use worker_adapters_adapter_api::adapter::EngineProps;
    use worker_adapters_mock::MockAdapter;

    use super::*;

    fn expected() -> Expected {
        Expected {
            slots: 2,
            ctx: 512,
            engine_version: "mock-1".into(),
        }
    }

    async fn refusal(engine: &MockAdapter, expected: &Expected) -> String {
        run(engine, expected).await.unwrap_err().to_string()
    }

    // spec: ORCH-3049
    #[tokio::test]
    async fn a_good_engine_passes_and_was_asked_to_decode_and_to_cancel() {
        let engine = MockAdapter::new(2);
        run(&engine, &expected()).await.unwrap();
        let asked: Vec<_> = engine
            .requests()
            .iter()
            .map(|r| (r.slot, r.max_tokens))
            .collect();
        assert_eq!(asked, [(0, FEW), (1, 256)]);
        assert!(engine.slots().await.unwrap().iter().all(|slot| !slot.busy));
    }

    // spec: ORCH-3049, ORCH-3032
    #[tokio::test]
    async fn another_version_fewer_slots_or_a_smaller_context_fail() {
        let engine = MockAdapter::new(2);
        let wrong = Expected {
            engine_version: "b1-x".into(),
            ..expected()
        };
        assert!(refusal(&engine, &wrong).await.contains("b1-x"));
        let wrong = Expected {
            slots: 3,
            ..expected()
        };
        assert!(
            refusal(&engine, &wrong)
                .await
                .contains("2 slots instead of 3")
        );
        let wrong = Expected {
            ctx: 4096,
            ..expected()
        };
        assert!(refusal(&engine, &wrong).await.contains("set ctx to 512"));
        engine.set_props(EngineProps {
            engine_version: "mock-1".into(),
            slots: 1,
            ctx_per_slot: 512,
        });
        assert!(refusal(&engine, &expected()).await.contains("instead of 2"));
    }

    // spec: ORCH-3049
    #[tokio::test]
    async fn an_engine_that_generates_nothing_or_fails_does_not_pass() {
        let engine = MockAdapter::new(2);
        engine.script().done();
        assert!(refusal(&engine, &expected()).await.contains("no token"));
        engine.script().fail(AdapterError::EngineFailed {
            message: "CUDA error 700".into(),
        });
        assert!(
            refusal(&engine, &expected())
                .await
                .contains("CUDA error 700")
        );
    }

    // spec: ORCH-3049, ORCH-3017
    #[tokio::test(start_paused = true)]
    async fn an_engine_that_misses_a_cancel_does_not_pass() {
        let engine = MockAdapter::new(2);
        engine.stick(1);
        assert!(
            refusal(&engine, &expected())
                .await
                .contains("did not free its slot")
        );
    }
}
