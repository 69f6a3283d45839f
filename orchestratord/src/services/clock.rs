//! The one clock of the daemon: monotonic time since its start.
//!
//! It follows tokio's clock, so tests that pause time steer it. Not here: wall time, which only
//! stands in answers and logs and decides nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use orchestrator_core::time::MonoTime;
use tokio::time::Instant;

/// Monotonic time since an origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> MonoTime {
        MonoTime(self.origin.elapsed())
    }

    /// When tokio's clock shows `time`.
    pub(crate) fn instant(&self, time: MonoTime) -> Instant {
        // A deadline beyond what the clock can show is as good as none.
        self.origin
            .checked_add(time.0)
            .unwrap_or_else(|| self.origin + FAR)
    }
}

/// Longer than any process lives, and far from overflow.
const FAR: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 3600);

/// Wall time for answers, in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
