//! Reading events from bytes that arrive in any pieces.
//!
//! Follows the WHATWG standard's parsing rules, with two differences, both on purpose: a line or an
//! event above the limit and bytes that are not UTF-8 are errors, and an event's `id` is the one
//! in its own lines, not one left over from an earlier event.

use std::time::Duration;

/// The longest line and the longest event of [`Decoder::new`], in bytes. Token events are far
/// below a kilobyte; the limit only keeps a broken or hostile peer from filling the memory.
pub const DEFAULT_LIMIT: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The value of the `event` field; `message` where there was none.
    pub name: String,
    /// The values of the `data` fields, joined by line feeds.
    pub data: String,
    /// The value of the `id` field of this event.
    pub id: Option<String>,
}

/// Why the bytes are not a readable event stream. The decoder yields nothing after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A line above the limit.
    #[error("a line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// An event above the limit.
    #[error("an event is longer than {limit} bytes")]
    EventTooLong {
        /// The limit.
        limit: usize,
    },
    /// A line that is not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
}

/// A decoder for one event stream.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    line: Vec<u8>,
    at_first_line: bool,
    after_carriage_return: bool,
    fields: Fields,
    retry: Option<Duration>,
    failed: Option<DecodeError>,
}

/// What the lines since the last blank line have said.
#[derive(Debug, Default)]
struct Fields {
    name: String,
    data: Option<String>,
    id: Option<String>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a stream, with [`DEFAULT_LIMIT`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// A decoder that takes lines and events of up to `limit` bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            at_first_line: true,
            after_carriage_return: false,
            fields: Fields::default(),
            retry: None,
            failed: None,
        }
    }

    /// Takes the next bytes and gives the events that they complete.
    ///
    /// # Errors
    /// [`DecodeError`], once the bytes were not readable. Events that were whole before that come
    /// first: where one call holds both, the error comes from the next call.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, DecodeError> {
        let mut events = Vec::new();
        if self.failed.is_none() {
            self.failed = self.read(bytes, &mut events).err();
        }
        match &self.failed {
            Some(error) if events.is_empty() => Err(error.clone()),
            _ => Ok(events),
        }
    }

    /// Ends the stream. An event without its blank line is dropped, as the standard has it.
    ///
    /// # Errors
    /// [`DecodeError`], if the bytes were not readable.
    pub fn finish(self) -> Result<(), DecodeError> {
        self.failed.map_or(Ok(()), Err)
    }

    /// The pause before a reconnect that the last `retry` field asked for.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn read(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), DecodeError> {
        while let Some(&first) = bytes.first() {
            // CRLF is one line end, also when its two bytes arrive apart.
            if std::mem::take(&mut self.after_carriage_return) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            self.extend_line(&bytes[..end.unwrap_or(bytes.len())])?;
            let Some(end) = end else { return Ok(()) };
            self.after_carriage_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            events.extend(self.end_line()?);
        }
        Ok(())
    }

    fn extend_line(&mut self, part: &[u8]) -> Result<(), DecodeError> {
        if self.line.len() + part.len() > self.limit {
            return Err(DecodeError::LineTooLong { limit: self.limit });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, DecodeError> {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if std::mem::take(&mut self.at_first_line) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        let text = std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?;
        let event = if text.is_empty() {
            self.dispatch()
        } else {
            self.field(text)?
        };
        self.line = line;
        self.line.clear();
        Ok(event)
    }

    fn field(&mut self, line: &str) -> Result<Option<Event>, DecodeError> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.fields.name),
            "data" => self.fields.add_data(value),
            "id" if !value.contains('\0') => self.fields.id = Some(value.to_owned()),
            "retry" => self.retry = millis(value).or(self.retry),
            // An empty field name is a comment; unknown fields are for later readers.
            _ => {}
        }
        if self.fields.len() > self.limit {
            return Err(DecodeError::EventTooLong { limit: self.limit });
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let Fields { name, data, id } = std::mem::take(&mut self.fields);
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        Some(Event {
            name,
            data: data?,
            id,
        })
    }
}

impl Fields {
    fn add_data(&mut self, value: &str) {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
    }

