//! A server of canned answers that notes what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What is answered to one method and path.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A status and a body of JSON.
    Json(u16, String),
    /// A whole event stream.
    Events(String),
    /// The beginning of an event stream, and its end once a path was asked for.
    Held {
        first: String,
        until: &'static str,
        then: String,
    },
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<(String, String)>>,
    changed: Condvar,
}

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Server {
    /// Answers by `METHOD /path`, and 404 without an envelope to everything else.
    pub(crate) fn start(answers: &[(&'static str, Answer)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: HashMap<_, _> = answers.iter().cloned().collect();
        let seen = Arc::new(Seen::default());
        let notes = Arc::clone(&seen);
        // It lives as long as the test process, which is short.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, notes) = (answers.clone(), Arc::clone(&notes));
                std::thread::spawn(move || answer(stream, &answers, &notes));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies of the requests to that method and path prefix.
    pub(crate) fn bodies(&self, wanted: &str) -> Vec<String> {
        let seen = self.seen.requests.lock().unwrap();
        let hits = seen.iter().filter(|(line, _)| line.starts_with(wanted));
        hits.map(|(_, body)| body.clone()).collect()
    }
}

/// Ids of tasks are made by the client, so they are left out of what is matched.
fn without_id(line: &str) -> String {
    let is_id = |part: &&str| part.len() == 36 && part.matches('-').count() == 4;
    line.split('/')
        .map(|part| if is_id(&part) { "ID" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

fn answer(stream: TcpStream, answers: &HashMap<&'static str, Answer>, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let line = without_id(line.rsplit_once(' ')?.0);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let note = (line.clone(), String::from_utf8(body).ok()?);
    seen.requests.lock().ok()?.push(note);
    seen.changed.notify_all();
    send(stream, answers.get(line.as_str()), seen)
}

fn send(mut stream: TcpStream, answer: Option<&Answer>, seen: &Seen) -> Option<()> {
    let head = |status: u16, kind: &str| {
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n")
    };
    match answer {
        None => write!(stream, "{}", head(404, "text/plain")).ok(),
        Some(Answer::Json(status, body)) => {
            write!(stream, "{}{body}", head(*status, "application/json")).ok()
        }
        Some(Answer::Events(events)) => {
            write!(stream, "{}{events}", head(200, "text/event-stream")).ok()
        }
        Some(Answer::Held { first, until, then }) => {
            write!(stream, "{}{first}", head(200, "text/event-stream")).ok()?;
            let requests = seen.requests.lock().ok()?;
            let waits =
                |seen: &mut Vec<(String, String)>| !seen.iter().any(|(line, _)| line == until);
            let limit = Duration::from_secs(20);
            drop(
                seen.changed
                    .wait_timeout_while(requests, limit, waits)
                    .ok()?,
            );
            write!(stream, "{then}").ok()
        }
    }
}
