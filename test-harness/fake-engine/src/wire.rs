//! One connection: requests in, bytes out, and the moment at which the client is gone.
//!
//! Answers are written byte by byte as given, since an engine that must lie about its framing
//! cannot be built on a server that keeps the client from seeing lies.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http::{Malformed, Request};

/// The most bytes that are read ahead of an answer. What a client sends beyond stays in the kernel.
const INBOX_BYTES_MAX: usize = crate::http::BODY_BYTES_MAX + crate::http::HEAD_BYTES_MAX;

const READ_BYTES: usize = 16 * 1024;

/// How a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
}

/// Why there is no next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRequest {
    Gone,
    Malformed(Malformed),
}

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    inbox: Vec<u8>,
    bytes_per_write: usize,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, bytes_per_write: usize) -> Self {
        // A socket that is closed by now says so at its first read.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            inbox: Vec::new(),
            bytes_per_write,
        }
    }

    /// Whether nothing of a next request is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_empty()
    }

    /// The next request. Safe to drop and to call again.
    pub(crate) async fn request(&mut self) -> Result<Request, NoRequest> {
        let mut said_continue = false;
        loop {
            if let Some((mut request, head_len)) =
                Request::head(&self.inbox).map_err(NoRequest::Malformed)?
            {
                let end = head_len + request.body_len().map_err(NoRequest::Malformed)?;
                if self.inbox.len() >= end {
                    request.body = self.inbox[head_len..end].to_vec();
                    self.inbox.drain(..end);
                    return Ok(request);
                }
                if !said_continue && request.header("expect") == Some("100-continue") {
                    said_continue = true;
                    let said = self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                    said.map_err(|_| NoRequest::Gone)?;
                }
            }
            self.read_more().await.map_err(|_| NoRequest::Gone)?;
        }
    }

    /// Waits until the client is gone. A half-closed connection counts, as it does for the engines.
    pub(crate) async fn gone(&mut self) -> Gone {
        loop {
            if self.inbox.len() >= INBOX_BYTES_MAX {
                std::future::pending::<()>().await;
            }
            if let Err(gone) = self.read_more().await {
                return gone;
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), Gone> {
        loop {
            if self.stream.readable().await.is_err() {
                return Err(Gone::Reset);
            }
            let mut bytes = [0; READ_BYTES];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Err(Gone::Closed),
                Ok(count) => {
                    self.inbox.extend_from_slice(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Gone::Reset),
            }
        }
    }

    /// Writes all of `bytes`, in as many writes as the script says.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let piece = match self.bytes_per_write {
            0 => bytes.len().max(1),
            piece => piece,
        };
        for (index, piece) in bytes.chunks(piece).enumerate() {
            if index > 0 {
                tokio::task::yield_now().await;
            }
            self.stream
                .write_all(piece)
                .await
                .map_err(|_| Gone::Reset)?;
        }
        Ok(())
    }

    /// Makes the coming close a reset.
    pub(crate) fn reset_on_close(&self) {
        // Without it the client sees an orderly close, which is the milder fault.
        let _ = self.stream.set_zero_linger();
    }
}
