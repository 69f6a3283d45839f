//! A client that keeps every byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a client waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Every byte.
    pub(crate) wire: Vec<u8>,
    pub(crate) head: Vec<String>,
    /// The body without its chunks.
    pub(crate) body: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
    /// The body came to its end, rather than the connection.
    pub(crate) is_whole: bool,
    /// The connection was reset.
    pub(crate) was_reset: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.first().and_then(|line| line.split(' ').nth(1));
        status.map_or(0, |code| code.parse().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The data of all events.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(str::to_owned).collect()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: engine\r\n\r\n").into_bytes()
}

/// Sends a request and reads the answer to its end, or to that of the connection.
pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    timeout(PATIENCE, read_answer(&mut stream))
        .await
        .expect("an answer in time")
}

/// Sends a request and leaves the connection open.
pub(crate) async fn send(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

/// Reads until there are `count` bytes, or all there will be.
pub(crate) async fn read_some(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < count && stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
    };
    timeout(PATIENCE, reading).await.expect("bytes in time");
    bytes
}

pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut wire = Vec::new();
    let mut was_reset = false;
    loop {
        let parsed = parse(&wire);
        if parsed.is_whole {
            return parsed;
        }
        match stream.read_buf(&mut wire).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => {
                was_reset = true;
                break;
            }
        }
    }
    Answer {
        was_reset,
        ..parse(&wire)
    }
}

/// What the bytes are so far.
pub(crate) fn parse(wire: &[u8]) -> Answer {
    let end = wire.windows(4).position(|four| four == b"\r\n\r\n");
    let text = String::from_utf8_lossy(&wire[..end.unwrap_or(0)]).into_owned();
    let head: Vec<String> = text
        .split("\r\n")
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    let rest = &wire[end.map_or(wire.len(), |end| end + 4)..];
    let header = |name: &str| {
        let named = |line: &&String| line.to_ascii_lowercase().starts_with(name);
        head.iter()
            .find(named)
            .map(|line| line[name.len()..].trim().to_owned())
    };
    let (chunks, is_whole) = match (header("content-length:"), header("transfer-encoding:")) {
        (Some(length), _) => {
            let length: usize = length.parse().unwrap();
            let there = rest.len().min(length);
            (vec![rest[..there].to_vec()], rest.len() >= length)
        }
        (None, Some(_)) => chunks_of(rest),
        (None, None) => (vec![rest.to_vec()], false),
    };
    Answer {
        wire: wire.to_vec(),
        body: chunks.concat(),
        is_whole: is_whole && end.is_some(),
        head,
        chunks,
        was_reset: false,
    }
}

/// The chunks there are, and whether the last one is among them.
fn chunks_of(mut rest: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut chunks = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            break;
        };
        let (start, end) = (line + 2, line + 2 + size);
        if rest.len() < end + 2 {
            chunks.push(rest[start..rest.len().min(end)].to_vec());
            return (chunks, false);
        }
        if size == 0 {
            return (chunks, true);
        }
        chunks.push(rest[start..end].to_vec());
        rest = &rest[end + 2..];
    }
    (chunks, false)
}
