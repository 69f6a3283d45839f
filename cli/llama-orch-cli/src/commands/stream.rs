//! `stream`: the answer of a task, and how `run` and it show events.

use contracts_api_types::stream::{EndEvent, StartedEvent};
use contracts_api_types::task::FinishReason;
use llama_orch_sdk::StreamEvent;
use serde_json::{Value, json};

use crate::args::StreamArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::interrupts::Interrupts;
use crate::output::{Output, Tone};

pub(crate) async fn stream(
    context: &Context,
    args: StreamArgs,
    output: &Output,
) -> Result<(), Failure> {
    let client = context.client()?;
    let mut interrupts = Interrupts::take()?;
    let mut show = Show::new(output);
    let read = async {
        let mut events = client.stream(args.task_id, args.from).await?;
        while let Some(event) = events.next().await {
            show.event(&event?)?;
        }
        Ok(())
    };
    let ended: Result<(), Failure> = tokio::select! {
        ended = read => ended,
        () = interrupts.next() => Err(Failure::interrupted().hint(format!(
            "the task goes on; `llama-orch cancel {}` ends it", args.task_id
        ))),
    };
    show.finish();
    ended?;
    show.outcome()
}

/// Shows events: text as it comes, or a line of JSON each.
pub(super) struct Show<'a> {
    output: &'a Output,
    open_line: bool,
    end: Option<EndEvent>,
    error: Option<Failure>,
}

impl<'a> Show<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self {
            output,
            open_line: false,
            end: None,
            error: None,
        }
    }

    // spec: CLI-8011
    pub(super) fn event(&mut self, event: &StreamEvent) -> Result<(), Failure> {
        if self.output.is_json() {
            self.output.document(&document(event))?;
        }
        match event {
            StreamEvent::Token { token, .. } if !self.output.is_json() => {
                self.open_line = !token.t.ends_with('\n');
                self.output.data(&token.t)?;
            }
            StreamEvent::Started(started) if !self.output.is_json() => self.started(started),
            StreamEvent::End(end) => self.end = Some(end.clone()),
            StreamEvent::Error(error) => self.error = Some(error.into()),
            StreamEvent::Started(_) | StreamEvent::Token { .. } | StreamEvent::Metrics(_) => {}
        }
        Ok(())
    }

    fn started(&self, started: &StartedEvent) {
        let text = format!(
            "{} on {} ({}, seed {})",
            started.replica_id, started.device_class, started.engine_version, started.seed
        );
        self.output.say(&self.output.tone(Tone::Faint, &text));
    }

    /// Ends an open line of a terminal: what comes next begins at its left.
    pub(super) fn finish(&mut self) {
        if std::mem::take(&mut self.open_line) && self.output.is_terminal() {
            // A terminal that is gone needs no line end.
            let _ = self.output.data("\n");
        }
    }

    /// Success, or why the task did not end by itself.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        if let Some(failure) = &self.error {
            return Err(failure.clone());
        }
        let Some(end) = &self.end else {
            return Err(Failure::failed(
                "the stream ended without saying how the task ended",
            ));
        };
        if end.finish_reason == FinishReason::Canceled {
            return Err(Failure::new(Kind::Task, "the task was canceled"));
        }
        if !self.output.is_json() {
            self.output
                .say(&self.output.tone(Tone::Faint, &summary(end)));
        }
        Ok(())
    }
}

/// An event as one line of JSON: its name, its fields, and where to resume.
fn document(event: &StreamEvent) -> Value {
    let (name, mut fields) = match event {
        StreamEvent::Started(data) => ("started", json!(data)),
        StreamEvent::Token { token, .. } => ("token", json!(token)),
        StreamEvent::Metrics(data) => ("metrics", json!(data)),
        StreamEvent::End(data) => ("end", json!(data)),
        StreamEvent::Error(data) => ("error", json!(data)),
    };
    fields["event"] = name.into();
    if let StreamEvent::Token { id, .. } = event {
        fields["id"] = id.as_str().into();
    }
    fields
}

fn summary(end: &EndEvent) -> String {
    let seconds = end.decode_time_ms as f64 / 1000.0;
    let rate = if seconds > 0.0 {
        f64::from(end.tokens_out) / seconds
    } else {
        0.0
    };
    format!(
        "{} tokens in {} ms ({rate:.0}/s), {} ms in the queue, finished by {}",
        end.tokens_out, end.decode_time_ms, end.queue_time_ms, end.finish_reason
    )
}

#[cfg(test)]
mod tests {
    use contracts_api_types::stream::TokenEvent;

    use super::*;

    fn end(finish_reason: FinishReason) -> EndEvent {
        EndEvent {
            tokens_in: 3,
            tokens_out: 40,
            decode_time_ms: 20,
            queue_time_ms: 1,
            finish_reason,
            text_digest: "00".into(),
        }
    }

    // spec: CLI-8008
    #[test]
    fn a_token_as_json_carries_its_name_and_its_id() {
        let token = TokenEvent {
            t: "hi".into(),
            i: 7,
        };
        let event = StreamEvent::Token {
            token,
            id: "x".into(),
        };
        let expected = json!({ "event": "token", "t": "hi", "i": 7, "id": "x" });
        assert_eq!(document(&event), expected);
        let ended = document(&StreamEvent::End(end(FinishReason::Stop)));
        assert_eq!(
            (&ended["event"], &ended["tokens_out"]),
            (&json!("end"), &json!(40))
        );
    }

    #[test]
    fn the_summary_counts_tokens_per_second() {
        assert_eq!(
            summary(&end(FinishReason::Stop)),
            "40 tokens in 20 ms (2000/s), 1 ms in the queue, finished by stop"
        );
    }
}
