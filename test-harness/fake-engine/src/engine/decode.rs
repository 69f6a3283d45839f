//! One generation: waits for a slot, reads the prompt, gives tokens at the scripted pace.
//!
//! Runs as a task of its own. The conversation that asked steers it by [`Control`] and may be gone
//! before it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Engine;
use super::hold::SlotHold;
use super::job::{Counts, End, Job, Reason, Step};
use super::plan::Plan;
use super::signals::{Control, Interrupt, Signals};
use super::slots::Want;
use crate::flow::{Delta, Flow};
use crate::log::Event;
use crate::text::{Ask, Token, Tokens, mixed};
use crate::vocabulary::{EOS, TokenId};

pub(crate) struct Decode {
    engine: Arc<Engine>,
    request: u64,
    job: Arc<Job>,
    plan: Plan,
    steps: mpsc::UnboundedSender<Step>,
    signals: Signals,
}

/// Starts a generation.
pub(crate) fn spawn(
    engine: &Arc<Engine>,
    request: u64,
    job: Arc<Job>,
    plan: &Plan,
) -> (watch::Sender<Control>, mpsc::UnboundedReceiver<Step>) {
    let control = watch::Sender::new(Control::Run);
    let (steps, receiver) = mpsc::unbounded_channel();
    let decode = Decode {
        engine: Arc::clone(engine),
        request,
        job,
        plan: plan.clone(),
        steps,
        signals: Signals::new(engine, control.subscribe()),
    };
    let dead = engine.dead.clone();
    engine.tasks.spawn(async move {
        dead.run_until_cancelled(decode.run()).await;
    });
    (control, receiver)
}

impl Decode {
    async fn run(mut self) {
        let mut tokens = 0;
        let interrupt = match self.generate(&mut tokens).await {
            Ok(()) => return,
            Err(interrupt) => interrupt,
        };
        match interrupt {
            Interrupt::Aborted => {
                self.engine.count(|counters| counters.dropped += 1);
            }
            Interrupt::Failed(message) => {
                self.engine.count(|counters| counters.failed += 1);
                // The client may be gone, and then nobody need know.
                let _ = self.steps.send(Step::Failed(message));
            }
            Interrupt::AllAborted | Interrupt::Dropped => {}
        }
        let request = self.request;
        self.engine.log.note(Event::Aborted { request, tokens });
    }

    async fn generate(&mut self, tokens: &mut u32) -> Result<(), Interrupt> {
        let began = Instant::now();
        let engine = Arc::clone(&self.engine);
        let wait = engine.acquire(self.request, self.want());
        let mut hold = match self.signals.unless_interrupted(self.request, wait).await {
            Err(Interrupt::AllAborted) => return self.end_aborted(Counts::default()),
            hold => hold?,
        };
        let mut counts = Counts {
            slot: hold.slot,
            prompt_tokens: self.job.prompt.len() as u32,
            queued: began.elapsed(),
            ..Counts::default()
        };
        self.signals.join_batch();
        self.prefill(&mut counts).await?;
        let ended = self.decode(&mut hold, &mut counts).await;
        *tokens = hold.tokens;
        self.remember(&hold);
        match ended {
            Err(Interrupt::AllAborted) => self.end_aborted(counts)?,
            ended => ended?,
        }
        if *self.signals.control.borrow() == Control::Linger {
            // Only an abort ends this wait.
            self.signals
                .unless_interrupted(self.request, std::future::pending::<()>())
                .await?;
        }
        Ok(())
    }

    fn want(&self) -> Want {
        match self.job.slot {
            Some(slot) => Want::Only(slot),
            None if self.engine.dialect == crate::dialect::Dialect::Llamacpp => {
                Want::Fitting(Arc::clone(&self.job.prompt))
            }
            None => Want::Any,
        }
    }

    async fn prefill(&mut self, counts: &mut Counts) -> Result<(), Interrupt> {
        let began = Instant::now();
        let job = Arc::clone(&self.job);
        let cached = match job.reuse_cache {
            true => self.engine.cached_prefix(counts.slot, &job.prompt) as u32,
            false => 0,
        };
        counts.cached_tokens = cached;
        self.engine.update_slot(counts.slot, |slot| {
            slot.prompt_tokens = counts.prompt_tokens;
            slot.cached_tokens = cached;
            slot.max_tokens = job.max_tokens;
            slot.params = Arc::clone(&job.slot_params);
        });
        let rate = self.engine.script.prefill_tokens_per_s;
        let span = span_of(counts.prompt_tokens - cached, rate);
        self.pause_until(began + span).await?;
        counts.prefill = began.elapsed();
        self.engine.count(|counters| {
            counters.prompt_tokens += u64::from(counts.prompt_tokens);
            counters.cached_tokens += u64::from(cached);
            counters.prompt_s += counts.prefill.as_secs_f64();
            counters.queue_s += counts.queued.as_secs_f64();
        });
        self.engine.log.note(Event::Prefilled {
            request: self.request,
            cached_tokens: cached,
        });
        self.send(Step::Prefilled);
        Ok(())
    }

