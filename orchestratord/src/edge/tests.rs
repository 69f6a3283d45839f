//! The accept loop over real sockets, with limits short enough to run into.

use axum::routing::get;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::*;

const SOON: Duration = Duration::from_secs(10);
const SHORT: EdgeLimits = EdgeLimits {
    connections: 2,
    first_byte: Duration::from_millis(100),
    header: Duration::from_millis(200),
    headers: 8,
    uri_bytes: 64,
    buffer_bytes: 8 << 10,
    stall: Duration::from_millis(200),
};

struct Edge {
    address: SocketAddr,
    tokens: EdgeTokens,
    ended: oneshot::Receiver<()>,
}

/// Answers `GET /` with `hello`, `GET /endless` with a stream that falls silent, and `GET /flood`
/// with one that never does.
async fn serving(limits: EdgeLimits) -> Edge {
    let endless = || async {
        let first = stream::iter([Ok::<_, std::io::Error>("first")]);
        Body::from_stream(futures_util::StreamExt::chain(first, stream::pending()))
    };
    let flood = || async {
        let piece = || Ok::<_, std::io::Error>(vec![b'x'; 32 << 10]);
        Body::from_stream(stream::repeat_with(piece))
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/endless", get(endless))
        .route("/flood", get(flood));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tokens = EdgeTokens {
        stop: CancellationToken::new(),
        force: CancellationToken::new(),
    };
    let (done, ended) = oneshot::channel();
    let serving = serve(listener, router, limits, tokens.clone());
    tokio::spawn(async move {
        serving.await;
        let _ = done.send(());
    });
    Edge {
        address,
        tokens,
        ended,
    }
}

async fn connect(edge: &Edge) -> TcpStream {
    TcpStream::connect(edge.address).await.unwrap()
}

async fn until_closed(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = timeout(SOON, socket.read_to_end(&mut text))
        .await
        .expect("the connection stays open");
    String::from_utf8(text).unwrap()
}

// spec: OC-CTRL-2111
#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let edge = serving(SHORT).await;
    let begun = Instant::now();
    assert_eq!(until_closed(&mut connect(&edge).await).await, "");
    assert!(begun.elapsed() >= SHORT.first_byte);
}

// spec: OC-CTRL-2111
#[tokio::test]
async fn half_a_header_and_silence_is_closed() {
    let edge = serving(SHORT).await;
    let mut socket = connect(&edge).await;
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    assert!(!until_closed(&mut socket).await.contains("hello"));
}

// spec: OC-CTRL-2112
#[tokio::test]
async fn a_connection_serves_several_requests_and_is_closed_when_idle() {
    let edge = serving(SHORT).await;
    let mut socket = connect(&edge).await;
    for _ in 0..2 {
        socket
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut text = vec![0; 1024];
        let size = timeout(SOON, socket.read(&mut text))
            .await
            .unwrap()
            .unwrap();
        assert!(text[..size].ends_with(b"hello"));
    }
    assert_eq!(until_closed(&mut socket).await, "");
}

// spec: OC-CTRL-2113
#[tokio::test]
async fn too_many_headers_and_too_long_ones_are_refused() {
    let edge = serving(SHORT).await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(9));
    let long = |bytes| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(bytes));
    for request in [many, long(8 << 10), long(16 << 10)] {
        let mut socket = connect(&edge).await;
        // The server may close before it has read everything.
        let _ = socket.write_all(request.as_bytes()).await;
        let answer = until_closed(&mut socket).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
}

// spec: OC-CTRL-2113
#[tokio::test]
async fn a_target_above_the_limit_is_refused() {
    let edge = serving(SHORT).await;
    for (query, status) in [(62, "HTTP/1.1 200"), (63, "HTTP/1.1 414")] {
        let mut socket = connect(&edge).await;
        let request = format!(
            "GET /?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "q".repeat(query)
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = until_closed(&mut socket).await;
        assert!(answer.starts_with(status), "{answer}");
    }
}

// spec: OC-CTRL-2121
#[tokio::test]
async fn a_reader_that_takes_nothing_is_detached_and_one_that_is_slow_is_not() {
    let edge = serving(SHORT).await;
    let mut slow = connect(&edge).await;
    let mut stalled = connect(&edge).await;
    for socket in [&mut slow, &mut stalled] {
        let request = "GET /flood HTTP/1.1\r\nhost: x\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    let mut bytes = vec![0; 1 << 20];
    let begun = Instant::now();
    while begun.elapsed() < SHORT.stall * 5 {
        slow.read_exact(&mut bytes).await.expect("it still reads");
        tokio::time::sleep(SHORT.stall / 10).await;
    }
    // What had been sent before is still there, and then the connection is over.
    let most = 64 << 20;
    let mut left = Vec::new();
    let mut stalled = stalled.take(most);
    let ended = timeout(SOON, stalled.read_to_end(&mut left));
    let _ = ended.await.expect("it is over");
    assert!((left.len() as u64) < most, "the flood went on");
}

// spec: OC-CTRL-2110
#[tokio::test]
async fn connections_over_the_cap_wait_for_a_place() {
    let edge = serving(SHORT).await;
    let (first, _second) = (connect(&edge).await, connect(&edge).await);
    let mut third = connect(&edge).await;
    third
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    // The silent ones are closed after their time at the latest, which makes room.
    assert!(until_closed(&mut third).await.ends_with("hello"));
    drop(first);
}

// spec: ORCH-3437
#[tokio::test]
async fn a_stop_lets_a_running_answer_go_on_until_it_is_forced() {
    let mut edge = serving(SHORT).await;
    let mut socket = connect(&edge).await;
    socket
        .write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"first\r\n") {
        let read = timeout(SOON, socket.read_buf(&mut text))
            .await
            .unwrap()
            .unwrap();
        assert!(read > 0);
    }
    edge.tokens.stop.cancel();
    while TcpStream::connect(edge.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(edge.ended.try_recv().is_err(), "the stream was cut off");
    edge.tokens.force.cancel();
    timeout(SOON, edge.ended)
        .await
        .expect("forcing ends it")
        .unwrap();
    until_closed(&mut socket).await;
}
