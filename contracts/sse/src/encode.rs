//! Writing one frame.
//!
//! The name and the id never break the framing, whatever they hold: what would end their line is
//! left out.

/// A comment frame. Readers skip it; it keeps a quiet connection from looking dead.
pub const COMMENT_PING: &[u8] = b": ping\n\n";

/// Appends one event to `out`. A reader sees the name `message` where `name` is `None`.
///
/// Line breaks in `data` arrive as `\n`, whichever kind they were. CR, LF and NUL in the name or
/// the id are left out, since either is one line by the standard.
pub fn encode(out: &mut Vec<u8>, name: Option<&str>, id: Option<&str>, data: &str) {
    if let Some(name) = name {
        one_line_field(out, b"event: ", name);
    }
    if let Some(id) = id {
        one_line_field(out, b"id: ", id);
    }
    for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

fn one_line_field(out: &mut Vec<u8>, prefix: &[u8], value: &str) {
    out.extend_from_slice(prefix);
    out.extend(
        value
            .bytes()
            .filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)),
    );
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Event};

    fn written(name: Option<&str>, id: Option<&str>, data: &str) -> String {
        let mut out = Vec::new();
        encode(&mut out, name, id, data);
        String::from_utf8(out).unwrap()
    }

    fn read(text: &str) -> Vec<Event> {
        Decoder::new().push(text.as_bytes()).unwrap()
    }

    // spec: ORCH-2002
    #[test]
    fn a_token_frame_has_name_id_and_one_data_line() {
        assert_eq!(
            written(Some("token"), Some("3"), r#"{"t":"a","i":3}"#),
            "event: token\nid: 3\ndata: {\"t\":\"a\",\"i\":3}\n\n"
        );
    }

    #[test]
    fn line_breaks_in_the_data_arrive_as_line_feeds() {
        let events = read(&written(None, None, "a\r\nb\rc\n\nd\n"));
        assert_eq!(events[0].data, "a\nb\nc\n\nd\n");
        assert_eq!(events[0].name, "message");
        assert_eq!(events[0].id, None);
    }

    #[test]
    fn empty_data_is_still_an_event() {
        assert_eq!(read(&written(Some("x"), None, ""))[0].data, "");
    }

    #[test]
    fn a_name_or_an_id_cannot_break_out_of_its_line() {
        let events = read(&written(
            Some("a\n\ndata: forged"),
            Some("1\r\n\n2\0"),
            "real",
        ));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].name, "adata: forged");
        assert_eq!(events[0].id.as_deref(), Some("12"));
        assert_eq!(events[0].data, "real");
    }

    #[test]
    fn the_ping_is_no_event() {
        assert_eq!(Decoder::new().push(COMMENT_PING), Ok(vec![]));
    }
}
