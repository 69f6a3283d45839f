//! One generation over one connection: frames, faults, and the client's leaving.
//!
//! # Invariants
//! - Every byte of an answer goes through `Conversation::send`, which counts it and stops at the
//!   bytes where a fault is due.
//! - A token is logged once its frame is written.
//!
//! Not here: what is generated (`engine`) and what frames look like (`dialect`).

mod ending;
mod faults;
mod framing;
mod leaving;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::answer::{Answer, LAST_CHUNK, chunk};
use crate::dialect::{Asked, Voice};
use crate::engine::decode;
use crate::engine::job::{Counts, End, Job, Step};
use crate::engine::plan::{Place, Plan};
use crate::engine::signals::Control;
use crate::engine::{Engine, Phase};
use crate::flow::Delta;
use crate::log::Event;
use crate::script::fault::Fault;
use crate::wire::{Gone, Wire};
use framing::Framing;

/// What becomes of the connection behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    KeepOpen,
    Close,
}

/// Why an answer goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halted {
    /// The client left.
    Gone(Gone),
    /// The engine closes the connection without an end.
    Cut,
    /// The answer is whole, though not as it would have been.
    Ended,
}

struct Conversation<'a> {
    engine: &'a Arc<Engine>,
    wire: &'a mut Wire,
    voice: Box<dyn Voice>,
    job: Arc<Job>,
    request: u64,
    plan: Plan,
    control: watch::Sender<Control>,
    framing: Framing,
    /// Bytes of the answer written.
    sent: u64,
    /// Where the body begins, once the head is written.
    body_at: Option<u64>,
    /// Tokens computed but not yet told.
    untold: Vec<(Delta, Counts)>,
}

/// Carries out one generation.
pub(crate) async fn converse(engine: &Arc<Engine>, wire: &mut Wire, asked: Asked) -> After {
    let Asked { path, job, voice } = asked;
    let (request, plan) = engine.plan(&job.text);
    engine.log.note(Event::Request {
        request,
        path,
        prompt_tokens: job.prompt.len() as u32,
        max_tokens: job.max_tokens,
        stream: job.stream,
    });
    for fault in plan.unplaced() {
        engine.log.note(Event::Faulted { request, fault });
    }
    if let Some(answer) = refusal(engine, &plan, voice.as_ref()) {
        engine.log.note(Event::Refused { request });
        return tell(wire, &answer).await;
    }
    let job = Arc::new(job);
    let (control, steps) = decode::spawn(engine, request, Arc::clone(&job), &plan);
    let conversation = Conversation {
        framing: Framing::new(&engine.script.frames),
        engine,
        wire,
        voice,
        job,
        request,
        plan,
        control,
        sent: 0,
        body_at: None,
        untold: Vec::new(),
    };
    conversation.run(steps).await
}

/// Writes an answer that no fault befalls.
pub(crate) async fn tell(wire: &mut Wire, answer: &Answer) -> After {
    let bytes = [answer.head.as_slice(), &answer.body].concat();
    match wire.write(&bytes).await {
        Ok(()) if !answer.closes => After::KeepOpen,
        _ => After::Close,
    }
}

/// What is said instead of generating.
fn refusal(engine: &Engine, plan: &Plan, voice: &dyn Voice) -> Option<Answer> {
    match &plan.instead {
        Some(Fault::Html) => return Some(faults::html()),
        Some(Fault::ServerError { message }) => return Some(voice.failed(message)),
        Some(Fault::Overloaded) => return Some(voice.overloaded()),
        _ => {}
    }
    if engine.phase() == Phase::Dead {
        return Some(voice.dead());
    }
    if engine.is_overloaded() {
        engine.count(|counters| counters.overloaded += 1);
        return Some(voice.overloaded());
    }
    None
}

