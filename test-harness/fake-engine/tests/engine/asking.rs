//! The same generation in four dialects, and the text of its answer.

use serde_json::{Value, json};
use test_harness_fake_engine::Dialect;

use test_harness_fake_engine::script::text::TextScript;
use test_harness_fake_engine::text;

use crate::client::{self, Answer, post};
use crate::engine;

pub(crate) const ALL: [Dialect; 4] = [
    Dialect::Llamacpp,
    Dialect::Vllm,
    Dialect::Tgi,
    Dialect::Triton,
];

/// What is asked in every dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) prompt: &'a str,
    pub(crate) max_tokens: u32,
    pub(crate) seed: u64,
    pub(crate) stream: bool,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            prompt: "hello world",
            max_tokens: 8,
            seed: 7,
            stream: true,
        }
    }
}

/// The model that [`request`] names for Triton.
pub(crate) const TRITON_MODEL: &str = "tiny";

/// The temperature of every request.
pub(crate) const TEMPERATURE: f64 = 0.75;

pub(crate) fn request(dialect: Dialect, ask: Ask<'_>) -> Vec<u8> {
    let Ask {
        prompt,
        max_tokens,
        seed,
        stream,
    } = ask;
    let (path, body) = match dialect {
        Dialect::Llamacpp => (
            "/completion".to_owned(),
            json!({"prompt": prompt, "n_predict": max_tokens, "seed": seed, "temperature": TEMPERATURE, "stream": stream}),
        ),
        Dialect::Vllm => {
            let mut body = json!({"prompt": prompt, "max_tokens": max_tokens, "seed": seed, "temperature": TEMPERATURE, "stream": stream});
            if stream {
                body["stream_options"] = json!({"include_usage": true});
            }
            ("/v1/completions".to_owned(), body)
        }
        Dialect::Tgi => (
            if stream {
                "/generate_stream"
            } else {
                "/generate"
            }
            .to_owned(),
            json!({"inputs": prompt, "parameters": {"max_new_tokens": max_tokens, "seed": seed,
                "temperature": TEMPERATURE, "do_sample": true, "details": true}}),
        ),
        Dialect::Triton => (
            format!(
                "/v2/models/{TRITON_MODEL}/generate{}",
                if stream { "_stream" } else { "" }
            ),
            json!({"text_input": prompt, "max_tokens": max_tokens, "random_seed": seed,
                "temperature": TEMPERATURE, "stream": stream}),
        ),
    };
    post(&path, &body.to_string())
}

/// The events of a stream, whatever ends its lines.
pub(crate) fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text().replace("\r\n", "\n").replace('\r', "\n");
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let data = text.split("\n\n").flat_map(|event| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    data.filter_map(|data| serde_json::from_str(&data).ok())
        .collect()
}

/// The text that the frames of a stream add up to.
pub(crate) fn streamed_text(dialect: Dialect, answer: &Answer) -> String {
    let told = events(answer);
    let texts = told.iter().map(|event| match dialect {
        Dialect::Llamacpp => event["content"].as_str(),
        Dialect::Vllm => event["choices"][0]["text"].as_str(),
        Dialect::Tgi => event["token"]["text"].as_str(),
        Dialect::Triton => event["text_output"].as_str(),
    });
    texts.map(Option::unwrap_or_default).collect()
}

/// The text of an answer that is no stream.
pub(crate) fn whole_text(dialect: Dialect, answer: &Answer) -> String {
    let told = answer.json();
    let text = match dialect {
        Dialect::Llamacpp => &told["content"],
        Dialect::Vllm => &told["choices"][0]["text"],
        Dialect::Tgi => &told["generated_text"],
        Dialect::Triton => &told["text_output"],
    };
    text.as_str()
        .unwrap_or_else(|| panic!("no text in {told}"))
        .to_owned()
}

/// Whether an event says that the generation succeeded.
pub(crate) fn is_success(dialect: Dialect, event: &Value) -> bool {
    match dialect {
        Dialect::Llamacpp => event["stop"] == true,
        Dialect::Vllm => event["choices"][0]["finish_reason"].is_string(),
        Dialect::Tgi => event["generated_text"].is_string(),
        Dialect::Triton => false,
    }
}

/// Prompt and answer tokens as the last events report them.
pub(crate) fn usage(dialect: Dialect, answer: &Answer) -> Option<(u64, u64)> {
    let told = events(answer);
    let last = told.last()?;
    let pair = |prompt: &Value, answer: &Value| Some((prompt.as_u64()?, answer.as_u64()?));
    match dialect {
        Dialect::Llamacpp => pair(&last["tokens_evaluated"], &last["tokens_predicted"]),
        Dialect::Vllm => pair(
            &last["usage"]["prompt_tokens"],
            &last["usage"]["completion_tokens"],
        ),
        Dialect::Tgi => pair(
            &last["details"]["input_length"],
            &last["details"]["generated_tokens"],
        ),
        Dialect::Triton => None,
    }
}

pub(crate) fn expected(ask: Ask<'_>) -> String {
    let of = text::Ask {
        prompt: ask.prompt,
        seed: ask.seed,
        temperature: TEMPERATURE,
    };
    text::expected(&TextScript::default(), &of, ask.max_tokens)
}

/// The answer to one plain stream of an engine with this script.
pub(crate) async fn streamed(dialect: Dialect, script: &str, ask: Ask<'_>) -> Answer {
    let engine = engine(dialect, script).await;
    client::ask(engine.address(), &request(dialect, ask)).await
}

pub(crate) fn fault(at: &str, fault: &str) -> String {
    format!("faults: [{{at: {{{at}}}, fault: {fault}}}]")
}

pub(crate) fn successes(dialect: Dialect, answer: &Answer) -> usize {
    events(answer)
        .iter()
        .filter(|event| is_success(dialect, event))
        .count()
}

pub(crate) fn dones(answer: &Answer) -> usize {
    answer.text().matches("data: [DONE]").count()
}
