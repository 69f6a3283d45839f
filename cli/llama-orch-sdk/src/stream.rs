//! A task's events, over as many connections as it takes.

use std::collections::VecDeque;
use std::time::Duration;

use contracts_api_types::stream::{EndEvent, ErrorEvent, MetricsEvent, StartedEvent, TokenEvent};
use contracts_sse::{Decoder, Event};
use reqwest::Response;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use uuid::Uuid;

use crate::client::Client;
use crate::error::SdkError;

/// Connections in a row that may break without one event before the caller hears of it. With the
/// waits below that is about 14 s: longer than a restart of a daemon takes.
const BROKEN_MAX: u32 = 10;
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// A replica has taken the task. At most once.
    Started(StartedEvent),
    /// A piece of text.
    Token {
        /// Text and index.
        token: TokenEvent,
        /// Where to resume, for a later [`Client::stream`].
        id: String,
    },
    /// How queue and task stand.
    Metrics(MetricsEvent),
    /// The end without an error.
    End(EndEvent),
    /// The end with an error.
    Error(ErrorEvent),
}

impl StreamEvent {
    /// Whether nothing follows.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::End(_) | Self::Error(_))
    }
}

/// Reads a task's events until its end. Broken connections are picked up again behind the last
/// token; a gap or a repeat is an error, never passed on.
#[derive(Debug)]
pub struct TaskStream {
    client: Client,
    path: String,
    response: Option<Response>,
    decoder: Decoder,
    pending: VecDeque<Event>,
    after: Option<String>,
    next_index: Option<u64>,
    started: bool,
    ended: bool,
    broken: u32,
}

impl TaskStream {
    pub(crate) async fn open(
        client: Client,
        id: Uuid,
        after: Option<String>,
    ) -> Result<Self, SdkError> {
        let path = format!("/v1/tasks/{id}/stream");
        let response = client.open_stream(&path, after.as_deref()).await?;
        Ok(Self {
            client,
            path,
            response: Some(response),
            decoder: Decoder::new(),
            pending: VecDeque::new(),
            // From the beginning the first index is known; behind an opaque id it is not.
            next_index: after.is_none().then_some(0),
            after,
            started: false,
            ended: false,
            broken: 0,
        })
    }

    /// The next event; `None` after the end.
    ///
    /// Cancel-safe: dropping the future loses no event.
    ///
    /// # Errors
    /// A refusal of the server, a connection that stays broken, or a breach of the contract.
    /// Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<StreamEvent, SdkError>> {
        while !self.ended {
            let step = match self.pending.pop_front() {
                Some(event) => self.accept(event),
                None => self.receive().await.map(|()| None),
            };
            match step {
                Ok(None) => {}
                Ok(Some(event)) => {
                    self.ended = event.is_terminal();
                    return Some(Ok(event));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Takes more bytes from the connection, or a new connection where there is none.
    async fn receive(&mut self) -> Result<(), SdkError> {
        let Some(response) = &mut self.response else { return self.reconnect().await };
        match response.chunk().await {
            Ok(Some(bytes)) => {
                let events = self.decoder.push(&bytes);
                let events = events.map_err(|e| self.client.protocol(&self.path, e.to_string()))?;
                self.pending.extend(events);
            }
            // The end of the body without a terminal event is a break like any other.
            Ok(None) => self.response = None,
            Err(source) => {
                self.response = None;
                if self.broken >= BROKEN_MAX {
                    return Err(self.client.transport(&self.path, source));
                }
            }
        }
        Ok(())
    }

    async fn reconnect(&mut self) -> Result<(), SdkError> {
        let wait = (WAIT_MIN * 2_u32.saturating_pow(self.broken)).min(WAIT_MAX);
        sleep(wait).await;
        self.broken += 1;
        match self.client.open_stream(&self.path, self.after.as_deref()).await {
            Ok(response) => {
                self.response = Some(response);
                self.decoder = Decoder::new();
                Ok(())
            }
            Err(SdkError::Transport { .. }) if self.broken < BROKEN_MAX => Ok(()),
            Err(SdkError::Refused { body, .. }) if body.retriable && self.broken < BROKEN_MAX => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Turns a frame into an event, or into nothing where it only repeats what was told.
    fn accept(&mut self, frame: Event) -> Result<Option<StreamEvent>, SdkError> {
        self.broken = 0;
        let event = match frame.name.as_str() {
            "started" if self.started => return Ok(None),
            "started" => {
                self.started = true;
                StreamEvent::Started(self.parse(&frame)?)
            }
            "token" => self.token(frame)?,
            "metrics" => StreamEvent::Metrics(self.parse(&frame)?),
            "end" => StreamEvent::End(self.parse(&frame)?),
            "error" => StreamEvent::Error(self.parse(&frame)?),
            // A later version may add events.
            _ => return Ok(None),
        };
        Ok(Some(event))
    }

    fn token(&mut self, frame: Event) -> Result<StreamEvent, SdkError> {
        let token: TokenEvent = self.parse(&frame)?;
        let refuse = |problem| Err(self.client.protocol(&self.path, problem));
        let Some(id) = frame.id else { return refuse("a token without an id".to_owned()) };
        if self.next_index.is_some_and(|expected| expected != token.i) {
            return refuse(format!("token {} where {:?} was due", token.i, self.next_index));
        }
        self.next_index = Some(token.i + 1);
        self.after = Some(id.clone());
        Ok(StreamEvent::Token { token, id })
    }

    fn parse<T: DeserializeOwned>(&self, frame: &Event) -> Result<T, SdkError> {
        serde_json::from_str(&frame.data).map_err(|error| {
            self.client.protocol(&self.path, format!("event `{}`: {error}", frame.name))
        })
    }
}
