//! Lines for people, on the stream that this command leaves to them.

use std::io::Write;

/// Where lines for people go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Say {
    to_stderr: bool,
}

impl Say {
    pub(crate) fn on_stdout() -> Self {
        Self { to_stderr: false }
    }

    pub(crate) fn on_stderr() -> Self {
        Self { to_stderr: true }
    }

    pub(crate) fn line(self, text: &str) {
        self.text(&format!("{text}\n"));
    }

    /// Writes at once, without a line end. A stream that is closed has no reader to miss it.
    pub(crate) fn text(self, text: &str) {
        let _ = if self.to_stderr {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }
}
