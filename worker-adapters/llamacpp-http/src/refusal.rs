//! The server's errors as ours.
//!
//! Its form is `{"error": {"code", "message", "type"}}`, as the body of a refusal, as the body of a
//! 200, or as a frame within a stream.

use serde_json::Value;
use worker_adapters_adapter_api::AdapterError;

/// The longest piece of the server's words that an error keeps, in characters. Its own messages are
/// a line; a proxy's page may be anything.
const WORDS_MAX: usize = 400;

/// The error of a status and the body that came with it.
pub(crate) fn of_answer(status: u16, body: &[u8]) -> AdapterError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    match parsed.as_ref().and_then(|body| body.get("error")) {
        Some(error) => of(status, words_of(error)),
        None => of(status, excerpt(&String::from_utf8_lossy(body))),
    }
}

/// The error of an `error` object, whatever status it came under.
pub(crate) fn of_object(error: &Value) -> AdapterError {
    let code = error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok());
    of(code.unwrap_or(500), words_of(error))
}

/// What is unreadable, as an error.
pub(crate) fn garbled(what: &str, excerpt_of: &str) -> AdapterError {
    AdapterError::Garbled {
        reason: format!("{what}: {}", excerpt(excerpt_of)),
    }
}

// spec: OC-ADAPT-5112, OC-ADAPT-5122, OC-ADAPT-5126
fn of(status: u16, message: String) -> AdapterError {
    match status {
        // The key is ours and not the task's, so it is the replica that is set up wrongly.
        401 | 403 => AdapterError::EngineFailed {
            message: format!("the engine refused our API key with status {status}: {message}"),
        },
        429 => AdapterError::Overloaded { message },
        400..=499 => AdapterError::Rejected { status, message },
        503 => AdapterError::Unreachable {
            reason: format!("it is not ready: {message}"),
        },
        500..=599 => AdapterError::EngineFailed { message },
        _ => AdapterError::Garbled {
            reason: format!("unexpected status {status}: {message}"),
        },
    }
}

fn words_of(error: &Value) -> String {
    match error.get("message").unwrap_or(error) {
        Value::String(words) => excerpt(words),
        other => excerpt(&other.to_string()),
    }
}

fn excerpt(text: &str) -> String {
    let printable = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().take(WORDS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use worker_adapters_adapter_api::FaultKind;

    use super::*;

    // spec: OC-ADAPT-5112
    #[test]
    fn each_status_has_its_class() {
        let kind = |status| of(status, String::new()).kind();
        assert_eq!(kind(400), FaultKind::Rejected);
        assert_eq!(kind(401), FaultKind::EngineFailed);
        assert_eq!(kind(403), FaultKind::EngineFailed);
        assert_eq!(kind(404), FaultKind::Rejected);
        assert_eq!(kind(429), FaultKind::Overloaded);
        assert_eq!(kind(500), FaultKind::EngineFailed);
        assert_eq!(kind(501), FaultKind::EngineFailed);
        assert_eq!(kind(503), FaultKind::Unreachable);
        assert_eq!(kind(302), FaultKind::Garbled);
    }

    #[test]
    fn the_servers_words_are_kept_whatever_their_form() {
        let message = |error: &Value| match of_object(error) {
            AdapterError::EngineFailed { message } => message,
            other => panic!("expected a failure of the engine, got {other:?}"),
        };
        assert_eq!(message(&json!({"code": 500, "message": "boom"})), "boom");
        assert_eq!(message(&json!("boom")), "boom");
        assert_eq!(
            message(&json!({"code": 99999, "message": ["a"]})),
            "[\"a\"]"
        );
    }

    #[test]
    fn a_long_or_binary_page_is_cut_and_made_printable() {
        let body = [b"\xff\x1b[31m".as_slice(), &[b'x'; 5000]].concat();
        let AdapterError::EngineFailed { message } = of_answer(502, &body) else {
            panic!("expected a failure of the engine");
        };
        assert!(
            message.len() < 500 && !message.contains('\x1b'),
            "{message}"
        );
    }
}
