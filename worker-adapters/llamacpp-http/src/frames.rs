//! The event stream of one completion.
//!
//! # Invariants
//! - Success is a frame with `"stop": true` and a known `stop_type`; an end of the connection
//!   before it is a cut.
//! - Token counts come from the frames' own numbers, never from counting frames: the server holds
//!   back tokens whose characters are not whole.
//!
//! Not here: timeouts, empty pieces, and what may follow the end (`watched`).

use std::collections::VecDeque;
use std::time::Duration;

use contracts_sse::{DEFAULT_LIMIT, Decoder, Event};
use futures_util::stream::{self, Stream};
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;
use worker_adapters_adapter_api::AdapterError;
use worker_adapters_adapter_api::generation::{
    Completion, FinishReason, GenerateRequest, GenerationEvent,
};

use crate::refusal;
use crate::transport::next_bytes;

/// The most bytes that JSON makes of one byte of text: `\u0000`.
const ESCAPED_BYTE_MAX: usize = 6;

type Item = Result<GenerationEvent, AdapterError>;

/// What was asked, for checking what comes.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    slot: u32,
    max_tokens: u32,
    /// The last frame repeats the prompt, so the decoder has to have room for it.
    frame_bytes_max: usize,
}

impl Asked {
    pub(crate) fn of(request: &GenerateRequest) -> Self {
        Self {
            slot: request.slot,
            max_tokens: request.max_tokens,
            frame_bytes_max: DEFAULT_LIMIT + ESCAPED_BYTE_MAX * request.prompt.len(),
        }
    }
}

/// The generation behind `response`. Dropping the stream closes the connection.
pub(crate) fn events(
    response: Response,
    asked: Asked,
) -> impl Stream<Item = Item> + Send + 'static {
    let decoder = Decoder::with_limit(asked.frame_bytes_max);
    let frames = Frames {
        response,
        decoder,
        asked,
        ready: VecDeque::new(),
    };
    stream::unfold(frames, |mut frames| async {
        let item = frames.next().await?;
        Some((item, frames))
    })
}

struct Frames {
    response: Response,
    decoder: Decoder,
    asked: Asked,
    ready: VecDeque<Item>,
}

impl Frames {
    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let bytes = match next_bytes(&mut self.response).await {
                Ok(bytes) => bytes?,
                Err(error) => return Some(Err(error)),
            };
            match self.decoder.push(&bytes) {
                Ok(events) => events.iter().for_each(|event| self.take(event)),
                Err(error) => return Some(Err(garbled(&error.to_string(), ""))),
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match read(&event.data, self.asked) {
            Ok((text, completion)) => {
                self.ready.push_back(Ok(GenerationEvent::Text(text)));
                self.ready
                    .extend(completion.map(|end| Ok(GenerationEvent::Done(end))));
            }
            Err(error) => self.ready.push_back(Err(error)),
        }
    }
}

#[derive(Deserialize)]
struct Frame {
    content: String,
    stop: bool,
    tokens_predicted: u32,
}

#[derive(Deserialize)]
struct LastFrame {
    id_slot: u32,
    stop_type: String,
    tokens_predicted: u32,
    tokens_evaluated: u32,
    timings: Timings,
}

#[derive(Deserialize)]
struct Timings {
    cache_n: u32,
    prompt_ms: f64,
    predicted_ms: f64,
}

/// One frame: its text, and the account of the generation in the last one.
// spec: OC-ADAPT-5100, OC-ADAPT-5101, OC-ADAPT-5110, OC-ADAPT-5123
fn read(data: &str, asked: Asked) -> Result<(String, Option<Completion>), AdapterError> {
    let value: Value = serde_json::from_str(data).map_err(|_| garbled("no JSON", data))?;
    if let Some(error) = value.get("error") {
        return Err(refusal::of_object(error));
    }
    let unreadable = |error: serde_json::Error| garbled(&error.to_string(), data);
    let frame = Frame::deserialize(&value).map_err(unreadable)?;
    if frame.tokens_predicted > asked.max_tokens {
        return Err(garbled("more tokens than were asked for", data));
    }
    if !frame.stop {
        return Ok((frame.content, None));
    }
    let last = LastFrame::deserialize(&value).map_err(unreadable)?;
    if last.id_slot != asked.slot {
        return Err(garbled(
            "it ran on another slot than the one asked for",
            data,
        ));
    }
    Ok((frame.content, Some(completion(&last)?)))
}

fn completion(last: &LastFrame) -> Result<Completion, AdapterError> {
    let finish_reason = match last.stop_type.as_str() {
        "eos" | "word" => FinishReason::Stop,
        "limit" => FinishReason::Length,
        other => {
            let message = format!("it stopped for no reason that counts: stop_type `{other}`");
            return Err(AdapterError::EngineFailed { message });
        }
    };
    Ok(Completion {
        finish_reason,
        tokens_in: last.tokens_evaluated,
        tokens_cached: last.timings.cache_n,
        tokens_out: last.tokens_predicted,
        prefill: span(last.timings.prompt_ms)?,
        decode: span(last.timings.predicted_ms)?,
    })
}

fn span(millis: f64) -> Result<Duration, AdapterError> {
    Duration::try_from_secs_f64(millis / 1000.0)
        .map_err(|_| garbled("a time that is none", &millis.to_string()))
}

fn garbled(what: &str, data: &str) -> AdapterError {
    refusal::garbled(&format!("a frame: {what}"), data)
}
