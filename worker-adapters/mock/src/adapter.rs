//! The adapter itself: slots, generations, and what a test sets.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, Stream};
use orchestrator_core::engine::Engine;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use worker_adapters_adapter_api::adapter::{
    EngineMetrics, EngineProps, Health, SlotRelease, SlotState, WorkerAdapter,
};
use worker_adapters_adapter_api::error::AdapterError;
use worker_adapters_adapter_api::generation::{
    Completion, FinishReason, GenerateRequest, GenerationEvent, GenerationStream,
};
use worker_adapters_adapter_api::watched::watched;

use crate::script::{Script, Step};

const WORDS: [&str; 16] = [
    "moon", "river", "stone", "quiet", "pine", "frost", "lantern", "crane", "mist", "gate", "bell",
    "harvest", "ash", "willow", "tide", "ember",
];

/// An engine in the test's own process.
// spec: ORCH-3058
#[derive(Debug)]
pub struct MockAdapter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    busy: watch::Sender<Vec<bool>>,
}

#[derive(Debug)]
struct State {
    health: Result<Health, AdapterError>,
    props: EngineProps,
    scripts: VecDeque<UnboundedReceiver<Step>>,
    refusals: VecDeque<AdapterError>,
    stuck: HashSet<u32>,
    requests: Vec<GenerateRequest>,
    tokens_in: u64,
    tokens_out: u64,
}

impl MockAdapter {
    /// A ready engine with that many slots of 512 tokens each.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        let state = State {
            health: Ok(Health::Ready),
            props: EngineProps {
                engine_version: "mock-1".to_owned(),
                slots,
                ctx_per_slot: 512,
            },
            scripts: VecDeque::new(),
            refusals: VecDeque::new(),
            stuck: HashSet::new(),
            requests: Vec::new(),
            tokens_in: 0,
            tokens_out: 0,
        };
        let busy = watch::Sender::new(vec![false; slots as usize]);
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                busy,
            }),
        }
    }

    /// The pieces of an unscripted generation: one for each token.
    pub fn pieces(prompt: &str, seed: u32, max_tokens: u32) -> impl Iterator<Item = String> {
        let mut hash = prompt
            .bytes()
            .chain(seed.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325, fnv);
        (0..max_tokens).map(move |index| {
            hash = fnv(hash, index.to_le_bytes()[0]);
            let word = WORDS[(hash >> 32) as usize % WORDS.len()];
            if index == 0 {
                word.to_owned()
            } else {
                format!(" {word}")
            }
        })
    }

    /// Makes a later generation follow a script: the first script goes to the next generation.
    #[must_use]
    pub fn script(&self) -> Script {
        let (script, steps) = Script::open();
        self.shared.state().scripts.push_back(steps);
        script
    }

    /// Makes the next generation be refused.
    pub fn refuse_next(&self, error: AdapterError) {
        self.shared.state().refusals.push_back(error);
    }

    /// Sets the answer to health checks.
    pub fn set_health(&self, health: Result<Health, AdapterError>) {
        self.shared.state().health = health;
    }

    /// Sets what the engine says of itself. The slots themselves stay as they are.
    pub fn set_props(&self, props: EngineProps) {
        self.shared.state().props = props;
    }

    /// Makes `slot` stay busy after its stream is dropped, as an engine does that misses a cancel.
    pub fn stick(&self, slot: u32) {
        self.shared.state().stuck.insert(slot);
    }

    /// Frees a stuck slot.
    pub fn unstick(&self, slot: u32) {
        self.shared.state().stuck.remove(&slot);
        self.shared.set_busy(slot, false);
    }

    /// Every request that was accepted, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<GenerateRequest> {
        self.shared.state().requests.clone()
    }

    fn steps_of(state: &mut State, request: &GenerateRequest) -> UnboundedReceiver<Step> {
        state.scripts.pop_front().unwrap_or_else(|| {
            let (script, steps) = Script::open();
            Self::pieces(&request.prompt, request.seed, request.max_tokens)
                .for_each(|piece| script.text(&piece));
            script.done();
            steps
        })
    }
}

fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

