//! Priority classes.

use std::fmt;
use std::ops::{Index, IndexMut};

/// How urgent a task is. Interactive work is served ahead of batch work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A person or an agent waits for the answer.
    Interactive,
    /// Throughput counts, not latency.
    Batch,
}

impl Priority {
    /// Both classes, the more urgent first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    /// The name on the wire and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value for each priority class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByPriority<T> {
    /// The value of interactive work.
    pub interactive: T,
    /// The value of batch work.
    pub batch: T,
}

impl<T> Index<Priority> for ByPriority<T> {
    type Output = T;

    fn index(&self, priority: Priority) -> &T {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        }
    }
}

impl<T> IndexMut<Priority> for ByPriority<T> {
    fn index_mut(&mut self, priority: Priority) -> &mut T {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}
