//! Answers as bytes: heads with their headers in the engine's order, chunks, dates.

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// The engine closes the connection behind it.
    pub(crate) closes: bool,
}

/// How chunk sizes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hex {
    Lower,
    Upper,
}

/// A response head.
pub(crate) fn head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// One chunk.
pub(crate) fn chunk(hex: Hex, payload: &[u8]) -> Vec<u8> {
    let size = match hex {
        Hex::Lower => format!("{:x}\r\n", payload.len()),
        Hex::Upper => format!("{:X}\r\n", payload.len()),
    };
    [size.as_bytes(), payload, b"\r\n"].concat()
}

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The time as a `Date` header has it.
pub(crate) fn date() -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now())
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

/// `value` as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain data always serialises")
}

/// `template` with every `${name}` replaced by its value.
pub(crate) fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    text
}

/// An opaque identifier of `digits` hexadecimal digits, a different one every time.
pub(crate) fn unique_hex(digits: usize) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let high = crate::text::mixed(count ^ u64::from(std::process::id()) << 32);
    let low = crate::text::mixed(high);
    format!("{high:016x}{low:016x}")[..digits].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_heads_are_written_as_the_engines_write_them() {
        assert_eq!(
            chunk(Hex::Lower, &[b'x'; 26]),
            [b"1a\r\n", &[b'x'; 26][..], b"\r\n"].concat()
        );
        assert!(chunk(Hex::Upper, &[b'x'; 26]).starts_with(b"1A\r\n"));
        assert_eq!(
            head("200 OK", &[("a", ""), ("b", "c")]),
            b"HTTP/1.1 200 OK\r\na: \r\nb: c\r\n\r\n"
        );
    }

    #[test]
    fn identifiers_differ() {
        assert_ne!(unique_hex(16), unique_hex(16));
        assert_eq!(unique_hex(32).len(), 32);
    }
}