fn count(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn set_busy(&self, slot: u32, busy: bool) {
        self.busy.send_modify(|slots| {
            if let Some(state) = slots.get_mut(slot as usize) {
                *state = busy;
            }
        });
    }

    fn take_slot(&self, slot: u32) -> Result<(), AdapterError> {
        let mut was_busy = None;
        self.busy.send_if_modified(|slots| {
            was_busy = slots
                .get_mut(slot as usize)
                .map(|busy| std::mem::replace(busy, true));
            was_busy == Some(false)
        });
        match was_busy {
            Some(false) => Ok(()),
            Some(true) => Err(AdapterError::Overloaded {
                message: format!("slot {slot} is busy"),
            }),
            None => {
                let message = format!("there is no slot {slot}");
                Err(AdapterError::Rejected {
                    status: 400,
                    message,
                })
            }
        }
    }
}

/// Frees the slot with the stream that holds it.
struct SlotGuard {
    shared: Arc<Shared>,
    slot: u32,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if !self.shared.state().stuck.contains(&self.slot) {
            self.shared.set_busy(self.slot, false);
        }
    }
}

struct Generation {
    steps: UnboundedReceiver<Step>,
    guard: SlotGuard,
    tokens_in: u32,
    tokens_out: u32,
}

impl Generation {
    fn into_stream(self) -> impl Stream<Item = Result<GenerationEvent, AdapterError>> + Send {
        stream::unfold(self, |mut generation| async {
            let step = generation.steps.recv().await?;
            Some((generation.carry_out(step), generation))
        })
    }

    fn carry_out(&mut self, step: Step) -> Result<GenerationEvent, AdapterError> {
        match step {
            Step::Text(text) => {
                self.tokens_out += 1;
                self.guard.shared.state().tokens_out += 1;
                Ok(GenerationEvent::Text(text))
            }
            Step::Done => Ok(GenerationEvent::Done(Completion {
                finish_reason: FinishReason::Stop,
                tokens_in: self.tokens_in,
                tokens_cached: 0,
                tokens_out: self.tokens_out,
                prefill: Duration::from_millis(u64::from(self.tokens_in)),
                decode: Duration::from_millis(u64::from(self.tokens_out)),
            })),
            Step::Fail(error) => Err(error),
        }
    }
}

#[async_trait]
impl WorkerAdapter for MockAdapter {
    fn engine(&self) -> Engine {
        Engine::LlamaCpp
    }

    async fn health(&self) -> Result<Health, AdapterError> {
        self.shared.state().health.clone()
    }

    async fn props(&self) -> Result<EngineProps, AdapterError> {
        Ok(self.shared.state().props.clone())
    }

    async fn slots(&self) -> Result<Vec<SlotState>, AdapterError> {
        let busy = self.shared.busy.borrow().clone();
        Ok((0..)
            .zip(busy)
            .map(|(index, busy)| SlotState { index, busy })
            .collect())
    }

    async fn count_tokens(&self, text: &str) -> Result<u32, AdapterError> {
        Ok(count(text))
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerationStream, AdapterError> {
        let refusal = self.shared.state().refusals.pop_front();
        refusal.map_or(Ok(()), Err)?;
        self.shared.take_slot(request.slot)?;
        let guard = SlotGuard {
            shared: Arc::clone(&self.shared),
            slot: request.slot,
        };
        let tokens_in = count(&request.prompt);
        let limits = request.limits;
        let mut state = self.shared.state();
        state.tokens_in += u64::from(tokens_in);
        let steps = Self::steps_of(&mut state, &request);
        state.requests.push(request);
        drop(state);
        let generation = Generation {
            steps,
            guard,
            tokens_in,
            tokens_out: 0,
        };
        Ok(watched(generation.into_stream(), Instant::now(), limits))
    }

    async fn confirm_release(&self, slot: u32, within: Duration) -> SlotRelease {
        let mut busy = self.shared.busy.subscribe();
        let free = busy.wait_for(|slots| slots.get(slot as usize) == Some(&false));
        match timeout(within, free).await {
            Ok(Ok(_)) => SlotRelease::Confirmed,
            _ => SlotRelease::Unknown,
        }
    }

    async fn metrics(&self) -> Result<EngineMetrics, AdapterError> {
        let running = self
            .shared
            .busy
            .borrow()
            .iter()
            .filter(|busy| **busy)
            .count();
        let state = self.shared.state();
        Ok(EngineMetrics {
            running: u32::try_from(running).ok(),
            waiting: Some(0),
            kv_cache_usage_ratio: None,
            tokens_in_total: Some(state.tokens_in),
            tokens_out_total: Some(state.tokens_out),
        })
    }
}
