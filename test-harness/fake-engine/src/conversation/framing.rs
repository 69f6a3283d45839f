//! How data becomes the bytes of an event: line ends, comments, and what else is legal.

use crate::script::behaviour::{Frames, LineEnds};

#[derive(Debug)]
pub(super) struct Framing {
    script: Frames,
    frames: u32,
    deltas: u32,
}

impl Framing {
    pub(super) fn new(script: &Frames) -> Self {
        Self {
            script: script.clone(),
            frames: 0,
            deltas: 0,
        }
    }

    /// Whether an empty delta is due before the next one.
    pub(super) fn wants_empty_delta(&mut self) -> bool {
        self.deltas += 1;
        let every = self.script.empty_delta_every;
        every > 0 && self.deltas.is_multiple_of(every)
    }

    /// The bytes of one event.
    pub(super) fn frame(&mut self, data: &str) -> Vec<u8> {
        self.frames += 1;
        let end = self.line_end();
        let every = self.script.comment_every;
        let mut text = String::new();
        if self.script.bom && self.frames == 1 {
            text.push('\u{feff}');
        }
        if every > 0 && self.frames.is_multiple_of(every) {
            text.push(':');
            text.push_str(end);
            text.push_str(end);
        }
        text.push_str("data: ");
        text.push_str(data);
        text.push_str(end);
        text.push_str(end);
        text.into_bytes()
    }

    fn line_end(&self) -> &'static str {
        match (self.script.line_ends, self.frames % 3) {
            (LineEnds::Lf, _) | (LineEnds::Mixed, 0) => "\n",
            (LineEnds::Crlf, _) | (LineEnds::Mixed, 1) => "\r\n",
            (LineEnds::Cr | LineEnds::Mixed, _) => "\r",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_plain_by_default_and_as_odd_as_the_script_says() {
        let mut plain = Framing::new(&Frames::default());
        assert_eq!(plain.frame("x"), b"data: x\n\n");
        let mut odd = Framing::new(&Frames {
            comment_every: 2,
            line_ends: LineEnds::Mixed,
            bom: true,
            ..Frames::default()
        });
        assert_eq!(odd.frame("a"), b"\xef\xbb\xbfdata: a\r\n\r\n");
        assert_eq!(odd.frame("b"), b":\r\rdata: b\r\r");
        assert_eq!(odd.frame("c"), b"data: c\n\n");
    }
}
