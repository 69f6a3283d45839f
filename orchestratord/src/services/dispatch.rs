//! One attempt: a generation on one slot, from the request to the proof that the slot is free.
//!
//! ```text
//! generate ─▶ Accepted ─▶ FirstText: asks leave ─▶ text … ─▶ Ended(completion)
//!     │           │              │ refused            │
//!     └───────────┴──────────────┴── stop, fault ─────┴─▶ Ended(fault)? ─▶ Released
//! ```
//!
//! # Invariants
//! - The first text is shown by the owner, in the same step in which the core is told of it, and
//!   the core never runs a task again afterwards. So one attempt of a task is visible at most, and a
//!   token of an attempt that was replaced is never seen. [ORCH-3442]
//! - After the log is sealed nothing is appended; the log itself refuses. [ORCH-3026]
//! - An attempt that was stopped or failed reports `Released` when its engine has shown the slot
//!   free, or when the wait for that proof is over. [ORCH-3017, ORCH-3431]
//!
//! Not here: whether to run again and where (the core), terminal frames (the owner).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use orchestrator_core::ids::TaskId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_adapter_api::adapter::SlotRelease;
use worker_adapters_adapter_api::error::{AdapterError, FaultKind};
use worker_adapters_adapter_api::generation::{
    Completion, GenerateRequest, GenerationEvent, GenerationStream,
};

use crate::services::stream_log::{AppendError, StreamLog};

/// How long one question for the release of a slot waits for its answer.
const RELEASE_WAIT: Duration = Duration::from_secs(2);
/// The pause before an engine that did not know is asked again.
const RELEASE_PAUSE: Duration = Duration::from_millis(250);
/// The bytes of text that one token may have. Vocabularies hold runs of spaces and long words, but
/// an engine that sends more than this for every token it was allowed does not keep to its limit.
const TOKEN_BYTES_MAX: usize = 256;

/// What an attempt tells the owner.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ticket: TaskId,
    pub(crate) attempt: u32,
    pub(crate) news: News,
}

/// The steps of an attempt.
#[derive(Debug)]
pub(crate) enum News {
    /// The engine took the request.
    Accepted,
    /// The first text is there. The owner shows it and gives leave to show more, or it drops the
    /// text, and the attempt ends.
    FirstText {
        text: String,
        leave: oneshot::Sender<Result<(), AppendError>>,
    },
    /// The attempt is over by itself.
    Ended(Result<Completion, AdapterError>),
    /// The slot is free, as far as this can be known.
    Released { grade: SlotRelease, after: Duration },
}

/// An attempt, ready to run.
pub(crate) struct Attempt {
    pub(crate) ticket: TaskId,
    pub(crate) attempt: u32,
    pub(crate) adapter: Arc<dyn WorkerAdapter>,
    pub(crate) request: GenerateRequest,
    pub(crate) log: Arc<StreamLog>,
    pub(crate) stop: CancellationToken,
    pub(crate) reports: mpsc::Sender<Report>,
    /// How long the core holds the slot without proof.
    pub(crate) slot_hold: Duration,
}

/// How an attempt came to its end.
enum Outcome {
    Completed(Completion),
    Failed(AdapterError),
    /// The owner does not want it any more.
    Stopped,
}

impl Attempt {
    /// Runs it to its end and reports.
    pub(crate) async fn run(self) {
        let outcome = self.generate().await;
        let over = Instant::now();
        match outcome {
            Outcome::Completed(done) => self.report(News::Ended(Ok(done))).await,
            Outcome::Failed(fault) => {
                let kind = fault.kind();
                self.report(News::Ended(Err(fault))).await;
                match kind {
                    // The core takes a refusal itself as the proof.
                    FaultKind::Rejected => {}
                    // What never reached the engine holds nothing there.
                    FaultKind::Unreachable => self.released(SlotRelease::Inferred, over).await,
                    _ => self.release(over).await,
                }
            }
            Outcome::Stopped => self.release(over).await,
        }
    }

    /// The generation. It is dropped, and so cancelled, before this returns.
    async fn generate(&self) -> Outcome {
        let accepted = self.adapter.generate(self.request.clone());
        let Some(accepted) = self.stop.run_until_cancelled(accepted).await else {
            return Outcome::Stopped;
        };
        match accepted {
            Ok(stream) => {
                self.report(News::Accepted).await;
                self.follow(stream).await
            }
            Err(fault) => Outcome::Failed(fault),
        }
    }

    async fn follow(&self, mut stream: GenerationStream) -> Outcome {
        let mut bytes = 0;
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Outcome::Stopped,
                event = stream.next() => event,
            };
            match event {
                Some(Ok(GenerationEvent::Text(text))) => {
                    let first = bytes == 0;
                    bytes += text.len();
                    let shown = if bytes > self.bytes_max() {
                        Err(Outcome::Failed(too_much(
                            "it sent more text than max_tokens can hold",
                        )))
                    } else if first {
                        self.show_first(text).await
                    } else {
                        self.show(&text)
                    };
                    if let Err(over) = shown {
                        return over;
                    }
                }
                Some(Ok(GenerationEvent::Done(done))) => return Outcome::Completed(done),
                Some(Err(fault)) => return Outcome::Failed(fault),
                None => return Outcome::Failed(cut_off()),
            }
        }
    }

    fn bytes_max(&self) -> usize {
        TOKEN_BYTES_MAX.saturating_mul(self.request.max_tokens as usize)
    }

    // spec: ORCH-3442
    async fn show_first(&self, text: String) -> Result<(), Outcome> {
        let (leave, given) = oneshot::channel();
        self.report(News::FirstText { text, leave }).await;
        let shown = given.await.map_err(|_| self.dropped_late())?;
        shown.map_err(|refusal| self.cannot_show(refusal))
    }

    fn show(&self, text: &str) -> Result<(), Outcome> {
        self.log
            .append_token(text)
            .map_err(|refusal| self.cannot_show(refusal))
    }

    fn cannot_show(&self, refusal: AppendError) -> Outcome {
        match refusal {
            AppendError::Sealed => self.dropped_late(),
            AppendError::Full { .. } => Outcome::Failed(too_much(&refusal.to_string())),
        }
    }

    fn dropped_late(&self) -> Outcome {
        tracing::debug!(
            ticket = %self.ticket,
            attempt = self.attempt,
            late_tokens = 1,
            "late token dropped"
        );
        Outcome::Stopped
    }

    /// Waits for the proof that the slot is free, at most as long as the core would hold it.
    // spec: ORCH-3017, ORCH-3431
    async fn release(&self, since: Instant) {
        let slot = self.request.slot;
        let mut grade = self.adapter.confirm_release(slot, RELEASE_WAIT).await;
        while grade == SlotRelease::Unknown && since.elapsed() < self.slot_hold {
            sleep(RELEASE_PAUSE).await;
            grade = self.adapter.confirm_release(slot, RELEASE_WAIT).await;
        }
        self.released(grade, since).await;
    }

    async fn released(&self, grade: SlotRelease, since: Instant) {
        self.report(News::Released {
            grade,
            after: since.elapsed(),
        })
        .await;
    }

    async fn report(&self, news: News) {
        let report = Report {
            ticket: self.ticket,
            attempt: self.attempt,
            news,
        };
        // After the owner has gone there is nobody to tell.
        let _ = self.reports.send(report).await;
    }
}

fn cut_off() -> AdapterError {
    AdapterError::CutOff {
        reason: "it ended without an end event".to_owned(),
    }
}

fn too_much(reason: &str) -> AdapterError {
    AdapterError::Garbled {
        reason: reason.to_owned(),
    }
}
