//! Tasks and what became of them.

use anyhow::{Context, Result, bail};
use contracts_api_types::stream::{EndEvent, ErrorEvent, StartedEvent};
use contracts_api_types::task::TaskRequest;
use llama_orch_sdk::{Client, StreamEvent, TaskStream};
use serde_json::json;
use uuid::Uuid;

/// A completion of `prompt` on the fleet's model with the fields of `extra` laid over it.
#[must_use]
pub fn completion(prompt: &str, max_tokens: u32, extra: serde_json::Value) -> TaskRequest {
    let mut body = json!({
        "workload": "completion",
        "engine": "llamacpp",
        "model_ref": "e2e",
        "prompt": prompt,
        "max_tokens": max_tokens,
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    serde_json::from_value(body).expect("a valid task")
}

/// A stream, read to its end.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// The first event.
    pub started: Option<StartedEvent>,
    /// The text of each token event.
    pub pieces: Vec<String>,
    /// The last SSE id.
    pub last_id: Option<String>,
    /// A good end.
    pub end: Option<EndEvent>,
    /// A bad end.
    pub error: Option<ErrorEvent>,
}

impl Transcript {
    /// The whole text.
    #[must_use]
    pub fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// Reads one event into `transcript`; false after the end.
///
/// # Errors
/// What the stream reports.
pub async fn read_event(stream: &mut TaskStream, transcript: &mut Transcript) -> Result<bool> {
    match stream.next().await.transpose()? {
        None => return Ok(false),
        Some(StreamEvent::Started(started)) => transcript.started = Some(started),
        Some(StreamEvent::Token { token, id }) => {
            transcript.pieces.push(token.t);
            transcript.last_id = Some(id);
        }
        Some(StreamEvent::Metrics(_)) => {}
        Some(StreamEvent::End(end)) => transcript.end = Some(end),
        Some(StreamEvent::Error(error)) => transcript.error = Some(error),
    }
    Ok(true)
}

/// Reads the stream of `task` to its end.
///
/// # Errors
/// What the stream reports.
pub async fn read_all(client: &Client, task: Uuid) -> Result<Transcript> {
    let mut stream = client.stream(task, None).await?;
    let mut transcript = Transcript::default();
    while read_event(&mut stream, &mut transcript).await? {}
    Ok(transcript)
}

/// Submits a task and reads it to its end.
///
/// # Errors
/// A refusal, a broken stream, or an `error` event.
pub async fn run(client: &Client, task: &TaskRequest) -> Result<Transcript> {
    let admitted = client.submit(task).await.context("submitting")?;
    let transcript = read_all(client, admitted.task_id).await?;
    if let Some(error) = &transcript.error {
        bail!("the task ended with {}: {}", error.code, error.message);
    }
    Ok(transcript)
}
