//! `GET /metrics`: the server's own names as ours.

use worker_adapters_adapter_api::AdapterError;
use worker_adapters_adapter_api::adapter::EngineMetrics;

/// The longest answer taken.
pub(crate) const METRICS_BYTES_MAX: usize = 256 * 1024;

/// Reads the Prometheus text, without the KV ratio, which is not in it.
pub(crate) fn read(body: &[u8]) -> Result<EngineMetrics, AdapterError> {
    let garbled = |reason: &str| AdapterError::Garbled {
        reason: format!("metrics: {reason}"),
    };
    let text = std::str::from_utf8(body).map_err(|_| garbled("no UTF-8"))?;
    if !text.lines().any(|line| line.starts_with("llamacpp:")) {
        return Err(garbled("not one series of llama.cpp"));
    }
    let value = |name: &str| {
        let mut samples = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) =
            samples.find(|(series, _)| series.strip_prefix("llamacpp:") == Some(name))?;
        // The server prints large counters in exponent form.
        value
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite() && *value >= 0.0)
    };
    let gauge = |name| value(name).map(|value| value as u32);
    let counter = |name| value(name).map(|value| value as u64);
    Ok(EngineMetrics {
        running: gauge("requests_processing"),
        waiting: gauge("requests_deferred"),
        kv_cache_usage_ratio: None,
        tokens_in_total: counter("prompt_tokens_total"),
        tokens_out_total: counter("tokens_predicted_total"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counters_in_exponent_form_are_read() {
        let read = read(b"llamacpp:tokens_predicted_total 1.5e+06\n").unwrap();
        assert_eq!(read.tokens_out_total, Some(1_500_000));
    }

    #[test]
    fn absent_and_impossible_values_are_unknown() {
        let text = b"# HELP x\nllamacpp:requests_processing -1\nllamacpp:requests_deferred nan\n";
        assert_eq!(read(text).unwrap(), EngineMetrics::default());
    }

    #[test]
    fn a_page_of_someone_else_is_refused() {
        assert!(read(b"process_cpu_seconds_total 1\n").is_err());
        assert!(read(b"\xff").is_err());
    }
}