impl Conversation<'_> {
    async fn run(mut self, mut steps: mpsc::UnboundedReceiver<Step>) -> After {
        let told = if self.job.stream {
            self.stream(&mut steps).await
        } else {
            self.whole(&mut steps).await
        };
        match told {
            Ok(after) => after,
            Err(Halted::Ended) => {
                self.steer(Control::Abort);
                After::KeepOpen
            }
            Err(Halted::Cut) => {
                self.steer(Control::Abort);
                After::Close
            }
            Err(Halted::Gone(how)) => {
                self.leave(how);
                After::Close
            }
        }
    }

    async fn stream(&mut self, steps: &mut mpsc::UnboundedReceiver<Step>) -> Result<After, Halted> {
        if self.voice.opens_early() {
            self.open().await?;
        }
        loop {
            match self.next(steps).await? {
                // A late head is not written before an error that comes first.
                Step::Prefilled if self.fails_first() => self.befall(0).await?,
                Step::Prefilled if self.is_due(0) => self.open().await?,
                Step::Prefilled => {}
                Step::Token(delta, counts) => {
                    self.open().await?;
                    self.untold.push((delta, counts));
                    if self.untold.len() >= self.engine.script.frames.tokens_per_frame as usize {
                        self.tell_tokens().await?;
                    }
                }
                Step::Last(delta, end) => {
                    self.open().await?;
                    self.tell_tokens().await?;
                    self.end(delta, &end).await?;
                    return Ok(After::KeepOpen);
                }
                Step::Failed(message) => return self.fail(&message).await,
            }
        }
    }

    async fn whole(&mut self, steps: &mut mpsc::UnboundedReceiver<Step>) -> Result<After, Halted> {
        loop {
            match self.next(steps).await? {
                Step::Prefilled => self.befall(0).await?,
                Step::Token(delta, _) => self.befall(delta.count).await?,
                Step::Last(delta, end) => {
                    self.befall(delta.count).await?;
                    let answer = self.voice.whole(&end);
                    let after = self.send_answer(&answer).await?;
                    self.finished(&end);
                    return Ok(after);
                }
                Step::Failed(message) => return self.fail(&message).await,
            }
        }
    }

    /// The next step, unless the client leaves or the server is cut off before it.
    async fn next(&mut self, steps: &mut mpsc::UnboundedReceiver<Step>) -> Result<Step, Halted> {
        loop {
            let ping = self.job.ping.filter(|_| self.body_at.is_some());
            tokio::select! {
                biased;
                gone = self.wire.gone() => return Err(Halted::Gone(gone)),
                () = self.engine.cut.cancelled() => return Err(Halted::Cut),
                step = next_or_never(steps) => return Ok(step),
                () = after(ping) => {}
            }
            self.send(&chunk(self.voice.hex(), b":\n\n")).await?;
        }
    }

    /// Writes the head of the stream, once.
    async fn open(&mut self) -> Result<(), Halted> {
        if self.body_at.is_some() {
            return Ok(());
        }
        let head = self.voice.stream_head();
        self.body_at = Some(self.sent + head.len() as u64);
        self.send(&head).await?;
        self.befall(0).await
    }

    /// Writes the frames of the tokens that wait to be told.
    async fn tell_tokens(&mut self) -> Result<(), Halted> {
        let untold = std::mem::take(&mut self.untold);
        let Some((last, _)) = untold.last() else {
            return Ok(());
        };
        let count = last.count;
        let text: String = untold
            .iter()
            .map(|(delta, _)| delta.text.as_str())
            .collect();
        let mut frames = Vec::new();
        for (delta, counts) in self.merged(untold) {
            if let Some(data) = self.voice.delta(&delta, &counts) {
                if self.framing.wants_empty_delta() {
                    let empty = Delta {
                        count: delta.count,
                        ..Delta::default()
                    };
                    let data = self.voice.delta(&empty, &counts).unwrap_or_default();
                    frames.extend(self.chunked(&data));
                }
                frames.extend(self.chunked(&data));
            }
        }
        if !frames.is_empty() {
            self.send(&frames).await?;
            self.engine.note_result();
            self.note_token(count, text);
        }
        self.befall(count).await
    }

    /// Several tokens as one, where the dialect has no frame per token.
    fn merged(&self, untold: Vec<(Delta, Counts)>) -> Vec<(Delta, Counts)> {
        if self.engine.dialect == crate::dialect::Dialect::Tgi {
            return untold;
        }
        let joined = untold.into_iter().reduce(|(before, _), (delta, counts)| {
            let delta = Delta {
                text: before.text + &delta.text,
                ids: [before.ids, delta.ids].concat(),
                is_held: before.is_held && delta.is_held,
                is_special: before.is_special && delta.is_special,
                count: delta.count,
            };
            (delta, counts)
        });
        joined.into_iter().collect()
    }

    /// Tells an error, in the stream if it has begun.
    async fn fail(&mut self, message: &str) -> Result<After, Halted> {
        if self.body_at.is_none() {
            let answer = self.voice.failed(message);
            return self.send_answer(&answer).await;
        }
        for data in self.voice.error_frames(message) {
            self.send_data(&data).await?;
        }
        self.send(LAST_CHUNK).await?;
        Ok(After::KeepOpen)
    }

    async fn send_answer(&mut self, answer: &Answer) -> Result<After, Halted> {
        self.body_at = Some(answer.head.len() as u64);
        self.send(&answer.head).await?;
        self.send(&answer.body).await?;
        self.engine.note_result();
        Ok(if answer.closes {
            After::Close
        } else {
            After::KeepOpen
        })
    }

    async fn send_data(&mut self, data: &str) -> Result<(), Halted> {
        let bytes = self.chunked(data);
        self.send(&bytes).await
    }

    fn chunked(&mut self, data: &str) -> Vec<u8> {
        chunk(self.voice.hex(), &self.framing.frame(data))
    }

    /// Writes bytes of the answer, up to each byte where a fault is due and on behind it.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Halted> {
        let mut rest = bytes;
        while let Some((at, fault)) = self.take_due_byte(rest.len() as u64) {
            let (before, behind) = rest.split_at((at - self.sent) as usize);
            self.put(before).await?;
            rest = behind;
            self.break_off(fault).await?;
        }
        self.put(rest).await
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), Halted> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.wire.write(bytes).await.map_err(Halted::Gone)?;
        if self.sent == 0 {
            let request = self.request;
            self.engine.log.note(Event::FirstByte { request });
        }
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// The next fault that is due within `len` bytes.
    fn take_due_byte(&mut self, len: u64) -> Option<(u64, Fault)> {
        let (body_at, sent) = (self.body_at, self.sent);
        let position = |place: &Place| match place {
            Place::Byte(byte) => Some(*byte),
            Place::BodyByte(byte) => body_at.map(|at| at + byte),
            Place::Token(_) => None,
        };
        let due = self
            .plan
            .placed
            .iter()
            .enumerate()
            .filter_map(|(index, (place, _))| {
                let at = position(place)?;
                (at >= sent && at < sent + len).then_some((at, index))
            });
        let (at, index) = due.min()?;
        Some((at, self.plan.placed.remove(index).1))
    }

    fn note_token(&self, count: u32, text: String) {
        self.engine.log.note(Event::Token {
            request: self.request,
            count,
            text,
            wire_bytes: self.sent,
        });
    }

    fn finished(&self, end: &End) {
        self.engine.log.note(Event::Finished {
            request: self.request,
            tokens: end.counts.completion_tokens,
            reason: end.reason.name().to_owned(),
        });
    }

    fn steer(&self, control: Control) {
        self.control.send_replace(control);
    }
}

/// The next step. A generation that ends without a word, as one that was dropped does, is as silent
/// as one that hangs.
async fn next_or_never(steps: &mut mpsc::UnboundedReceiver<Step>) -> Step {
    match steps.recv().await {
        Some(step) => step,
        None => std::future::pending().await,
    }
}

/// Returns after `span`, or never.
async fn after(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}
