//! A server that gives one answer per connection, in the order of its list, and keeps what it was
//! asked. Behind the end of the list it refuses connections.

use std::sync::{Arc, Mutex};

use llama_orch_sdk::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const UNPOISONED: &str = "nothing panics while it holds the lock";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    /// The answer is complete.
    End,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// Nothing more comes, and the connection stays open.
    Hang,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    head: String,
    body: Vec<u8>,
    then: Then,
}

impl Answer {
    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body.into(), Then::End)
    }

    pub(crate) fn stream(body: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::new(200, "text/event-stream", body.into(), then)
    }

    pub(crate) fn new(status: u16, content_type: &str, body: Vec<u8>, then: Then) -> Self {
        let head = format!(
            "HTTP/1.1 {status} Any\r\nContent-Type: {content_type}\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
        Self { head, body, then }
    }
}

pub(crate) struct Server {
    pub(crate) base: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(
            listener,
            answers.into_iter().collect(),
            Arc::clone(&asked),
        ));
        Self {
            base,
            asked,
            _tasks: tasks,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.base, Some("t0ken".into())).expect("a usable address")
    }

    /// Every request so far, head and body as they came.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect(UNPOISONED).clone()
    }
}

async fn serve(listener: TcpListener, answers: Vec<Answer>, asked: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    for answer in answers {
        let (stream, _) = listener.accept().await.expect("the listener lives");
        connections.spawn(give(stream, answer, Arc::clone(&asked)));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Reads one request and answers it. The client may hang up at any time.
async fn give(mut stream: TcpStream, answer: Answer, asked: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    asked.lock().expect(UNPOISONED).push(request);
    let length = format!("{:x}\r\n", answer.body.len());
    let parts: [&[u8]; 4] = [
        answer.head.as_bytes(),
        length.as_bytes(),
        &answer.body,
        b"\r\n",
    ];
    let parts = if answer.body.is_empty() {
        &parts[..1]
    } else {
        &parts[..]
    };
    if stream.write_all(&parts.concat()).await.is_err() {
        return;
    }
    if answer.then == Then::End {
        let _ = stream.write_all(b"0\r\n\r\n").await;
    } else if answer.then == Then::Hang {
        while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}
