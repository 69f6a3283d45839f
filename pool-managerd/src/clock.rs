//! The one place that reads a clock for the workers' state machines.

use std::time::Instant;

use orchestrator_core::time::MonoTime;

/// Monotonic time since the agent started.
#[derive(Clone, Copy, Debug)]
pub struct MonoClock(Instant);

impl MonoClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> MonoTime {
        MonoTime(self.0.elapsed())
    }

    /// The moment `at`, for timers.
    #[must_use]
    pub fn instant(&self, at: MonoTime) -> tokio::time::Instant {
        // A moment beyond what the system can name is as good as never: in ten years.
        const NEVER: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 24 * 3600);
        (self.0 + at.0.min(NEVER)).into()
    }
}
