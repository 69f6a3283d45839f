//! Faults with a place in the answer, as they happen.

use std::time::Duration;

use super::{Conversation, Halted, after};
use crate::answer::{Answer, LAST_CHUNK, chunk, head};
use crate::dialect::Dialect;
use crate::engine::job::Counts;
use crate::engine::plan::Place;
use crate::engine::signals::Control;
use crate::engine::{Death, Freeze, Phase};
use crate::flow::Delta;
use crate::log::Event;
use crate::script::fault::{Fault, Garbage};

/// How long vLLM's server outlives its engine.
const VLLM_AFTER_DEATH: Duration = Duration::from_millis(500);

impl Conversation<'_> {
    /// Whether a fault is due behind the frame of token `count` or of one before it.
    pub(super) fn is_due(&self, count: u32) -> bool {
        let due = |place: &Place| matches!(place, Place::Token(token) if *token <= count);
        self.plan.placed.iter().any(|(place, _)| due(place))
    }

    /// Whether an error comes before the first token.
    pub(super) fn fails_first(&self) -> bool {
        let first = |place: &Place, fault: &Fault| {
            *place == Place::Token(0) && matches!(fault, Fault::ErrorFrame { .. })
        };
        self.plan
            .placed
            .iter()
            .any(|(place, fault)| first(place, fault))
    }

    /// Lets everything happen that is due up to token `count`.
    pub(super) async fn befall(&mut self, count: u32) -> Result<(), Halted> {
        loop {
            let due = |place: &Place| matches!(place, Place::Token(token) if *token <= count);
            let placed = &mut self.plan.placed;
            let Some(index) = placed.iter().position(|(place, _)| due(place)) else {
                return Ok(());
            };
            let (_, fault) = placed.remove(index);
            self.act(fault).await?;
        }
    }

    /// The faults that can be between any two bytes.
    pub(super) async fn break_off(&mut self, fault: Fault) -> Result<(), Halted> {
        self.note_fault(&fault);
        match fault {
            Fault::Kill => self.die(Death::Kill),
            Fault::Exit { code } => self.die(Death::Exit(code)),
            Fault::Stall { ms } => self.pause(ms.map(Duration::from_millis)).await,
            Fault::Rst => {
                self.wire.reset_on_close();
                Err(Halted::Cut)
            }
            _ => Err(Halted::Cut),
        }
    }

    fn note_fault(&self, fault: &Fault) {
        self.engine.log.note(Event::Faulted {
            request: self.request,
            fault: fault.clone(),
        });
    }

    async fn act(&mut self, fault: Fault) -> Result<(), Halted> {
        if fault.fits_a_byte() {
            return self.break_off(fault).await;
        }
        self.note_fault(&fault);
        match fault {
            Fault::Garbage(garbage) if self.job.stream => self.send_garbage(garbage).await,
            Fault::ErrorFrame { message } => {
                self.steer(Control::Abort);
                self.fail(&message).await?;
                Err(Halted::Ended)
            }
            Fault::BatchFailure { message } => {
                self.engine.fail_batch(&message);
                Ok(())
            }
            Fault::EndHere if self.job.stream => {
                self.steer(Control::Abort);
                self.send(LAST_CHUNK).await?;
                Err(Halted::Ended)
            }
            Fault::EngineDeath => self.die_inside(),
            _ => Ok(()),
        }
    }

    fn die(&self, death: Death) -> Result<(), Halted> {
        self.engine.die(death);
        Err(Halted::Cut)
    }

    /// Computes and writes nothing, for so long or until the client leaves.
    pub(super) async fn pause(&mut self, span: Option<Duration>) -> Result<(), Halted> {
        self.steer(Control::Halt);
        tokio::select! {
            gone = self.wire.gone() => return Err(Halted::Gone(gone)),
            () = self.engine.cut.cancelled() => return Err(Halted::Cut),
            () = after(span) => {}
        }
        self.steer(Control::Run);
        Ok(())
    }

    /// What the death of the computing part means, engine by engine.
    fn die_inside(&self) -> Result<(), Halted> {
        let engine = self.engine;
        match engine.dialect {
            Dialect::Llamacpp => return self.die(Death::Kill),
            Dialect::Vllm => {
                engine.phase.send_replace(Phase::Dead);
                engine.fail_batch(
                    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                );
                let dying = std::sync::Arc::clone(engine);
                engine.tasks.spawn(async move {
                    tokio::time::sleep(VLLM_AFTER_DEATH).await;
                    dying.die(Death::Exit(1));
                });
            }
            Dialect::Tgi => {
                engine.phase.send_replace(Phase::Dead);
                engine
                    .fail_batch("Request failed during generation: Server error: transport error");
            }
            Dialect::Triton => {
                engine.phase.send_replace(Phase::Dead);
                engine.freeze.send_replace(Freeze {
                    below: engine.next_request(),
                    is_dropped: false,
                });
            }
        }
        Ok(())
    }

    async fn send_garbage(&mut self, garbage: Garbage) -> Result<(), Halted> {
        let hex = self.voice.hex();
        let bytes = match garbage {
            Garbage::InvalidJson => self.chunked("{\"content\":\"no end"),
            Garbage::InvalidUtf8 => {
                let frame = self.told("\u{fffd}");
                chunk(
                    hex,
                    &replaced(&frame, "\u{fffd}".as_bytes(), b"\xff\xfe\xc3"),
                )
            }
            Garbage::LongLine { bytes } => {
                let frame = self.told(&"a".repeat(bytes));
                chunk(hex, &frame)
            }
            Garbage::HalfFrame => {
                let frame = self.told("half");
                chunk(hex, &frame[..frame.len() / 2])
            }
            Garbage::EmptyData => self.chunked(""),
            Garbage::UnknownEvent => chunk(hex, b"event: surprise\ndata: {\"surprise\":true}\n\n"),
            Garbage::Comment => chunk(hex, b": just a comment\n\n"),
            Garbage::Bom => chunk(hex, "\u{feff}".as_bytes()),
            Garbage::ForeignFrame => {
                let delta = late_token(1);
                let data = self.voice.foreign(&delta, &Counts::default());
                self.chunked(&data.unwrap_or_default())
            }
            Garbage::ChunkSizeLie => b"ff\r\ndata: {}\n\n\r\n".to_vec(),
            Garbage::ChunkSizeGarbage => b"zz\r\ndata: {}\n\n\r\n".to_vec(),
        };
        self.send(&bytes).await
    }

    /// The frame of a token with this text.
    fn told(&mut self, text: &str) -> Vec<u8> {
        let delta = Delta {
            text: text.to_owned(),
            ..late_token(1)
        };
        let data = self.voice.delta(&delta, &Counts::default());
        self.framing.frame(&data.unwrap_or_default())
    }
}

/// A token that the engine never computed.
pub(super) fn late_token(count: u32) -> Delta {
    Delta {
        text: " late".to_owned(),
        ids: vec![crate::vocabulary::UNKNOWN],
        count,
        ..Delta::default()
    }
}

/// `bytes` with the first `old` in it replaced.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old);
    match at {
        Some(at) => [&bytes[..at], new, &bytes[at + old.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

/// The page of a proxy that has lost its backend and says so with a 200.
pub(super) fn html() -> Answer {
    let body = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head>\n\
                <body><h1>It works!</h1></body></html>\n";
    let length = body.len().to_string();
    Answer {
        head: head(
            "200 OK",
            &[("Content-Type", "text/html"), ("Content-Length", &length)],
        ),
        body: body.into(),
        closes: false,
    }
}
