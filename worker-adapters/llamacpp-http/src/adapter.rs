//! The calls of [`WorkerAdapter`], each as one exchange with the server.

use std::time::Duration;

use async_trait::async_trait;
use orchestrator_core::engine::Engine;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};
use worker_adapters_adapter_api::AdapterError;
use worker_adapters_adapter_api::adapter::{
    EngineMetrics, EngineProps, Health, SlotRelease, SlotState, WorkerAdapter,
};
use worker_adapters_adapter_api::generation::{GenerateRequest, GenerationStream};
use worker_adapters_adapter_api::watched::watched;

use crate::completion;
use crate::config::{ConfigError, LlamaCppConfig};
use crate::frames::{self, Asked};
use crate::metrics::{self, METRICS_BYTES_MAX};
use crate::refusal;
use crate::slots::{self, SLOTS_BYTES_MAX, Slot};
use crate::transport::Transport;

/// The longest answer to `/health`.
const HEALTH_BYTES_MAX: usize = 64 * 1024;
/// The longest answer to `/props`: it holds the model's chat template.
const PROPS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest answer to `/tokenize`, without and for each byte of text: a byte is at most one
/// token, and a token is a number of up to ten digits and a comma.
const TOKENS_BYTES_MIN: usize = 4 * 1024;
const TOKENS_BYTES_PER_BYTE: usize = 11;

/// The first and the longest pause between two looks at the slots after a cancel. The server lets
/// go within one decode step, so the first look is soon; a slow step is not asked for too often.
const RELEASE_PAUSE_MIN: Duration = Duration::from_millis(20);
const RELEASE_PAUSE_MAX: Duration = Duration::from_millis(100);

/// One `llama-server`.
// spec: ORCH-3054, OC-ADAPT-5001
#[derive(Debug)]
pub struct LlamaCppAdapter {
    transport: Transport,
    /// How many slots the server has, once it was asked. It is fixed for the life of a server.
    slot_count: OnceCell<u32>,
}

impl LlamaCppAdapter {
    /// An adapter for the server at `config.base_url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that cannot be used.
    pub fn new(config: LlamaCppConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            transport: Transport::new(&config)?,
            slot_count: OnceCell::new(),
        })
    }

    async fn slot_count(&self) -> Result<u32, AdapterError> {
        let count = self
            .slot_count
            .get_or_try_init(|| async { Ok(self.props().await?.slots) });
        count.await.copied()
    }

    async fn read_slots(&self) -> Result<Vec<Slot>, AdapterError> {
        slots::read(
            &self
                .transport
                .get("/slots", SLOTS_BYTES_MAX)
                .await?
                .accepted()?,
        )
    }

    /// Resolves once the server shows `slot` idle.
    async fn released(&self, slot: u32) {
        let mut pause = RELEASE_PAUSE_MIN;
        loop {
            let idle = SlotState {
                index: slot,
                busy: false,
            };
            match self.slots().await {
                Ok(slots) if slots.contains(&idle) => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(slot, %error, "slots could not be read"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(RELEASE_PAUSE_MAX);
        }
    }
}

#[derive(Deserialize)]
struct Props {
    build_info: String,
    total_slots: u32,
    default_generation_settings: DefaultSettings,
}

#[derive(Deserialize)]
struct DefaultSettings {
    n_ctx: u32,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<IgnoredAny>,
}

fn parsed<'a, T: Deserialize<'a>>(what: &str, body: &'a [u8]) -> Result<T, AdapterError> {
    serde_json::from_slice(body).map_err(|error| {
        refusal::garbled(&format!("{what}: {error}"), &String::from_utf8_lossy(body))
    })
}

#[async_trait]
impl WorkerAdapter for LlamaCppAdapter {
    fn engine(&self) -> Engine {
        Engine::LlamaCpp
    }

    // spec: OC-ADAPT-5122
    async fn health(&self) -> Result<Health, AdapterError> {
        let answer = self.transport.get("/health", HEALTH_BYTES_MAX).await?;
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let text = |pointer| body.as_ref()?.pointer(pointer)?.as_str();
        if answer.status == 503 && text("/error/type") == Some("unavailable_error") {
            return Ok(Health::Loading);
        }
        if answer.status == 200 && text("/status") == Some("ok") {
            return Ok(Health::Ready);
        }
        let body = answer.accepted()?;
        Err(refusal::garbled(
            "health without its ok",
            &String::from_utf8_lossy(&body),
        ))
    }

    // spec: OC-ADAPT-5011
    async fn props(&self) -> Result<EngineProps, AdapterError> {
        let body = self
            .transport
            .get("/props", PROPS_BYTES_MAX)
            .await?
            .accepted()?;
        let props: Props = parsed("props", &body)?;
        Ok(EngineProps {
            engine_version: props.build_info,
            slots: props.total_slots,
            ctx_per_slot: props.default_generation_settings.n_ctx,
        })
    }

    async fn slots(&self) -> Result<Vec<SlotState>, AdapterError> {
        Ok(slots::states(&self.read_slots().await?))
    }

    // spec: OC-ADAPT-5127
    async fn count_tokens(&self, text: &str) -> Result<u32, AdapterError> {
        let limit = TOKENS_BYTES_MIN + TOKENS_BYTES_PER_BYTE * text.len();
        let body = json!({ "content": text, "add_special": true })
            .to_string()
            .into_bytes();
        let body = self
            .transport
            .post("/tokenize", body, limit)
            .await?
            .accepted()?;
        let counted: Tokens = parsed("tokens", &body)?;
        u32::try_from(counted.tokens.len()).map_err(|_| refusal::garbled("tokens", "too many"))
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerationStream, AdapterError> {
        let started = Instant::now();
        let body = completion::body(&request, self.slot_count().await?)?;
        let limits = request.limits;
        let response = self
            .transport
            .open_stream("/completion", body, started, limits.first_token)
            .await?;
        tracing::debug!(
            request_id = request.request_id,
            slot = request.slot,
            "generation begun"
        );
        Ok(watched(
            frames::events(response, Asked::of(&request)),
            started,
            limits,
        ))
    }

    // spec: ORCH-3017, OC-ADAPT-5111, OC-ADAPT-5124
    async fn confirm_release(&self, slot: u32, within: Duration) -> SlotRelease {
        match timeout(within, self.released(slot)).await {
            Ok(()) => SlotRelease::Confirmed,
            Err(_) => SlotRelease::Unknown,
        }
    }

    async fn metrics(&self) -> Result<EngineMetrics, AdapterError> {
        let body = self
            .transport
            .get("/metrics", METRICS_BYTES_MAX)
            .await?
            .accepted()?;
        let mut metrics = metrics::read(&body)?;
        let slots = self.read_slots().await.ok();
        metrics.kv_cache_usage_ratio = slots.as_deref().and_then(slots::kv_cache_usage_ratio);
        Ok(metrics)
    }
}
