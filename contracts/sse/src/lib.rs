//! Server-sent events as bytes: a bounded decoder and the encoder of one frame.
//!
//! Sans-IO: bytes go in, [`Event`]s come out, or the other way round. The engine adapters and the
//! client SDK read with the same decoder and orchestratord writes with the encoder, so the framing
//! is written down once.
//!
//! ```
//! use contracts_sse::{Decoder, Event, encode};
//!
//! let mut bytes = Vec::new();
//! encode(&mut bytes, Some("token"), Some("7"), r#"{"t":"hi"}"#);
//! let mut decoder = Decoder::new();
//! assert_eq!(decoder.push(&bytes[..9])?, []);
//! let events = decoder.push(&bytes[9..])?;
//! assert_eq!(events[0].name, "token");
//! assert_eq!(events[0].id.as_deref(), Some("7"));
//! decoder.finish()?;
//! # Ok::<(), contracts_sse::DecodeError>(())
//! ```
//!
//! # Invariants
//! - The events depend on the bytes alone, never on how they were cut into pieces.
//! - Memory is bounded: one line and one event, each at most the decoder's limit.
//! - No input makes the decoder panic.
//!
//! Not here: what the data means, reconnecting, timeouts.

mod decode;
mod encode;

pub use decode::{DEFAULT_LIMIT, DecodeError, Decoder, Event};
pub use encode::{COMMENT_PING, encode};
