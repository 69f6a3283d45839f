//! The ground truth: what the engine did, by its own clock, one JSON object per line.
//!
//! # Invariants
//! - A line is written, whole and flushed, before the engine acts on what it says, so that the log
//!   is complete up to the death of the process.
//! - Times never go back. The first line ties them to the machine's monotonic clock.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::dialect::Dialect;
use crate::script::fault::Fault;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the engine's start.
    pub t_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The process began; always the first line.
    Started {
        /// What it speaks.
        dialect: Dialect,
        /// Its process.
        pid: u32,
        /// The machine's monotonic clock at `t_us` 0.
        monotonic_us: u64,
    },
    /// The model is loaded.
    Ready,
    /// A generation was asked for.
    Request {
        /// Its index, from 0; the number by which other lines mean it.
        request: u64,
        /// The path asked.
        path: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// The most tokens of the answer.
        max_tokens: u32,
        /// Whether the answer is a stream.
        stream: bool,
    },
    /// A generation was answered with a refusal and took no slot.
    Refused {
        /// The generation.
        request: u64,
    },
    /// A generation took a slot.
    SlotTaken {
        /// The generation.
        request: u64,
        /// The slot.
        slot: usize,
        /// How many slots are busy now.
        busy: usize,
        /// How many generations wait.
        waiting: usize,
    },
    /// More slots are busy than ever before.
    HighWater {
        /// So many.
        busy: usize,
    },
    /// The prompt is read.
    Prefilled {
        /// The generation.
        request: u64,
        /// Tokens that came from the cache.
        cached_tokens: u32,
    },
    /// The first byte of the answer was written.
    FirstByte {
        /// The generation.
        request: u64,
    },
    /// The frame of a token was written.
    Token {
        /// The generation.
        request: u64,
        /// Tokens of the answer so far, those held back included.
        count: u32,
        /// The text in the frame.
        text: String,
        /// Bytes of the answer on the wire so far, the head included.
        wire_bytes: u64,
    },
    /// The last byte of the answer was written.
    Finished {
        /// The generation.
        request: u64,
        /// Tokens of the answer.
        tokens: u32,
        /// Why it ended.
        reason: String,
    },
    /// A fault of the script befell a generation.
    Faulted {
        /// The generation.
        request: u64,
        /// The fault.
        fault: Fault,
    },
    /// The client closed the connection.
    DisconnectSeen {
        /// The generation.
        request: u64,
        /// By a reset rather than in order.
        by_reset: bool,
    },
    /// The generation was given up before its end.
    Aborted {
        /// The generation.
        request: u64,
        /// Tokens computed until then.
        tokens: u32,
    },
    /// A generation left its slot.
    SlotFreed {
        /// The generation.
        request: u64,
        /// The slot.
        slot: usize,
        /// Tokens computed.
        tokens: u32,
        /// How many slots are busy now.
        busy: usize,
    },
    /// SIGTERM came.
    Terminating,
    /// The process ends.
    Stopped,
}

impl Event {
    /// The generation that the event is about.
    #[must_use]
    pub fn request(&self) -> Option<u64> {
        match self {
            Self::Request { request, .. }
            | Self::Refused { request }
            | Self::SlotTaken { request, .. }
            | Self::Prefilled { request, .. }
            | Self::FirstByte { request }
            | Self::Token { request, .. }
            | Self::Finished { request, .. }
            | Self::Faulted { request, .. }
            | Self::DisconnectSeen { request, .. }
            | Self::Aborted { request, .. }
            | Self::SlotFreed { request, .. } => Some(*request),
            Self::Started { .. }
            | Self::Ready
            | Self::HighWater { .. }
            | Self::Terminating
            | Self::Stopped => None,
        }
    }
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Nowhere.
    Nowhere,
    /// Into the process, to be read with [`crate::FakeEngine::log`].
    Memory,
    /// Into a file.
    File(PathBuf),
}

/// Reads the log of an engine that may still be running: a last line that is not whole is left out.
///
/// # Errors
/// When the file cannot be read, or a line is no entry.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let entry = |line| serde_json::from_str(line).map_err(io::Error::other);
    whole.lines().map(entry).collect()
}

#[derive(Debug)]
enum Sink {
    Nowhere,
    Memory(Vec<Entry>),
    File(File),
}

#[derive(Debug)]
pub(crate) struct GroundTruth {
    start: Instant,
    sink: Mutex<Sink>,
}

const UNPOISONED: &str = "nothing panics while it holds the lock";

impl GroundTruth {
    pub(crate) fn open(to: &LogTo, dialect: Dialect) -> io::Result<Self> {
        let sink = match to {
            LogTo::Nowhere => Sink::Nowhere,
            LogTo::Memory => Sink::Memory(Vec::new()),
            LogTo::File(path) => Sink::File(File::create(path)?),
        };
        let truth = Self {
            start: Instant::now(),
            sink: Mutex::new(sink),
        };
        truth.note(Event::Started {
            dialect,
            pid: std::process::id(),
            monotonic_us: monotonic_us(),
        });
        Ok(truth)
    }

    /// Writes one line. A disk that takes no more lines ends the process: a log with holes is no
    /// ground truth.
    pub(crate) fn note(&self, event: Event) {
        let mut sink = self.sink.lock().expect(UNPOISONED);
        // Under the lock, so that times are in the order of the lines.
        let t_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let entry = Entry { t_us, event };
        match &mut *sink {
            Sink::Nowhere => {}
            Sink::Memory(entries) => entries.push(entry),
            Sink::File(file) => {
                let mut line = serde_json::to_vec(&entry).expect("plain data always serialises");
                line.push(b'\n');
                if file.write_all(&line).is_err() {
                    std::process::exit(3);
                }
            }
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        match &*self.sink.lock().expect(UNPOISONED) {
            Sink::Memory(entries) => entries.clone(),
            Sink::Nowhere | Sink::File(_) => Vec::new(),
        }
    }
}

fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    u64::try_from(us).unwrap_or(0)
}
