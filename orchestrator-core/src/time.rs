//! Time as an argument: the core never reads a clock.

use std::time::Duration;

/// Monotonic time since an origin that the driver chose, such as the start of the daemon.
///
/// `std::time::Instant` cannot be built with a chosen value, so tests and the simulator could not
/// use it; this can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime(pub Duration);

impl MonoTime {
    /// The origin itself.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// This time plus `span`, or the largest representable time where that would overflow.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// The span from `earlier` to this time; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
