//! The tasks this daemon knows: live ones, and ended ones for as long as they are kept.
//!
//! ```text
//!        admit                   finish                 retention.stream          retention.task
//! none ────────▶ queued/running ────────▶ ended, readable ────────────▶ outcome only ───────────▶ none
//! ```
//!
//! # Invariants
//! - A task is known by its tenant and id; inside, by a ticket that is never used twice, so two
//!   tenants may choose the same id. [ORCH-3462, ORCH-3464]
//! - What is kept of ended tasks is bounded in time, count and bytes; the oldest end goes first.
//!   [ORCH-3434, ORCH-3435, ORCH-3436]
//! - An ended task keeps neither prompt nor sampling.
//!
//! Not here: when a task ends and how (the scheduler), and what that looks like (`record`).

pub(crate) mod ending;
pub(crate) mod record;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use orchestrator_core::ids::TaskId;
use orchestrator_core::time::MonoTime;

pub(crate) use record::{Record, Stage};

use crate::services::tasks::TaskKey;

/// How long and how much of ended tasks is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Tokens, after the end.
    pub stream: Duration,
    /// Outcomes, after the end.
    pub task: Duration,
    /// All kept tokens together, encoded.
    pub bytes: u64,
    /// All kept outcomes together.
    pub tasks: usize,
}

/// All known tasks.
#[derive(Debug)]
pub(crate) struct Book {
    retention: Retention,
    tickets: HashMap<TaskKey, TaskId>,
    records: HashMap<TaskId, Record>,
    last_ticket: u128,
    live: usize,
    /// Ended tasks in the order of their ends.
    ended: VecDeque<Ended>,
    /// Those of them that still have their tokens.
    readable: VecDeque<Readable>,
    readable_bytes: u64,
}

#[derive(Debug)]
struct Ended {
    ticket: TaskId,
    at: MonoTime,
}

#[derive(Debug)]
struct Readable {
    ended: Ended,
    bytes: u64,
}

impl Book {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            retention,
            tickets: HashMap::new(),
            records: HashMap::new(),
            last_ticket: 0,
            live: 0,
            ended: VecDeque::new(),
            readable: VecDeque::new(),
            readable_bytes: 0,
        }
    }

    /// A ticket for a task that asks for admission.
    pub(crate) fn next_ticket(&mut self) -> TaskId {
        self.last_ticket += 1;
        TaskId(self.last_ticket)
    }

    /// Notes an admitted task.
    pub(crate) fn admit(&mut self, ticket: TaskId, record: Record) {
        self.tickets.insert(record.key.clone(), ticket);
        self.records.insert(ticket, record);
        self.live += 1;
    }

    /// How many tasks have not ended.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The task of that tenant and id.
    pub(crate) fn find(&self, key: &TaskKey) -> Option<(TaskId, &Record)> {
        let ticket = *self.tickets.get(key)?;
        Some((ticket, self.records.get(&ticket)?))
    }

    pub(crate) fn get(&self, ticket: TaskId) -> Option<&Record> {
        self.records.get(&ticket)
    }

    pub(crate) fn get_mut(&mut self, ticket: TaskId) -> Option<&mut Record> {
        self.records.get_mut(&ticket)
    }

    /// Notes that the task's record shows its end now; its tokens take so many bytes.
    pub(crate) fn ended(&mut self, ticket: TaskId, bytes: u64, at: MonoTime) {
        self.live -= 1;
        self.ended.push_back(Ended { ticket, at });
        self.readable.push_back(Readable {
            ended: Ended { ticket, at },
            bytes,
        });
        self.readable_bytes += bytes;
        self.sweep(at);
    }

    /// Forgets what has been kept long enough, or is too much.
    pub(crate) fn sweep(&mut self, now: MonoTime) {
        while let Some(oldest) = self.readable.front()
            && (oldest.ended.at.after(self.retention.stream) <= now
                || self.readable_bytes > self.retention.bytes)
        {
            let oldest = self.readable.pop_front().expect("it was just seen");
            self.readable_bytes -= oldest.bytes;
            if let Some(record) = self.records.get_mut(&oldest.ended.ticket) {
                record.log = None;
            }
        }
        while let Some(oldest) = self.ended.front()
            && (oldest.at.after(self.retention.task) <= now
                || self.ended.len() > self.retention.tasks)
        {
            let oldest = self.ended.pop_front().expect("it was just seen");
            if let Some(record) = self.records.remove(&oldest.ticket) {
                self.tickets.remove(&record.key);
            }
        }
    }

    /// When [`Book::sweep`] has something to do.
    pub(crate) fn next_due(&self) -> Option<MonoTime> {
        let stream = self
            .readable
            .front()
            .map(|kept| kept.ended.at.after(self.retention.stream));
        let task = self
            .ended
            .front()
            .map(|kept| kept.at.after(self.retention.task));
        stream.into_iter().chain(task).min()
    }
}
