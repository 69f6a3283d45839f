//! Writing to the terminal: data to standard output, words to standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Where and how a command writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    /// Standard output is a terminal.
    terminal: bool,
    /// Standard error is a terminal.
    live: bool,
    color: bool,
}

/// Ways to show a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Faint,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let live = io::stderr().is_terminal();
        let color = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            terminal: io::stdout().is_terminal(),
            live,
            color,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person reads standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes data to standard output at once.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|why| Failure::failed(format!("cannot write to standard output: {why}")))
    }

    /// Writes one line of JSON to standard output.
    pub(crate) fn document<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let mut text = serde_json::to_string(value).expect("our own data always prints as JSON");
        text.push('\n');
        self.data(&text)
    }

    /// Says something to the person, not to the program behind standard output. A standard error
    /// that is closed has nobody behind it.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A word in color for standard output, where that is a terminal too.
    pub(crate) fn data_tone(&self, tone: Tone, text: &str) -> String {
        if self.terminal {
            self.tone(tone, text)
        } else {
            text.to_owned()
        }
    }

    /// A word in color, where standard error is a terminal.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Faint => "2",
        };
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Tells a failure.
    // spec: CLI-8010
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            // Nobody may be left to read it; the exit code says it too.
            let _ = self.document(&serde_json::json!({ "error": failure }));
        }
        let code = failure
            .code
            .map(|code| format!(" ({code})"))
            .unwrap_or_default();
        self.say(&format!(
            "{} {}{code}",
            self.tone(Tone::Bad, "error:"),
            failure.message
        ));
        for hint in &failure.hints {
            self.say(&format!("  {hint}"));
        }
    }

    /// Begins to show how something comes along.
    pub(crate) fn waiting(&self) -> Waiting {
        let bar = self.live.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}").expect("it is well formed");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Waiting {
            output: *self,
            bar,
            last: String::new(),
        }
    }
}

/// A spinner on a terminal, a line per change otherwise.
pub(crate) struct Waiting {
    output: Output,
    bar: Option<ProgressBar>,
    last: String,
}

impl Waiting {
    pub(crate) fn show(&mut self, text: &str) {
        if self.last == text {
            return;
        }
        text.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.output.say(text),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Lines of words in columns.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|word| word.chars().count())
            .max()
    };
    let widths: Vec<_> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let words = row
            .iter()
            .zip(&widths)
            .map(|(word, width)| format!("{word:<width$}"));
        format!("{}\n", words.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let rows = [
            vec!["id".into(), "state".into()],
            vec!["haiku".into(), "✓".into()],
        ];
        assert_eq!(table(&rows), "id     state\nhaiku  ✓\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn colors_are_for_terminals_only() {
        let plain = Output {
            json: false,
            terminal: true,
            live: false,
            color: false,
        };
        assert_eq!(plain.tone(Tone::Bad, "x"), "x");
        let colored = Output {
            color: true,
            ..plain
        };
        assert_eq!(colored.tone(Tone::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
