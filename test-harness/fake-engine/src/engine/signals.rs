//! What can come between a generation and its next token.

use std::pin::pin;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Engine, Freeze, Phase};

/// What the conversation wants of its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Go on.
    Run,
    /// Compute nothing until told to.
    Halt,
    /// Go on, and keep the slot even when done.
    Linger,
    /// Give up.
    Abort,
}

/// Why a generation is computed no further.
pub(super) enum Interrupt {
    Aborted,
    AllAborted,
    Failed(String),
    Dropped,
}

/// Everything that can come between a generation and its next token.
pub(super) struct Signals {
    pub(super) control: watch::Receiver<Control>,
    freeze: watch::Receiver<Freeze>,
    batch_failure: watch::Receiver<(u64, String)>,
    failures_before: u64,
    /// In the batch, whose failure is everybody's. Those that still wait are spared, unless the
    /// whole engine is dead.
    is_running: bool,
    phase: watch::Receiver<Phase>,
    abort_all: CancellationToken,
}

impl Signals {
    pub(super) fn new(engine: &Engine, control: watch::Receiver<Control>) -> Self {
        let batch_failure = engine.batch_failure.subscribe();
        let failures_before = batch_failure.borrow().0;
        Self {
            control,
            freeze: engine.freeze.subscribe(),
            batch_failure,
            failures_before,
            is_running: false,
            phase: engine.phase.subscribe(),
            abort_all: engine.abort_all.clone(),
        }
    }

    /// The generation runs from here on.
    pub(super) fn join_batch(&mut self) {
        self.failures_before = self.batch_failure.borrow().0;
        self.is_running = true;
    }

    /// Carries out `work`, but not while halted or frozen, and not past an interrupt.
    pub(super) async fn unless_interrupted<T>(
        &mut self,
        request: u64,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupt> {
        let mut work = pin!(work);
        loop {
            let runs = self.check(request)?;
            tokio::select! {
                biased;
                () = self.changed() => {}
                done = &mut work, if runs => return Ok(done),
            }
        }
    }

    /// Whether work may go on now.
    fn check(&self, request: u64) -> Result<bool, Interrupt> {
        let freeze = *self.freeze.borrow();
        if freeze.below > request {
            return if freeze.is_dropped {
                Err(Interrupt::Dropped)
            } else {
                Ok(false)
            };
        }
        let failure = self.batch_failure.borrow();
        let concerns_all = self.is_running || *self.phase.borrow() == Phase::Dead;
        if failure.0 > self.failures_before && concerns_all {
            return Err(Interrupt::Failed(failure.1.clone()));
        }
        if self.abort_all.is_cancelled() {
            return Err(Interrupt::AllAborted);
        }
        match *self.control.borrow() {
            Control::Abort => Err(Interrupt::Aborted),
            Control::Halt => Ok(false),
            Control::Run | Control::Linger => Ok(true),
        }
    }

    async fn changed(&mut self) {
        let control = async {
            if self.control.changed().await.is_err() {
                // The conversation is over and left the generation to itself.
                std::future::pending::<()>().await;
            }
        };
        let aborted = async {
            if self.abort_all.is_cancelled() {
                std::future::pending::<()>().await;
            }
            self.abort_all.cancelled().await;
        };
        tokio::select! {
            () = control => {}
            // These senders live as long as the engine, which this task keeps alive.
            _ = self.freeze.changed() => {}
            _ = self.batch_failure.changed() => {}
            () = aborted => {}
        }
    }
}
