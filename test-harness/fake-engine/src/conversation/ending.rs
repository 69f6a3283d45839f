//! The last frames, and what can be wrong with them.

use std::time::Duration;

use super::{Conversation, Halted, faults};
use crate::answer::LAST_CHUNK;
use crate::engine::job::End;
use crate::flow::Delta;
use crate::script::fault::Fault;

impl Conversation<'_> {
    /// Tells the last token and the end, as far as the script lets it.
    pub(super) async fn end(&mut self, delta: Delta, end: &End) -> Result<(), Halted> {
        let mut delta = delta;
        let ending = self.plan.ending.take();
        let is_split = self.is_due(delta.count) || ending.is_some();
        if is_split && !delta.ids.is_empty() {
            self.untold.push((std::mem::take(&mut delta), end.counts));
            self.tell_tokens().await?;
            delta.count = end.counts.completion_tokens;
        }
        match ending {
            Some(Fault::MissingEnd) if !self.voice.has_end_frame() => return Err(Halted::Cut),
            Some(Fault::MissingEnd) => {}
            Some(Fault::DoneOnly) => self.send_data("[DONE]").await?,
            Some(Fault::LateEnd { ms }) => {
                self.pause(Some(Duration::from_millis(ms))).await?;
                self.send_last(&delta, end).await?;
            }
            Some(Fault::DoubleEnd) => {
                self.send_last(&delta, end).await?;
                self.send_last(&Delta::default(), end).await?;
            }
            Some(Fault::TokensAfterEnd { tokens }) => {
                self.send_last(&delta, end).await?;
                self.send_late_tokens(tokens, end).await?;
            }
            _ => self.send_last(&delta, end).await?,
        }
        self.send(LAST_CHUNK).await?;
        self.finished(end);
        Ok(())
    }

    async fn send_last(&mut self, delta: &Delta, end: &End) -> Result<(), Halted> {
        let mut bytes = Vec::new();
        for data in self.voice.last(delta, end) {
            bytes.extend(self.chunked(&data));
        }
        self.send(&bytes).await?;
        self.engine.note_result();
        if !delta.ids.is_empty() {
            self.note_token(delta.count, delta.text.clone());
        }
        match self.voice.done() {
            Some(done) => self.send_data(done).await,
            None => Ok(()),
        }
    }

    async fn send_late_tokens(&mut self, tokens: u32, end: &End) -> Result<(), Halted> {
        for late in 1..=tokens {
            let delta = faults::late_token(end.counts.completion_tokens + late);
            self.untold.push((delta, end.counts));
            self.tell_tokens().await?;
        }
        Ok(())
    }
}
