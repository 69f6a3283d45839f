//! The ids of `token` events: where a reader stands, in a form that a client only carries.

use std::fmt;

/// Where a reader stands: behind the token frame of this index.
// spec: ORCH-3411
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub(super) index: usize,
    pub(super) byte_end: u64,
    pub(super) hash: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:016x}", self.index, self.byte_end, self.hash)
    }
}

/// A text that is not the id of a token frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the id of a token event; send the id of the last one you have, or none")]
pub struct InvalidPosition;

/// Reads the value of `Last-Event-ID`.
///
/// # Errors
/// [`InvalidPosition`] for everything that [`Position`] does not print.
pub fn parse_resume(text: &str) -> Result<Position, InvalidPosition> {
    let mut parts = text.splitn(3, '-');
    let mut part = || parts.next().ok_or(InvalidPosition);
    let (index, byte_end, hash) = (part()?, part()?, part()?);
    let position = Position {
        index: index.parse().map_err(|_| InvalidPosition)?,
        byte_end: byte_end.parse().map_err(|_| InvalidPosition)?,
        hash: u64::from_str_radix(hash, 16).map_err(|_| InvalidPosition)?,
    };
    // Only the one way to write it: no signs, leading zeros or capitals.
    if position.to_string() == text {
        Ok(position)
    } else {
        Err(InvalidPosition)
    }
}
