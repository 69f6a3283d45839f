//! A task's events, over as many connections as it takes.
//!
//! # Invariants
//! - Tokens come in order, without a gap or a repeat, whatever the connections did.
//! - Exactly one terminal item: `End`, `Error` or a failure of this client. Nothing follows it.
//! - Waiting for a server that does not come back is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use contracts_api_types::stream::{EndEvent, ErrorEvent, MetricsEvent, StartedEvent, TokenEvent};
use contracts_sse::{Decoder, Event};
use reqwest::Response;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::client::Client;
use crate::error::SdkError;

/// Connections in a row that may break without news before the caller hears of it. With the pauses
/// below that is about 13 s: longer than a restart of a daemon takes.
const BREAKS_MAX: u32 = 10;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The longest pause that a server may ask for.
const HINT_MAX: Duration = Duration::from_secs(30);
/// A connection that held this long was a good one: its end starts the count afresh, so that a task
/// may wait for hours behind a flaky link.
const STEADY: Duration = Duration::from_secs(30);

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
    connection: Option<Connection>,
    pending: VecDeque<Event>,
    after: Option<String>,
    next_index: Option<u64>,
    started: bool,
    ended: bool,
    breaks: u32,
    reconnect_at: Instant,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    decoder: Decoder,
    since: Instant,
}

impl Connection {
    fn new(response: Response) -> Self {
        Self {
            response,
            decoder: Decoder::new(),
            since: Instant::now(),
        }
    }
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
            connection: Some(Connection::new(response)),
            pending: VecDeque::new(),
            // From the beginning the first index is known; behind an opaque id it is not.
            next_index: after.is_none().then_some(0),
            after,
            started: false,
            ended: false,
            breaks: 0,
            reconnect_at: Instant::now(),
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
            let item = step.transpose();
            self.ended = match &item {
                None => false,
                Some(Ok(event)) => event.is_terminal(),
                Some(Err(_)) => true,
            };
            if self.ended {
                self.connection = None;
            }
            if item.is_some() {
                return item;
            }
        }
        None
    }

    /// Takes more bytes from the connection, or a new connection where there is none.
    async fn receive(&mut self) -> Result<(), SdkError> {
        let Some(connection) = &mut self.connection else {
            return self.reconnect().await;
        };
        match connection.response.chunk().await {
            Ok(Some(bytes)) => {
                let events = connection.decoder.push(&bytes);
                let events = events.map_err(|e| self.client.protocol(&self.path, e.to_string()))?;
                self.pending.extend(events);
                Ok(())
            }
            // The end of the body without a terminal event is a break like any other.
            Ok(None) => {
                let times = self.breaks + 1;
                self.broke(SdkError::Interrupted {
                    url: self.client.url(&self.path),
                    times,
                })
            }
            Err(source) => self.broke(self.client.transport(&self.path, source)),
        }
    }

    async fn reconnect(&mut self) -> Result<(), SdkError> {
        sleep_until(self.reconnect_at).await;
        match self
            .client
            .open_stream(&self.path, self.after.as_deref())
            .await
        {
            Ok(response) => {
                self.connection = Some(Connection::new(response));
                Ok(())
            }
            Err(error) if error.retriable() => self.broke(error),
            Err(error) => Err(error),
        }
    }

    /// Notes a break and when to try again, or gives `error` to the caller after too many.
    fn broke(&mut self, error: SdkError) -> Result<(), SdkError> {
        let connection = self.connection.take();
        if connection
            .as_ref()
            .is_some_and(|connection| connection.since.elapsed() >= STEADY)
        {
            self.breaks = 0;
        }
        self.breaks += 1;
        if self.breaks > BREAKS_MAX {
            return Err(error);
        }
        let hint = match &error {
            SdkError::Refused { body, .. } => body.retry_after_ms.map(Duration::from_millis),
            _ => connection.and_then(|connection| connection.decoder.retry()),
        };
        let pause = PAUSE_MIN
            .saturating_mul(1 << (self.breaks - 1))
            .min(PAUSE_MAX);
        let hint = hint.unwrap_or_default().min(HINT_MAX);
        self.reconnect_at = Instant::now() + pause.max(hint);
        Ok(())
    }

    /// Turns a frame into an event, or into nothing where it only repeats what was told.
    fn accept(&mut self, frame: Event) -> Result<Option<StreamEvent>, SdkError> {
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
        let Some(id) = frame.id else {
            return refuse("a token without an id".to_owned());
        };
        if self.next_index.is_some_and(|expected| expected != token.i) {
            return refuse(format!(
                "token {} where {:?} was due",
                token.i, self.next_index
            ));
        }
        // Only text is news: a server that greets and hangs up, again and again, gives none.
        self.breaks = 0;
        self.next_index = Some(token.i.saturating_add(1));
        self.after = Some(id.clone());
        Ok(StreamEvent::Token { token, id })
    }

    fn parse<T: DeserializeOwned>(&self, frame: &Event) -> Result<T, SdkError> {
        serde_json::from_str(&frame.data).map_err(|error| {
            self.client
                .protocol(&self.path, format!("event `{}`: {error}", frame.name))
        })
    }
}