    fn len(&self) -> usize {
        self.name.len()
            + self.data.as_ref().map_or(0, String::len)
            + self.id.as_ref().map_or(0, String::len)
    }
}

fn millis(value: &str) -> Option<Duration> {
    // `parse` alone would also take a leading plus sign.
    let digits_only = value.bytes().all(|byte| byte.is_ascii_digit());
    let millis = value.parse().ok().filter(|_| digits_only)?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event {
            name: name.into(),
            data: data.into(),
            id: id.map(Into::into),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[Event]) {
        assert_eq!(
            Decoder::new().push(text.as_bytes()).as_deref(),
            Ok(expected)
        );
    }

    // spec: ORCH-2002
    #[test]
    fn all_three_line_ends_are_read() {
        for end in ["\n", "\r", "\r\n"] {
            let text = ["event: token", "id: 4", "data: a", "data: b", "", ""].join(end);
            check(&text, &[event("token", "a\nb", Some("4"))]);
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_only() {
        check("\u{feff}data: a\n\n", &[event("message", "a", None)]);
        check("\n\u{feff}data: a\n\n", &[]);
        check("\u{feff}\u{feff}data: a\n\n", &[]);
    }

    #[test]
    fn comments_unknown_fields_and_blocks_without_data_give_nothing() {
        check(
            ":\n: hello\n\nfoo: 1\n\nevent: x\nid: 9\n\ndata: y\n\n",
            &[event("message", "y", None)],
        );
    }

    #[test]
    fn one_space_after_the_colon_is_dropped_and_no_more() {
        check(
            "data:a\n\ndata:  b\n\ndata\n\n",
            &[
                event("message", "a", None),
                event("message", " b", None),
                event("message", "", None),
            ],
        );
    }

    #[test]
    fn an_id_is_that_of_its_own_event_and_may_not_hold_a_nul() {
        check(
            "id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n",
            &[
                event("message", "a", Some("1")),
                event("message", "b", None),
                event("message", "c", None),
                event("message", "d", Some("")),
            ],
        );
    }

    #[test]
    fn retry_is_taken_from_digits_only() {
        let mut decoder = Decoder::new();
        decoder.push(b"retry: +5\nretry: 1s\nretry:\n\n").unwrap();
        assert_eq!(decoder.retry(), None);
        decoder.push(b"retry: 1500\n").unwrap();
        assert_eq!(decoder.retry(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn an_event_without_its_blank_line_is_dropped_at_the_end() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.push(b"data: a\n\ndata: half\n").unwrap().len(), 1);
        assert_eq!(decoder.finish(), Ok(()));
    }

    // spec: SDK-8107
    #[test]
    fn a_line_at_the_limit_passes_and_one_byte_more_fails_before_its_end() {
        let mut decoder = Decoder::with_limit(8);
        assert_eq!(
            decoder.push(b"data: ab\n\n").unwrap(),
            [event("message", "ab", None)]
        );
        let too_long = DecodeError::LineTooLong { limit: 8 };
        assert_eq!(decoder.push(b"data: abc"), Err(too_long.clone()));
        assert_eq!(decoder.push(b"\n\n"), Err(too_long.clone()));
        assert_eq!(decoder.finish(), Err(too_long));
    }

    #[test]
    fn many_short_lines_cannot_make_an_event_above_the_limit() {
        let mut decoder = Decoder::with_limit(10);
        decoder.push(b"data:aaaa\ndata:bbbbb\n").unwrap();
        let too_long = DecodeError::EventTooLong { limit: 10 };
        assert_eq!(decoder.push(b"data:\n"), Err(too_long));
    }

    #[test]
    fn whole_events_come_out_before_the_error_behind_them() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.push(b"data: a\n\n\xff\n").unwrap().len(), 1);
        assert_eq!(decoder.push(b"data: b\n\n"), Err(DecodeError::NotUtf8));
    }

    #[test]
    fn a_character_cut_in_two_is_whole_again() {
        let mut decoder = Decoder::new();
        let bytes = "data: ü\n\n".as_bytes();
        assert_eq!(decoder.push(&bytes[..7]), Ok(vec![]));
        assert_eq!(
            decoder.push(&bytes[7..]).unwrap(),
            [event("message", "ü", None)]
        );
    }
}