    async fn decode(&mut self, hold: &mut SlotHold, counts: &mut Counts) -> Result<(), Interrupt> {
        let job = Arc::clone(&self.job);
        let mut source = self.source();
        let mut flow = Flow::new(job.incomplete, job.stops.clone());
        let mut shown = Vec::new();
        let limit = job.max_tokens + self.plan.extra_tokens;
        let began = Instant::now();
        let mut next_at = began;
        if self.plan.no_tokens || limit == 0 {
            self.end(Delta::default(), *counts, (Reason::Length, flow, shown));
            return Ok(());
        }
        loop {
            next_at += self.token_span();
            self.pause_until(next_at).await?;
            let token = next_token(&mut source, job.ignore_eos);
            let mut delta = flow.push(&token);
            hold.tokens = delta.count;
            counts.completion_tokens = delta.count;
            counts.decode = began.elapsed();
            self.note_token(&delta, counts);
            let reason = if token.is_end() {
                Some(Reason::Eos)
            } else if let Some(stop) = flow.stopped_by() {
                Some(Reason::Stop(stop.to_owned()))
            } else {
                (delta.count == limit).then_some(Reason::Length)
            };
            if let Some(reason) = reason {
                delta.text.push_str(&flow.finish());
                shown.push((token.id, delta.text.clone()));
                self.end(delta, *counts, (reason, flow, shown));
                return Ok(());
            }
            shown.push((token.id, delta.text.clone()));
            self.send(Step::Token(delta, *counts));
        }
    }

    fn source(&self) -> Tokens {
        let fresh = || mixed(self.engine.started_unix_s ^ u64::from(std::process::id()) << 32);
        let ask = Ask {
            prompt: &self.job.text,
            seed: self
                .job
                .seed
                .unwrap_or_else(|| mixed(fresh() ^ self.request)),
            temperature: self.job.temperature,
        };
        Tokens::new(&self.engine.script.text, &ask)
    }

    fn note_token(&self, delta: &Delta, counts: &Counts) {
        self.engine.update_slot(counts.slot, |slot| {
            slot.decoded = delta.count;
            slot.has_new_line |= delta.text.contains('\n');
        });
        let busy = self.engine.busy();
        self.engine.count(|counters| {
            counters.decoded_tokens += 1;
            counters.busy_per_token += busy as u64;
            counters.longest = counters.longest.max(counts.prompt_tokens + delta.count - 1);
        });
    }

    /// How long the next token takes, with the neighbours of this moment.
    fn token_span(&self) -> Duration {
        let script = &self.engine.script;
        let neighbours = self.engine.busy().saturating_sub(1) as f64;
        span_of(1, script.decode_tokens_per_s).mul_f64(1.0 + script.batch_slowdown * neighbours)
    }

    async fn pause_until(&mut self, at: Instant) -> Result<(), Interrupt> {
        let pause = async {
            if at > Instant::now() {
                sleep_until(at).await;
            } else {
                // Others must come to their turn even where nothing takes time.
                tokio::task::yield_now().await;
            }
        };
        self.signals.unless_interrupted(self.request, pause).await
    }

    fn end(&self, delta: Delta, mut counts: Counts, ended: (Reason, Flow, Vec<(TokenId, String)>)) {
        let (reason, flow, tokens) = ended;
        self.engine.count(|counters| {
            counters.decode_s += counts.decode.as_secs_f64();
            match reason {
                Reason::Length => counters.finished_by_length += 1,
                Reason::Eos | Reason::Stop(_) => counters.finished_by_stop += 1,
                Reason::Abort => {}
            }
        });
        if let Some((prompt_tokens, completion_tokens)) = self.plan.usage {
            counts.prompt_tokens = prompt_tokens;
            counts.completion_tokens = completion_tokens;
        }
        let end = End {
            is_truncated: self.job.is_truncated && reason == Reason::Length,
            reason,
            text: flow.into_text(),
            counts,
            tokens,
        };
        self.send(Step::Last(delta, Box::new(end)));
    }

    fn end_aborted(&self, counts: Counts) -> Result<(), Interrupt> {
        let delta = Delta {
            count: counts.completion_tokens,
            ..Delta::default()
        };
        let flow = Flow::new(self.job.incomplete, Vec::new());
        self.end(delta, counts, (Reason::Abort, flow, Vec::new()));
        Err(Interrupt::AllAborted)
    }

    /// Puts prompt and answer into the cache, the last token apart: it was never computed on.
    fn remember(&self, hold: &SlotHold) {
        if !self.job.reuse_cache {
            return;
        }
        let mut tokens = self.job.prompt.to_vec();
        let answer = self
            .source()
            .filter(|token| !self.job.ignore_eos || token.id != EOS);
        let kept = hold.tokens.saturating_sub(1) as usize;
        tokens.extend(answer.take(kept).map(|token| token.id));
        self.engine.remember(hold.slot, tokens);
    }

    fn send(&self, step: Step) {
        // A client that left is no reason to stop: that is for `Control` to say.
        let _ = self.steps.send(step);
    }
}

fn next_token(source: &mut Tokens, ignore_eos: bool) -> Token {
    let wanted = |token: &Token| !(ignore_eos && token.is_end());
    source.find(wanted).expect("a source of tokens is endless")
}

fn span_of(tokens: u32, per_s: u32) -> Duration {
    match per_s {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(f64::from(tokens) / f64::from(rate)),
    }
}
