//! The agent as a process: its log and its host's name.

mod logging;

pub use logging::{LoggingError, start_logging};

/// The name of this host, in the form of an id.
#[must_use]
pub fn host_name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    as_id(text.trim())
}

fn as_id(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let id: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(64)
        .collect();
    match id.trim_start_matches('.') {
        "" => "localhost".to_owned(),
        id => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_becomes_an_id() {
        assert_eq!(as_id("gpu-box.home"), "gpu-box.home");
        assert_eq!(as_id("schöner rechner"), "sch-ner-rechner");
        assert_eq!(as_id(""), "localhost");
        assert_eq!(as_id(&"x".repeat(80)).len(), 64);
    }
}
