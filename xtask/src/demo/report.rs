//! The figures of a demo.

use std::fmt;
use std::time::Duration;

use llama_orch_sdk::Client;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Answer;
use super::poem::Wish;

/// How long a counter may lag behind the event that it counts.
const SETTLE: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(20);

/// What came out; `--json` prints it as one line.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    poem: String,
    minute_words: String,
    nonce: String,
    tokens_out: u32,
    tokens_out_total_delta: u64,
    engine_version: String,
    model_digest: String,
    device_class: &'static str,
    first_token_ms: u64,
    decode_time_ms: u64,
    queue_time_ms: u64,
}

impl Report {
    pub(super) fn new(answer: &Answer, wish: &Wish, delta: u64) -> Self {
        Self {
            poem: answer.text.clone(),
            minute_words: wish.minute_words.clone(),
            nonce: wish.nonce.clone(),
            tokens_out: answer.end.tokens_out,
            tokens_out_total_delta: delta,
            engine_version: answer.started.engine_version.clone(),
            model_digest: answer.started.model_digest.clone(),
            device_class: answer.started.device_class.as_str(),
            first_token_ms: answer.first_token_ms,
            decode_time_ms: answer.end.decode_time_ms,
            queue_time_ms: answer.end.queue_time_ms,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Under a millisecond the clock of the answer says 0.
        let per_second = u64::from(self.tokens_out) * 1000 / self.decode_time_ms.max(1);
        writeln!(f, "\nin the queue       {} ms", self.queue_time_ms)?;
        writeln!(f, "first token        {} ms", self.first_token_ms)?;
        writeln!(f, "tokens             {} ({per_second}/s)", self.tokens_out)?;
        writeln!(f, "tokens_out_total   +{}", self.tokens_out_total_delta)?;
        writeln!(f, "engine version     {}", self.engine_version)?;
        writeln!(f, "model digest       {}", self.model_digest)?;
        write!(f, "device class       {}", self.device_class)
    }
}

/// The sum of `tokens_out_total` over all its series.
pub(super) fn tokens_out_total(metrics: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix("tokens_out_total")?;
        let series = rest.starts_with('{') || rest.starts_with(' ');
        // Label values may hold spaces; the value is behind the last one.
        series
            .then(|| rest.rsplit_once(' ')?.1.parse::<u64>().ok())
            .flatten()
    };
    metrics.lines().filter_map(value).sum()
}

/// By how much the counter has grown, once it is as much as expected or has had its time.
pub(super) async fn settled_delta(
    client: &Client,
    before: u64,
    expected: u32,
) -> anyhow::Result<u64> {
    let end = Instant::now() + SETTLE;
    loop {
        let delta = tokens_out_total(&client.metrics().await?).saturating_sub(before);
        if delta >= u64::from(expected) || Instant::now() > end {
            return Ok(delta);
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_series_of_the_counter_are_summed_and_no_other() {
        let metrics = "# HELP tokens_out_total Generated tokens.\n\
                       tokens_out_total{pool_id=\"a b\"} 3\n\
                       tokens_out_total{pool_id=\"c\"} 4\n\
                       tokens_out_totals 9\n\
                       tokens_in_total{pool_id=\"c\"} 9\n";
        assert_eq!(tokens_out_total(metrics), 7);
        assert_eq!(tokens_out_total(""), 0);
    }
}
