//! What a test makes a generation do, step by step.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use worker_adapters_adapter_api::AdapterError;

pub(crate) enum Step {
    Text(String),
    Done,
    Fail(AdapterError),
}

/// The test's end of one scripted generation. Steps wait until the generation reads them. While
/// there is no further step the engine hangs; dropping the script before an end cuts the stream.
#[derive(Debug)]
pub struct Script {
    steps: UnboundedSender<Step>,
}

impl Script {
    pub(crate) fn open() -> (Self, UnboundedReceiver<Step>) {
        let (steps, receiver) = unbounded_channel();
        (Self { steps }, receiver)
    }

    /// Yields a piece of text.
    pub fn text(&self, text: &str) {
        self.step(Step::Text(text.to_owned()));
    }

    /// Ends the generation well, with a token for each piece.
    pub fn done(&self) {
        self.step(Step::Done);
    }

    /// Ends the generation with a failure.
    pub fn fail(&self, error: AdapterError) {
        self.step(Step::Fail(error));
    }

    /// Resolves once the generation's stream is gone, by its end or by a cancel.
    pub async fn dropped(&self) {
        self.steps.closed().await;
    }

    fn step(&self, step: Step) {
        // A canceled generation reads no more, as with a real engine.
        let _ = self.steps.send(step);
    }
}
