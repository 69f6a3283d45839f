//! Log lines on stderr: pretty for people, one JSON object per line for machines.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// No such format.
    #[error("LLORCH_LOG_FORMAT is `{given}`: use `json` or `pretty`")]
    Format {
        /// The value.
        given: String,
    },
    /// No filter.
    #[error("LLORCH_LOG is no filter: use, for instance, `info` or `pool_managerd=debug`")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Somebody else's subscriber is in place.
    #[error("logging is already set up in this process")]
    Twice(#[from] TryInitError),
}

/// Sets up logging for the whole process. `filter` is the value of `LLORCH_LOG`, `format` that of
/// `LLORCH_LOG_FORMAT`; without it, lines are pretty on a terminal and JSON elsewhere.
///
/// # Errors
/// [`LoggingError`] names the variable and what it may hold.
// spec: HME-030
pub fn start_logging(
    filter: Option<&str>,
    format: Option<&str>,
    terminal: bool,
) -> Result<(), LoggingError> {
    let pretty = match format {
        Some("pretty") => true,
        Some("json") => false,
        Some(other) => {
            return Err(LoggingError::Format {
                given: other.to_owned(),
            });
        }
        None => terminal,
    };
    let filter = EnvFilter::try_new(filter.unwrap_or("info")).map_err(LoggingError::Filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    if pretty {
        registry
            .with(
                fmt::layer()
                    .with_ansi(terminal)
                    .with_writer(std::io::stderr),
            )
            .try_init()?;
    } else {
        let json = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr);
        registry.with(json).try_init()?;
    }
    Ok(())
}
