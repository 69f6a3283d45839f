//! The sockets: accepting, limits that a stranger can run into, and stopping.
//!
//! `axum::serve` sets no timeouts, so the accept loop is our own. HTTP/1.1 only.
//!
//! # Invariants
//! - A connection without a whole request header is closed in bounded time, also one that never
//!   sends a byte. [OC-CTRL-2111]
//! - A reader that takes nothing for [`EdgeLimits::stall`] is detached. [OC-CTRL-2121]
//! - At most [`EdgeLimits::connections`] connections are held; more wait in the kernel's backlog.
//! - `stop` lets what runs end; `force` ends it. After [`serve`] returns no connection is left.
//!
//! Not here: the size and the pace of bodies (`api::body`), what requests mean (`api`).

mod reading;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use reading::ReadingPeer;

/// Who sent a request, for the layers that ask.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What strangers can run into.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// Connections at once.
    pub connections: usize,
    /// Time until the first byte of a connection.
    pub first_byte: Duration,
    /// Time for a whole request header, and between two requests of a connection.
    pub header: Duration,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's path and query.
    pub uri_bytes: usize,
    /// Bytes of a request's header, and of what is buffered for a reader.
    pub buffer_bytes: usize,
    /// Time in which a peer has to take something of what is sent to it.
    pub stall: Duration,
}

impl EdgeLimits {
    /// The limits of the contract.
    // spec: OC-CTRL-2110, OC-CTRL-2111, OC-CTRL-2113, OC-CTRL-2121
    pub const STANDARD: Self = Self {
        connections: 16_384,
        first_byte: Duration::from_secs(5),
        header: Duration::from_secs(10),
        headers: 64,
        uri_bytes: 8 << 10,
        buffer_bytes: 32 << 10,
        stall: Duration::from_secs(10),
    };
}

/// How serving ends.
#[derive(Clone, Debug)]
pub struct EdgeTokens {
    /// No new connections or requests; what runs may end.
    pub stop: CancellationToken,
    /// What runs is cut off.
    pub force: CancellationToken,
}

/// The pause after a failed accept. Such failures (out of file descriptors) last a while, and
/// trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, and returns when the last connection is gone.
pub async fn serve(listener: TcpListener, router: Router, limits: EdgeLimits, tokens: EdgeTokens) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    while let Some((place, socket, peer)) = next_connection(&listener, &places, &tokens.stop).await
    {
        let connection = Connection {
            router: router.clone(),
            peer: Peer(peer),
            limits,
        };
        connections.spawn(connection.run(socket, place, tokens.clone()));
    }
    // The port is free for a successor while the last streams end.
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let accept = async {
        let place = Arc::clone(places).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => return (place, socket, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await
}

struct Connection {
    router: Router,
    peer: Peer,
    limits: EdgeLimits,
}

impl Connection {
    async fn run(self, socket: TcpStream, place: OwnedSemaphorePermit, tokens: EdgeTokens) {
        let _place = place;
        // Tokens are small writes; waiting to fill a packet would delay each of them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone already");
            return;
        }
        // hyper's own header timeout begins with the first byte only.
        let first = tokio::time::timeout(self.limits.first_byte, socket.readable());
        let Some(Ok(Ok(()))) = tokens.stop.run_until_cancelled(first).await else {
            return;
        };
        self.speak(socket, &tokens).await;
    }

    async fn speak(self, socket: TcpStream, tokens: &EdgeTokens) {
        let Self {
            router,
            peer,
            limits,
        } = self;
        let service = service_fn(move |request| answer(router.clone(), peer, limits, request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_headers(limits.headers)
            .max_buf_size(limits.buffer_bytes)
            .serve_connection(
                TokioIo::new(ReadingPeer::new(socket, limits.stall)),
                service,
            );
        let mut connection = std::pin::pin!(connection);
        let stopping = tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            () = tokens.stop.cancelled() => connection.as_mut(),
        };
        stopping.graceful_shutdown();
        tokio::select! {
            ended = connection => log_end(ended),
            () = tokens.force.cancelled() => {}
        }
    }
}

async fn answer(
    router: Router,
    peer: Peer,
    limits: EdgeLimits,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if target_bytes(request.uri()) > limits.uri_bytes {
        return Ok(StatusCode::URI_TOO_LONG.into_response());
    }
    // hyper looks at its buffer between two reads only, so somewhat more slips through.
    if header_bytes(request.headers()) > limits.buffer_bytes {
        return Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response());
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    router.oneshot(request).await
}

fn target_bytes(uri: &Uri) -> usize {
    uri.path_and_query()
        .map_or(0, |target| target.as_str().len())
}

fn header_bytes(headers: &HeaderMap) -> usize {
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    headers.iter().map(line).sum()
}

/// Strangers break HTTP all the time; only debugging wants to hear of it.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "a connection ended early"
        );
    }
}

#[cfg(test)]
mod tests;
