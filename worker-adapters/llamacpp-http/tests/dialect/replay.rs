//! A server that answers with the bytes it was given, in the pieces it was told, and keeps what it
//! was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const UNPOISONED: &str = "nothing panics while it holds the lock";

#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// The answer is complete.
    End,
    /// The connection is closed without the end of the answer.
    Cut,
    /// Nothing more comes, and the connection stays open.
    Hang,
}

#[derive(Clone, Debug)]
struct Reply {
    head: String,
    chunks: Vec<Vec<u8>>,
    then: Then,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Answers by method and path. Several answers to one path are given in turn, the last for good.
#[derive(Default)]
pub(crate) struct Replay {
    replies: HashMap<String, Vec<Reply>>,
}

impl Replay {
    pub(crate) fn json(&mut self, route: &str, status: u16, body: &str) {
        self.chunked(
            route,
            (status, "application/json; charset=utf-8"),
            [body],
            Then::End,
        );
    }

    /// An event stream whose chunks are `chunks`.
    pub(crate) fn stream<B: AsRef<[u8]>>(
        &mut self,
        chunks: impl IntoIterator<Item = B>,
        then: Then,
    ) {
        self.chunked("POST /completion", (200, "text/event-stream"), chunks, then);
    }

    pub(crate) fn chunked<B: AsRef<[u8]>>(
        &mut self,
        route: &str,
        (status, content_type): (u16, &str),
        chunks: impl IntoIterator<Item = B>,
        then: Then,
    ) {
        let head = format!(
            "HTTP/1.1 {status} Any\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n\
             Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\
             Keep-Alive: timeout=5, max=100\r\n\r\n"
        );
        let chunks = chunks.into_iter().map(|chunk| chunk.as_ref().to_vec());
        let chunks = chunks.filter(|chunk| !chunk.is_empty()).collect();
        self.replies
            .entry(route.to_owned())
            .or_default()
            .push(Reply { head, chunks, then });
    }

    /// Bytes instead of HTTP.
    pub(crate) fn raw(&mut self, route: &str, head: &str, then: Then) {
        let reply = Reply {
            head: head.to_owned(),
            chunks: Vec::new(),
            then,
        };
        self.replies
            .entry(route.to_owned())
            .or_default()
            .push(reply);
    }

    pub(crate) async fn start(self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::default();
        let replies = Arc::new(Mutex::new(self.replies));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, replies, Arc::clone(&asked)));
        Running {
            base_url,
            asked,
            _tasks: tasks,
        }
    }
}

/// A replay that runs until this is dropped.
pub(crate) struct Running {
    pub(crate) base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Running {
    pub(crate) fn asked(&self, route: &str) -> Vec<Asked> {
        let asked = self.asked.lock().expect(UNPOISONED);
        let start = format!("{route} HTTP/1.1\r\n");
        asked
            .iter()
            .filter(|asked| asked.head.starts_with(&start))
            .cloned()
            .collect()
    }
}

type Replies = Arc<Mutex<HashMap<String, Vec<Reply>>>>;

async fn accept(listener: TcpListener, replies: Replies, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("the listener lives");
        stream.set_nodelay(true).expect("a TCP socket takes it");
        connections.spawn(serve(stream, Arc::clone(&replies), Arc::clone(&asked)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, replies: Replies, log: Arc<Mutex<Vec<Asked>>>) {
    while let Some(asked) = read_request(&mut stream).await {
        let route: Vec<&str> = asked.head.split(' ').take(2).collect();
        let reply = next_reply(&replies, &route.join(" "));
        log.lock().expect(UNPOISONED).push(asked);
        // The client may be gone: that is its right, and what some tests are about.
        if answer(&mut stream, reply).await.is_err() {
            return;
        }
    }
}

fn next_reply(replies: &Replies, route: &str) -> Reply {
    let mut replies = replies.lock().expect(UNPOISONED);
    let replies = replies
        .get_mut(route)
        .unwrap_or_else(|| panic!("no answer to {route}"));
    if replies.len() > 1 {
        replies.remove(0)
    } else {
        replies[0].clone()
    }
}

/// Writes the answer. Fails where the connection is to be closed after it.
async fn answer(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    stream.write_all(reply.head.as_bytes()).await?;
    for chunk in reply.chunks {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
        stream.write_all(&framed).await?;
    }
    match reply.then {
        Then::End => stream.write_all(b"0\r\n\r\n").await,
        Then::Cut => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Then::Hang => {
            // Until the client closes.
            while stream.read(&mut [0; 64]).await? > 0 {}
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(asked) = whole_request(&bytes) {
            return Some(asked);
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

fn whole_request(bytes: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().expect("a length"))
    });
    let whole = body.len() >= length.unwrap_or(0);
    whole.then(|| Asked {
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
