//! The socket of the agent's API: accepting, limits that a stranger can run into, and stopping.
//!
//! `axum::serve` sets no timeouts, so the accept loop is our own. HTTP/1.1 only.
//!
//! # Invariants
//! - A connection without a whole request header is closed in bounded time, also one that never
//!   sends a byte.
//! - At most [`EdgeLimits::connections`] connections are held; more wait in the kernel's backlog.
//! - After [`serve`] returns no connection is left.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// What strangers can run into.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// Connections at once.
    pub connections: usize,
    /// Time until the first byte of a connection.
    pub first_byte: Duration,
    /// Time for a whole request header, and between two requests of a connection.
    pub header: Duration,
    /// Time for the answers that are under way when the agent stops.
    pub closing: Duration,
}

impl EdgeLimits {
    /// Enough for people and monitors; clients with tasks do not come here.
    pub const STANDARD: Self = Self {
        connections: 1024,
        first_byte: Duration::from_secs(5),
        header: Duration::from_secs(10),
        closing: Duration::from_secs(1),
    };
}

/// Headers of a request, and bytes that are buffered for it.
const HEADERS_MAX: usize = 64;
const BUFFER_BYTES: usize = 32 << 10;

/// The pause after a failed accept. Such failures (out of file descriptors) last a while, and
/// trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, and returns when the last connection is gone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: EdgeLimits,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    while let Some(Some((place, socket))) = stop
        .run_until_cancelled(next_connection(&listener, &places))
        .await
    {
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            converse(socket, router, limits, stop).await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return Some((place, socket)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(socket: TcpStream, router: Router, limits: EdgeLimits, stop: CancellationToken) {
    // hyper's own timer begins with the first byte only.
    let first = timeout(limits.first_byte, socket.readable());
    let Some(Ok(Ok(()))) = stop.run_until_cancelled(first).await else {
        return;
    };
    let service = service_fn(move |request| answer(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.closing, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    router.oneshot(request.map(Body::new)).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    const QUICK: EdgeLimits = EdgeLimits {
        connections: 2,
        first_byte: Duration::from_millis(100),
        header: Duration::from_millis(200),
        closing: Duration::from_millis(200),
    };
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn served() -> (std::net::SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", axum::routing::get(|| async { "hello" }));
        let task = tokio::spawn(serve(listener, router, QUICK, stop.clone()));
        (address, stop, task)
    }

    async fn said_until_closed(address: std::net::SocketAddr, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = socket.read_to_end(&mut answer);
        timeout(PATIENCE, read)
            .await
            .expect("it is closed in time")
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn silence_half_a_header_and_idle_connections_are_closed() {
        let (address, stop, task) = served().await;
        assert_eq!(said_until_closed(address, b"").await, "");
        said_until_closed(address, b"GET / HTTP/1.1\r\nHost: x\r\n").await;
        let whole = said_until_closed(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(whole.ends_with("hello"), "{whole}");
        stop.cancel();
        timeout(PATIENCE, task).await.expect("it stops").unwrap();
    }

    #[tokio::test]
    async fn too_large_a_header_is_refused() {
        let (address, stop, task) = served().await;
        let large = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "x".repeat(100_000)
        );
        let mut socket = TcpStream::connect(address).await.unwrap();
        // The server may close while the rest is still on its way.
        let _ = socket.write_all(large.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut answer))
            .await
            .expect("it is closed");
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
        stop.cancel();
        timeout(PATIENCE, task).await.expect("it stops").unwrap();
    }
}
