//! The last lines that each worker printed, kept for causes and for the pool API.
//!
//! # Invariants
//! - At most [`LINES_MAX`] lines of [`LINE_BYTES_MAX`] bytes are kept per worker, whatever an
//!   engine prints, and lines are always valid UTF-8.
//!
//! Not here: what a line means (the engine's module knows).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines kept per worker: enough for the start of an engine and its last requests.
pub const LINES_MAX: usize = 200;
/// The longest line; the rest of it is dropped.
pub const LINE_BYTES_MAX: usize = 2048;

/// The last lines of one worker, over all its starts.
#[derive(Clone, Debug, Default)]
pub struct LogRing(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<String>,
    pushed: u64,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u64);

impl LogRing {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0
            .lock()
            .expect("nothing panics while it holds the log")
    }

    /// Adds a line.
    pub fn push(&self, line: String) {
        let mut ring = self.ring();
        if ring.lines.len() == LINES_MAX {
            ring.lines.pop_front();
        }
        ring.lines.push_back(line);
        ring.pushed += 1;
    }

    /// All kept lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.ring().lines.iter().cloned().collect()
    }

    /// The place behind the last line.
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.ring().pushed)
    }

    /// The kept lines behind `from`, oldest first.
    #[must_use]
    pub fn since(&self, from: Position) -> Vec<String> {
        let ring = self.ring();
        let wanted = usize::try_from(ring.pushed - from.0).unwrap_or(usize::MAX);
        let skipped = ring.lines.len().saturating_sub(wanted);
        ring.lines.iter().skip(skipped).cloned().collect()
    }
}

/// Cuts bytes into lines, however they arrive.
#[derive(Debug, Default)]
struct LineCutter {
    line: Vec<u8>,
}

impl LineCutter {
    fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for byte in bytes {
            match byte {
                b'\n' => line(self.take()),
                _ if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn finish(mut self, mut line: impl FnMut(String)) {
        if !self.line.is_empty() {
            line(self.take());
        }
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        text
    }
}

/// Keeps every line of `output` until it ends. `secret` never gets into the log.
// spec: OC-POOL-3114
pub async fn keep(output: impl AsyncRead + Unpin, ring: LogRing, replica: String, secret: String) {
    let mut output = output;
    let mut cutter = LineCutter::default();
    let mut bytes = vec![0; 8192];
    let keep = |line: String| {
        let line = line.replace(&secret, "[key]");
        tracing::debug!(replica_id = %replica, line, "engine");
        ring.push(line);
    };
    while let Ok(count @ 1..) = output.read(&mut bytes).await {
        cutter.feed(&bytes[..count], keep);
    }
    cutter.finish(keep);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let (mut cutter, mut lines) = (LineCutter::default(), Vec::new());
        for piece in pieces {
            cutter.feed(piece, |line| lines.push(line));
        }
        cutter.finish(|line| lines.push(line));
        lines
    }

    #[test]
    fn long_lines_are_cut_and_bad_bytes_replaced() {
        let long = "x".repeat(LINE_BYTES_MAX + 100);
        let lines = cut(&[long.as_bytes(), b"\na\xffb\r\nrest"]);
        assert_eq!(lines[0].len(), LINE_BYTES_MAX);
        assert_eq!(lines[1..], ["a\u{fffd}b", "rest"]);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_a_place_in_the_log_stays_right() {
        let ring = LogRing::default();
        let start = ring.end();
        (0..3 * LINES_MAX).for_each(|n| ring.push(n.to_string()));
        assert_eq!(ring.lines().len(), LINES_MAX);
        assert_eq!(ring.lines().last().unwrap(), "599");
        assert_eq!(ring.since(start).len(), LINES_MAX);
        let place = ring.end();
        ring.push("new".into());
        assert_eq!(ring.since(place), ["new"]);
        assert!(ring.since(ring.end()).is_empty());
    }

    // spec: OC-POOL-3114
    #[tokio::test]
    async fn a_key_in_the_output_is_not_kept() {
        let ring = LogRing::default();
        keep(
            &b"api key: abc123, ok\n"[..],
            ring.clone(),
            "r".into(),
            "abc123".into(),
        )
        .await;
        assert_eq!(ring.lines(), ["api key: [key], ok"]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            text in "[a-zü\n]{0,200}",
            at in 0usize..400,
        ) {
            let bytes = text.as_bytes();
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(cut(&[head, tail]), cut(&[bytes]));
        }
    }
}
