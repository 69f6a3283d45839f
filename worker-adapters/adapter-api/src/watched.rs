//! The watch over a running generation.
//!
//! An engine's own stream may stall, end early, go on after its end, or hold empty pieces. Every
//! adapter puts [`watched`] around it, so that no reader has to think of any of that.
//!
//! # Invariants
//! - Exactly one terminal item, `Done` or an error, and then the end.
//! - The inner stream is dropped, which cancels the generation, before the terminal item is seen;
//!   it is never polled again.
//! - Every wait is bounded: by `first_token` from `started`, by `gap` after each item.
//!
//! Not here: the bound on the whole generation, which is the scheduler's deadline.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::error::AdapterError;
use crate::generation::{GenerationEvent, GenerationStream, Limits};

/// The name of the first wait in [`AdapterError::TimedOut`], also for adapters whose engine holds
/// back its answer until the first token.
pub const FIRST_TOKEN: &str = "first token";

const NEXT_TOKEN: &str = "next token";

type Item = Result<GenerationEvent, AdapterError>;

/// Puts the watch around an engine's own stream. The request went out at `started`.
///
/// An empty piece is not passed on, but it is a sign of life: the engine holds a token whose
/// character is not whole yet.
// spec: ORCH-3016
pub fn watched(
    inner: impl Stream<Item = Item> + Send + 'static,
    started: Instant,
    limits: Limits,
) -> GenerationStream {
    let watch = Watch {
        inner: inner.boxed(),
        gap: limits.gap,
        what: FIRST_TOKEN,
        waited: limits.first_token,
        until: started + limits.first_token,
    };
    stream::unfold(Some(watch), |watch| async { Some(watch?.next().await) }).boxed()
}

struct Watch {
    inner: BoxStream<'static, Item>,
    gap: Duration,
    what: &'static str,
    waited: Duration,
    until: Instant,
}

impl Watch {
    /// The next item that a reader sees, with the watch itself unless that item was the last.
    async fn next(mut self) -> (Item, Option<Self>) {
        loop {
            match timeout_at(self.until, self.inner.next()).await {
                Err(_) => return (Err(self.timed_out()), None),
                Ok(None) => return (Err(cut_off()), None),
                Ok(Some(Ok(GenerationEvent::Text(text)))) => {
                    self.wait_for_next();
                    if !text.is_empty() {
                        return (Ok(GenerationEvent::Text(text)), Some(self));
                    }
                }
                Ok(Some(terminal)) => return (terminal, None),
            }
        }
    }

    fn wait_for_next(&mut self) {
        self.what = NEXT_TOKEN;
        self.waited = self.gap;
        self.until = Instant::now() + self.gap;
    }

    fn timed_out(&self) -> AdapterError {
        AdapterError::TimedOut {
            what: self.what,
            waited: self.waited,
        }
    }
}

fn cut_off() -> AdapterError {
    AdapterError::CutOff {
        reason: "it ended without an end event".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;
    use crate::error::FaultKind;
    use crate::generation::{Completion, FinishReason};

    const LIMITS: Limits = Limits {
        first_token: Duration::from_secs(30),
        gap: Duration::from_secs(5),
    };

    fn text(text: &str) -> Item {
        Ok(GenerationEvent::Text(text.to_owned()))
    }

    fn done() -> Item {
        Ok(GenerationEvent::Done(Completion {
            finish_reason: FinishReason::Stop,
            tokens_in: 3,
            tokens_cached: 0,
            tokens_out: 2,
            prefill: Duration::from_millis(1),
            decode: Duration::from_millis(2),
        }))
    }

    /// A stream that waits before each item, and then for ever.
    fn paced(items: Vec<(u64, Item)>) -> impl Stream<Item = Item> + Send + 'static {
        let items = stream::iter(items).then(|(after_ms, item)| async move {
            sleep(Duration::from_millis(after_ms)).await;
            item
        });
        items.chain(stream::pending())
    }

    async fn seen(inner: impl Stream<Item = Item> + Send + 'static) -> Vec<Item> {
        watched(inner, Instant::now(), LIMITS).collect().await
    }

    // spec: ORCH-3016
    #[tokio::test(start_paused = true)]
    async fn a_first_token_that_does_not_come_in_time_ends_the_stream() {
        let items = seen(paced(vec![(30_001, text("late"))])).await;
        let waited = LIMITS.first_token;
        assert_eq!(
            items,
            [Err(AdapterError::TimedOut {
                what: "first token",
                waited
            })]
        );
    }

    // spec: ORCH-3016
    #[tokio::test(start_paused = true)]
    async fn the_first_wait_counts_from_the_request_and_not_from_the_first_poll() {
        let begun = Instant::now();
        let mut stream = watched(paced(vec![]), begun, LIMITS);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(
            stream.next().await.unwrap().unwrap_err().kind(),
            FaultKind::TimedOut
        );
        assert_eq!(begun.elapsed().as_secs(), 30);
    }

    // spec: ORCH-3016
    #[tokio::test(start_paused = true)]
    async fn a_gap_above_the_limit_ends_the_stream_and_one_below_does_not() {
        let items = seen(paced(vec![
            (29_000, text("a")),
            (4_999, text("b")),
            (5_001, done()),
        ]))
        .await;
        let timed_out = AdapterError::TimedOut {
            what: "next token",
            waited: LIMITS.gap,
        };
        assert_eq!(items, [text("a"), text("b"), Err(timed_out)]);
    }

    #[tokio::test(start_paused = true)]
    async fn empty_pieces_are_dropped_but_show_that_the_engine_lives() {
        let held = vec![
            (1, text("")),
            (4_000, text("")),
            (4_000, text("ü")),
            (0, done()),
        ];
        assert_eq!(seen(paced(held)).await, [text("ü"), done()]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_without_a_terminal_item_is_a_cut() {
        let items = seen(stream::iter(vec![text("a")])).await;
        assert_eq!(items[0], text("a"));
        assert_eq!(items[1].as_ref().unwrap_err().kind(), FaultKind::CutOff);
        assert_eq!(items.len(), 2);
        assert_eq!(seen(stream::iter(vec![])).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_follows_a_terminal_item() {
        let failed = || {
            Err(AdapterError::EngineFailed {
                message: "out of memory".into(),
            })
        };
        assert_eq!(
            seen(stream::iter(vec![done(), text("more"), done()])).await,
            [done()]
        );
        assert_eq!(seen(stream::iter(vec![failed(), done()])).await, [failed()]);
    }

    // spec: ORCH-3017
    #[tokio::test(start_paused = true)]
    async fn the_inner_stream_is_gone_when_the_terminal_item_is_seen() {
        for last in [
            done(),
            Err(AdapterError::EngineFailed {
                message: String::new(),
            }),
        ] {
            let alive = Arc::new(());
            let held = Arc::clone(&alive);
            let inner = stream::iter(vec![text("a"), last]).chain(stream::pending());
            let mut stream = watched(
                inner.inspect(move |_| assert!(Arc::strong_count(&held) > 1)),
                Instant::now(),
                LIMITS,
            );
            stream.next().await;
            assert_eq!(Arc::strong_count(&alive), 2);
            stream.next().await;
            assert_eq!(Arc::strong_count(&alive), 1);
            assert_eq!(stream.next().await, None);
        }
    }
}
