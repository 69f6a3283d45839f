//! How a command fails: what is said, and the exit code.

use std::error::Error;

use contracts_api_types::error::{ErrorBody, ErrorCode};
use contracts_api_types::stream::ErrorEvent;
use contracts_config_schema::ConfigError;
use llama_orch_sdk::SdkError;
use serde::Serialize;

/// What a failure comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything that is none of the others.
    Failed,
    /// The command line or the config cannot be used.
    Usage,
    /// The task ended with an error, or was canceled by somebody else.
    Task,
    /// The daemon does not answer.
    Unreachable,
    /// Ctrl-C.
    Interrupted,
}

/// A failed command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) kind: Kind,
    /// The cause, where the daemon gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<ErrorCode>,
    /// What happened.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    // spec: CLI-8009
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Task => 3,
            Kind::Unreachable => 4,
            Kind::Interrupted => 130,
        }
    }
}

/// The error and everything below it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}

impl From<SdkError> for Failure {
    fn from(error: SdkError) -> Self {
        match &error {
            SdkError::Refused { body, .. } => refused(body),
            SdkError::Transport { .. } | SdkError::Interrupted { .. } => {
                Self::new(Kind::Unreachable, chain(&error))
                    .hint("is it running? `llama-orch up` starts it, `llama-orch doctor` looks for what is wrong")
            }
            SdkError::Config { .. } => Self::new(Kind::Usage, chain(&error)),
            SdkError::Protocol { .. } => Self::failed(chain(&error))
                .hint("is it a llama-orch of this version that answers there?"),
        }
    }
}

fn refused(body: &ErrorBody) -> Failure {
    let mut failure = Failure {
        code: Some(body.code),
        ..Failure::failed(&body.message)
    };
    let available = body
        .details
        .as_ref()
        .map(|details| details.available.join(", "));
    if let Some(available) = available.filter(|list| !list.is_empty()) {
        failure = failure.hint(format!("there is: {available}"));
    }
    if body.code == ErrorCode::Unauthorized {
        failure = failure.hint("set LLORCH_API_TOKEN to your key");
    }
    if let Some(after) = body.retry_after_ms {
        failure = failure.hint(format!("try again in {:.1} s", after as f64 / 1000.0));
    }
    failure.hint(format!(
        "the daemon's log has more under correlation id {}",
        body.correlation_id
    ))
}

impl From<&ErrorEvent> for Failure {
    fn from(event: &ErrorEvent) -> Self {
        let failure = Self::new(Kind::Task, &event.message);
        let failure = Self {
            code: Some(event.code),
            ..failure
        };
        let failure = match event.retriable {
            true => failure.hint("the same task may succeed later"),
            false => failure,
        };
        match event.partial {
            true => failure.hint("the text so far is incomplete"),
            false => failure,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Kind::Usage, chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use contracts_api_types::error::ErrorDetails;

    use super::*;

    // spec: CLI-8010
    #[test]
    fn a_refusal_shows_its_code_message_and_what_to_do() {
        let body = ErrorBody {
            code: ErrorCode::NotFound,
            message: "no pool serves `x`".into(),
            engine: None,
            pool_id: None,
            retriable: false,
            retry_after_ms: Some(1500),
            policy_label: None,
            details: Some(Box::new(ErrorDetails {
                available: vec!["a".into(), "b".into()],
                ..ErrorDetails::default()
            })),
            correlation_id: "c-1".into(),
        };
        let failure = Failure::from(SdkError::Refused {
            status: 404,
            body: Box::new(body),
        });
        assert_eq!(failure.code, Some(ErrorCode::NotFound));
        assert_eq!(failure.message, "no pool serves `x`");
        assert_eq!(failure.hints[..2], ["there is: a, b", "try again in 1.5 s"]);
        assert!(failure.hints[2].contains("c-1"));
        assert_eq!(failure.exit_code(), 1);
    }

    // spec: CLI-8009
    #[test]
    fn each_kind_has_its_exit_code() {
        let codes = [
            Kind::Failed,
            Kind::Usage,
            Kind::Task,
            Kind::Unreachable,
            Kind::Interrupted,
        ]
        .map(|kind| Failure::new(kind, "").exit_code());
        assert_eq!(codes, [1, 2, 3, 4, 130]);
    }
}
