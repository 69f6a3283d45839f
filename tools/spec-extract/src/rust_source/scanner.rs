//! From text to lines: which characters are code, which are comment, which are literal.

use super::Line;

#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    /// How many block comments are open.
    BlockComment(usize),
    Text,
    /// How many `#` close the raw string.
    RawText(usize),
}

/// The lines of `text`.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut scanner = Scanner {
        line: Line::default(),
        done: Vec::new(),
        state: State::Code,
    };
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let taken = if next == '\n' {
            scanner.end_line()
        } else {
            scanner.step(rest, next)
        };
        rest = &rest[taken..];
    }
    scanner.end_line();
    if text.is_empty() || text.ends_with('\n') {
        scanner.done.pop();
    }
    scanner.done
}

struct Scanner {
    line: Line,
    done: Vec<Line>,
    state: State,
}

impl Scanner {
    fn end_line(&mut self) -> usize {
        if matches!(self.state, State::LineComment) {
            self.state = State::Code;
        }
        self.done.push(std::mem::take(&mut self.line));
        1
    }

    /// Takes what stands at the beginning of `rest` and answers how many bytes that was.
    fn step(&mut self, rest: &str, next: char) -> usize {
        match self.state {
            State::Code => self.code(rest, next),
            State::LineComment => {
                self.line.comment.push(next);
                next.len_utf8()
            }
            State::BlockComment(depth) => self.block_comment(rest, next, depth),
            State::Text => self.text(rest, next),
            State::RawText(hashes) => self.raw_text(rest, next, hashes),
        }
    }

    fn code(&mut self, rest: &str, next: char) -> usize {
        if rest.starts_with("//") {
            self.state = State::LineComment;
            return 0;
        }
        if rest.starts_with("/*") {
            self.state = State::BlockComment(1);
            self.line.comment.push_str("/*");
            return 2;
        }
        if let Some(hashes) = raw_opening(rest) {
            self.line.code.push_str("r\"");
            self.state = State::RawText(hashes);
            return 2 + hashes;
        }
        if next == '\'' {
            let length = char_literal(rest);
            self.line.code.push_str(if length > 1 { "''" } else { "'" });
            return length;
        }
        if next == '"' {
            self.state = State::Text;
        }
        self.line.code.push(next);
        next.len_utf8()
    }

    fn block_comment(&mut self, rest: &str, next: char, depth: usize) -> usize {
        if rest.starts_with("*/") {
            self.state = if depth == 1 {
                State::Code
            } else {
                State::BlockComment(depth - 1)
            };
            return 2;
        }
        if rest.starts_with("/*") {
            self.state = State::BlockComment(depth + 1);
            return 2;
        }
        self.line.comment.push(next);
        next.len_utf8()
    }

    fn text(&mut self, rest: &str, next: char) -> usize {
        if next == '\\' {
            // The escaped character, unless it is the end of the line, which ends the line first.
            let escaped = rest[1..].chars().next().filter(|c| *c != '\n');
            return 1 + escaped.map_or(0, char::len_utf8);
        }
        if next == '"' {
            self.close_text();
        }
        next.len_utf8()
    }

    fn raw_text(&mut self, rest: &str, next: char, hashes: usize) -> usize {
        let closes = next == '"'
            && rest[1..]
                .bytes()
                .take(hashes)
                .filter(|b| *b == b'#')
                .count()
                == hashes;
        if closes {
            self.close_text();
            return 1 + hashes;
        }
        next.len_utf8()
    }

    fn close_text(&mut self) {
        self.line.code.push('"');
        self.state = State::Code;
    }
}

/// The number of `#` of the raw string that begins here, if one does.
fn raw_opening(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of the character literal that begins here; 1 for the mark of a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match inside.next() {
        Some('\\') => {
            let escaped = inside.next().map_or(0, char::len_utf8);
            let tail = rest.get(2 + escaped..).unwrap_or_default();
            tail.find('\'').map_or(1, |end| 2 + escaped + end + 1)
        }
        Some(only) if inside.next() == Some('\'') => 1 + only.len_utf8() + 1,
        _ => 1,
    }
}
