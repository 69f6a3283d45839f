//! The signals that stop the daemon.

use tokio::signal::unix::{self, SignalKind};

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, as from Ctrl-C.
    Interrupt,
    /// SIGTERM, as from a service manager.
    Terminate,
}

impl Signal {
    /// What a shell reports of a process that this signal has ended.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Signals cannot be received.
#[derive(Debug, thiserror::Error)]
#[error("cannot receive signals")]
pub struct SignalsError(#[source] std::io::Error);

/// The signals of this process, from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes the signals over. From here on they do not end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take() -> Result<Self, SignalsError> {
        let of = |kind| unix::signal(kind).map_err(SignalsError);
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        // A stream of signals does not end.
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}
