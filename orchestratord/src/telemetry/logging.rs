//! Log lines on stderr: pretty for people, one JSON object per line for machines.
//!
//! A JSON line has `timestamp`, `level`, `target` and `message`, then `human` where there is one,
//! then the fields of the enclosing spans from the outermost in, so that `correlation_id` is on
//! every line of its request, then the fields of the event itself.

use std::fmt;
use std::io::{IsTerminal, Write};

use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl LogFormat {
    /// Reads `LLORCH_LOG_FORMAT`; without it, pretty on a terminal and JSON elsewhere.
    ///
    /// # Errors
    /// [`LoggingError::Format`] for anything but `json` and `pretty`.
    pub fn choose(given: Option<&str>, terminal: bool) -> Result<Self, LoggingError> {
        match given {
            Some("json") => Ok(Self::Json),
            Some("pretty") => Ok(Self::Pretty),
            Some(other) => Err(LoggingError::Format {
                given: other.to_owned(),
            }),
            None if terminal => Ok(Self::Pretty),
            None => Ok(Self::Json),
        }
    }
}

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
    #[error("LLORCH_LOG is no filter: use, for instance, `info` or `orchestratord=debug`")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Somebody else's subscriber is in place.
    #[error("logging is already set up in this process")]
    Twice,
}

/// Sets up logging for the whole process. `filter` is the value of `LLORCH_LOG`; `info` without it.
///
/// # Errors
/// [`LoggingError`] names the variable and what it may hold.
// spec: HME-030
pub fn init(filter: Option<&str>, format: LogFormat) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(filter.unwrap_or("info")).map_err(LoggingError::Filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    let done = match format {
        LogFormat::Pretty => registry
            .with(pretty_lines(
                std::io::stderr,
                std::io::stderr().is_terminal(),
            ))
            .try_init(),
        LogFormat::Json => registry
            .with(JsonLines {
                writer: std::io::stderr,
            })
            .try_init(),
    };
    done.map_err(|_| LoggingError::Twice)
}

/// The layer that writes for people. A value cannot begin a line of its own, whoever chose it.
fn pretty_lines<S, W>(writer: W, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    tracing_subscriber::fmt::layer()
        .fmt_fields(format::debug_fn(one_line).delimited(" "))
        .with_ansi(colours)
        .with_writer(writer)
}

fn one_line(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    for char in format!("{value:?}").chars() {
        if char.is_control() {
            write!(writer, "{}", char.escape_default())?;
        } else {
            write!(writer, "{char}")?;
        }
    }
    Ok(())
}

/// The layer that writes JSON lines.
struct JsonLines<W> {
    writer: W,
}

/// The fields of a span, kept with it.
struct SpanFields(Fields);

/// Fields in the order in which they came; of two with one name the later one counts.
#[derive(Clone, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = value.into(),
            None => self.0.push((name, value.into())),
        }
    }

    fn put_all(&mut self, others: Fields) {
        for (name, value) in others.0 {
            self.put(name, value);
        }
    }

    /// Takes out the field of this name.
    fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(index).1)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut Collect(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut Collect(&mut fields));
        let mut line = Fields::default();
        line.put("timestamp", now());
        line.put("level", event.metadata().level().as_str());
        line.put("target", event.metadata().target());
        for first in ["message", "human"] {
            if let Some(value) = fields.take(first) {
                line.put(first, value);
            }
        }
        let spans = context.event_scope(event).into_iter();
        for span in spans.flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(of_span)) = span.extensions().get() {
                line.put_all(of_span.clone());
            }
        }
        line.put_all(fields);
        let mut text = serde_json::to_string(&line).expect("fields are plain values");
        text.push('\n');
        // Nobody is left to be told when stderr is gone.
        let _ = self.writer.make_writer().write_all(text.as_bytes());
    }
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Takes fields as JSON values.
struct Collect<'a>(&'a mut Fields);

impl Collect<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.put(field.name(), value);
    }
}

impl Visit for Collect<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(act: impl FnOnce()) -> Vec<Value> {
        written(act)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn written(act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = JsonLines {
            writer: move || writer.clone(),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        lines.text()
    }

    // spec: ORCH-2009, ORCH-3027, ORCH-3300
    #[test]
    fn a_line_carries_the_request_the_fields_and_the_sentence_for_people() {
        let lines = logged(|| {
            let request = tracing::info_span!(
                "request",
                correlation_id = "c-1",
                tenant_id = tracing::field::Empty
            );
            request.record("tenant_id", "home");
            let _entered = request.enter();
            tracing::info!(
                queue_position = 3_u64,
                human = "the task is third in line",
                "task admitted"
            );
        });
        let line = &lines[0];
        assert_eq!(line["message"], "task admitted");
        assert_eq!(line["human"], "the task is third in line");
        assert_eq!(line["correlation_id"], "c-1");
        assert_eq!(line["tenant_id"], "home");
        assert_eq!(line["queue_position"], 3);
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    // spec: HME-030
    #[test]
    fn fields_stand_in_a_fixed_order_and_only_once() {
        let text = written(|| {
            let span = tracing::info_span!("request", correlation_id = "c", status = 1);
            let _entered = span.enter();
            tracing::info!(zebra = 1, status = 2, human = "h", "m");
        });
        let (_, rest) = text.split_once("\"level\"").unwrap();
        let target = module_path!();
        assert_eq!(
            rest.trim_end(),
            format!(
                ":\"INFO\",\"target\":\"{target}\",\"message\":\"m\",\"human\":\"h\",\
                 \"correlation_id\":\"c\",\"status\":2,\"zebra\":1}}"
            )
        );
    }

    #[test]
    fn text_with_line_breaks_stays_one_line() {
        let lines = logged(|| tracing::warn!(cause = "a\nb\"c", "engine exited"));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["cause"], "a\nb\"c");
    }

    #[test]
    fn text_with_line_breaks_stays_one_line_for_people_too() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = pretty_lines(move || writer.clone(), false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let forged = "x\n2026 INFO forged\r\x1b[31m";
            tracing::info!(cause = %forged, plain = "p", "refused {forged}");
        });
        let text = lines.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("cause=x\\n2026 INFO forged\\r\\u{1b}[31m plain="),
            "{text}"
        );
        assert!(text.contains("refused x\\n2026"), "{text}");
        assert!(
            !text.contains('\x1b'),
            "colours without a terminal: {text:?}"
        );
    }

    // spec: OC-CONFIG-6028
    #[test]
    fn the_format_is_chosen_by_name_and_else_by_the_terminal() {
        assert_eq!(
            LogFormat::choose(Some("json"), true).unwrap(),
            LogFormat::Json
        );
        assert_eq!(
            LogFormat::choose(Some("pretty"), false).unwrap(),
            LogFormat::Pretty
        );
        assert_eq!(LogFormat::choose(None, true).unwrap(), LogFormat::Pretty);
        assert_eq!(LogFormat::choose(None, false).unwrap(), LogFormat::Json);
        let refusal = LogFormat::choose(Some("xml"), true)
            .unwrap_err()
            .to_string();
        assert_eq!(
            refusal,
            "LLORCH_LOG_FORMAT is `xml`: use `json` or `pretty`"
        );
    }
}
