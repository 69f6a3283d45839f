//! One reader's way along a log, at its own pace.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::StreamLog;

/// The most bytes that a reader takes at once, unless a single frame is larger. Together with the
/// connection's own buffer it bounds what a reader that stalls keeps from being dropped.
pub(super) const CHUNK_BYTES_MAX: usize = 32 << 10;

/// What a reader gets at a planned stop: it ends its stream and asks for a reconnect.
pub(super) const RETRY: &[u8] = b"retry: 1000\n\n";

/// A frame of a log, from which on it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub(super) usize);

/// When a reader writes without an event, and when it stops early.
#[derive(Clone, Debug)]
pub struct Pace {
    /// After so much silence a comment line is sent.
    pub ping: Duration,
    /// When canceled, readers that have read everything there is are sent away to come back later.
    pub close: CancellationToken,
}

impl StreamLog {
    /// The frames from `place` on, as they come, each chunk as large as what is there. While
    /// nothing comes a comment shows that the stream lives.
    pub fn read(self: Arc<Self>, place: Place, pace: Pace) -> impl Stream<Item = Bytes> + Send {
        let appended = self.appended.subscribe();
        let reader = Reader {
            log: self,
            next: place.0,
            appended,
            pace,
        };
        stream::unfold(Some(reader), |reader| async { reader?.next().await })
    }
}

/// One reader of a log.
struct Reader {
    log: Arc<StreamLog>,
    next: usize,
    appended: watch::Receiver<()>,
    pace: Pace,
}

impl Reader {
    /// The next chunk, with the reader itself unless it was the last.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        // Seen before looked: an append from here on wakes the wait below.
        self.appended.borrow_and_update();
        loop {
            match self.take() {
                Taken::Chunk(chunk) => return Some((chunk, Some(self))),
                Taken::End => return None,
                Taken::Nothing => {}
            }
            tokio::select! {
                biased;
                // The log holds its own sender, so this cannot fail while there is a reader.
                _ = self.appended.changed() => {}
                // spec: ORCH-3438
                () = self.pace.close.cancelled() => return Some((Bytes::from_static(RETRY), None)),
                // spec: ORCH-3444
                () = tokio::time::sleep(self.pace.ping) => {
                    return Some((Bytes::from_static(contracts_sse::COMMENT_PING), Some(self)));
                }
            }
        }
    }

    fn take(&mut self) -> Taken {
        let state = self.log.lock();
        match chunk(&state.frames[self.next..]) {
            Some((chunk, frames)) => {
                self.next += frames;
                Taken::Chunk(chunk)
            }
            None if state.sealed => Taken::End,
            None => Taken::Nothing,
        }
    }
}

enum Taken {
    Chunk(Bytes),
    End,
    Nothing,
}

/// What is at the front of `frames`, in one chunk, and how many frames that is.
fn chunk(frames: &[Bytes]) -> Option<(Bytes, usize)> {
    let (first, rest) = frames.split_first()?;
    let mut size = first.len();
    let fits = |frame: &&Bytes| {
        size += frame.len();
        size <= CHUNK_BYTES_MAX
    };
    let count = 1 + rest.iter().take_while(fits).count();
    if count == 1 {
        return Some((first.clone(), 1));
    }
    let mut chunk = BytesMut::new();
    for frame in &frames[..count] {
        chunk.extend_from_slice(frame);
    }
    Some((chunk.freeze(), count))
}
