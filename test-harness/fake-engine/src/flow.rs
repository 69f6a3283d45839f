//! From tokens to pieces of text: characters cut by a token, and stop strings.
//!
//! # Invariants
//! - The pieces put together are the text, whatever is held in between.
//! - Nothing of a stop string, and nothing behind it, is ever shown.
//!
//! Not here: where the tokens come from (`text`) and what a frame looks like (`dialect`).

use crate::text::Token;
use crate::vocabulary::TokenId;

/// What happens to a token that ends inside a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// Its bytes wait for the next token.
    Held,
    /// It is shown on its own, as U+FFFD.
    Shown,
}

/// What one token adds to the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The new text; empty while bytes are held.
    pub text: String,
    /// The tokens since the delta before.
    pub ids: Vec<TokenId>,
    /// The tokens of the answer so far.
    pub count: u32,
    /// The token's text waits for the next one.
    pub is_held: bool,
    /// The token is one that stands for no text.
    pub is_special: bool,
}

/// The text of one answer as it grows.
#[derive(Debug)]
pub struct Flow {
    incomplete: Incomplete,
    stops: Vec<String>,
    bytes: Vec<u8>,
    carry: String,
    text: String,
    ids: Vec<TokenId>,
    count: u32,
    stopped_by: Option<String>,
}

impl Flow {
    /// An empty text that ends at the first of `stops`.
    #[must_use]
    pub fn new(incomplete: Incomplete, mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self {
            incomplete,
            stops,
            bytes: Vec::new(),
            carry: String::new(),
            text: String::new(),
            ids: Vec::new(),
            count: 0,
            stopped_by: None,
        }
    }

    /// Adds a token.
    pub fn push(&mut self, token: &Token) -> Delta {
        self.count += 1;
        self.ids.push(token.id);
        self.bytes.extend_from_slice(&token.bytes);
        if self.incomplete == Incomplete::Held && ends_inside_a_character(&self.bytes) {
            return self.delta(String::new(), true, token);
        }
        let new = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        self.carry.push_str(&new);
        let shown = self.release();
        let is_held = shown.is_empty() && !self.carry.is_empty();
        self.delta(shown, is_held, token)
    }

    /// What was held for a stop string that did not come. Bytes of an unfinished character are
    /// dropped, as the real engines do.
    pub fn finish(&mut self) -> String {
        if self.stopped_by.is_some() {
            return String::new();
        }
        let rest = std::mem::take(&mut self.carry);
        self.text.push_str(&rest);
        rest
    }

    /// The stop string that ended the text.
    #[must_use]
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.as_deref()
    }

    /// All text shown.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn delta(&mut self, text: String, is_held: bool, token: &Token) -> Delta {
        self.text.push_str(&text);
        Delta {
            text,
            ids: std::mem::take(&mut self.ids),
            count: self.count,
            is_held,
            is_special: token.bytes.is_empty(),
        }
    }

    /// As much of `carry` as can be no part of a stop string.
    fn release(&mut self) -> String {
        let found = self
            .stops
            .iter()
            .filter_map(|stop| Some((self.carry.find(stop.as_str())?, stop)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, stop)) = found {
            self.stopped_by = Some(stop.clone());
            self.carry.truncate(at);
            return std::mem::take(&mut self.carry);
        }
        let held = self.stops.iter().map(|stop| overlap(&self.carry, stop));
        let cut = self.carry.len() - held.max().unwrap_or(0);
        let held = self.carry.split_off(cut);
        std::mem::replace(&mut self.carry, held)
    }
}

/// The length of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = text.char_indices().map(|(at, _)| &text[at..]);
    let matching = ends.filter(|end| end.len() < stop.len() && stop.starts_with(end));
    matching.map(str::len).max().unwrap_or(0)
}

/// Whether a lead byte among the last ones still misses bytes. The engines look only at how far
/// back the lead byte stands, not at what follows it.
fn ends_inside_a_character(bytes: &[u8]) -> bool {
    let last = bytes.iter().rev().take(3).zip(1..);
    let needed = |byte: &u8| match byte {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 0,
    };
    last.into_iter().any(|(byte, back)| needed(byte) > back)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn token(bytes: &'static [u8]) -> Token {
        Token {
            id: 9,
            bytes: Cow::Borrowed(bytes),
        }
    }

    fn shown(flow: &mut Flow, tokens: &[&'static [u8]]) -> Vec<String> {
        tokens
            .iter()
            .map(|bytes| flow.push(&token(bytes)).text)
            .collect()
    }

    #[test]
    fn a_cut_character_is_held_until_it_is_whole_or_hopeless() {
        let mut flow = Flow::new(Incomplete::Held, Vec::new());
        assert_eq!(
            shown(&mut flow, &[b"\xe6", b"\x97", b"\xa5"]),
            ["", "", "日"]
        );
        // A byte that can begin nothing is not waited for.
        assert_eq!(shown(&mut flow, &[b"\x9e"]), ["\u{fffd}"]);
        assert_eq!(shown(&mut flow, &[b"\xc3", b" l"]), ["", "\u{fffd} l"]);
        assert_eq!(
            shown(&mut flow, &[b"\xf0", b"+", b" license"]),
            ["", "", "\u{fffd}+ license"]
        );
    }

    #[test]
    fn the_other_kind_shows_every_token_on_its_own() {
        let mut flow = Flow::new(Incomplete::Shown, Vec::new());
        assert_eq!(
            shown(&mut flow, &[b"\xc3", b"\xa9"]),
            ["\u{fffd}", "\u{fffd}"]
        );
    }

    #[test]
    fn a_stop_string_is_found_across_tokens_and_never_shown() {
        let mut flow = Flow::new(Incomplete::Held, vec!["END".into()]);
        assert_eq!(
            shown(&mut flow, &[b"aE", b"N", b"b E", b"ND x"]),
            ["a", "", "ENb ", ""]
        );
        assert_eq!(flow.stopped_by(), Some("END"));
        assert_eq!(flow.finish(), "");
        assert_eq!(flow.into_text(), "aENb ");
    }

    #[test]
    fn what_only_looked_like_a_stop_string_comes_at_the_end() {
        let mut flow = Flow::new(Incomplete::Held, vec!["END".into()]);
        assert_eq!(shown(&mut flow, &[b"aEN"]), ["a"]);
        assert_eq!(flow.finish(), "EN");
        assert_eq!(flow.into_text(), "aEN");
    }
}
