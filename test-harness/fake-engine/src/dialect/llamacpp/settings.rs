//! The generation settings as the server shows them: in final frames, in `/props`, in `/slots`.

use serde_json::Value;

/// The value that means "random".
pub(super) const RANDOM_SEED: u64 = u32::MAX as u64;

/// Where the settings are shown. Not every place shows every setting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Answer,
    Slots,
    Props,
}

/// The settings in the server's order, with their defaults. Numbers with a point are 32-bit floats.
const SETTINGS: [(&str, &str); 49] = [
    ("seed", "4294967295"),
    ("temperature", "0.8"),
    ("dynatemp_range", "0.0"),
    ("dynatemp_exponent", "1.0"),
    ("top_k", "40"),
    ("top_p", "0.95"),
    ("min_p", "0.05"),
    ("top_n_sigma", "-1.0"),
    ("xtc_probability", "0.0"),
    ("xtc_threshold", "0.1"),
    ("typical_p", "1.0"),
    ("repeat_last_n", "64"),
    ("repeat_penalty", "1.0"),
    ("presence_penalty", "0.0"),
    ("frequency_penalty", "0.0"),
    ("dry_multiplier", "0.0"),
    ("dry_base", "1.75"),
    ("dry_allowed_length", "2"),
    ("dry_penalty_last_n", "64"),
    ("dry_sequence_breakers", r#"["\n",":","\"","*"]"#),
    ("mirostat", "0"),
    ("mirostat_tau", "5.0"),
    ("mirostat_eta", "0.1"),
    ("adaptive_target", "-1.0"),
    ("adaptive_decay", "0.9"),
    ("stop", "[]"),
    ("max_tokens", "-1"),
    ("n_predict", "-1"),
    ("n_keep", "0"),
    ("n_discard", "0"),
    ("ignore_eos", "false"),
    ("stream", "false"),
    ("logit_bias", "[]"),
    ("n_probs", "0"),
    ("min_keep", "0"),
    ("grammar", r#""""#),
    ("grammar_lazy", "false"),
    ("grammar_triggers", "[]"),
    ("preserved_tokens", "[]"),
    ("chat_format", r#""Content-only""#),
    ("reasoning_format", r#""deepseek""#),
    ("reasoning_in_content", "false"),
    ("generation_prompt", r#""""#),
    (
        "samplers",
        r#"["penalties","dry","top_n_sigma","top_k","typ_p","top_p","min_p","xtc","temperature"]"#,
    ),
    ("speculative.types", r#""none""#),
    ("timings_per_token", "false"),
    ("post_sampling_probs", "false"),
    ("backend_sampling", "false"),
    ("lora", "[]"),
];

/// Settings that only answers show.
const ONLY_IN_ANSWERS: [&str; 7] = [
    "dry_sequence_breakers",
    "stop",
    "logit_bias",
    "grammar",
    "grammar_lazy",
    "grammar_triggers",
    "preserved_tokens",
];

/// The settings of `request` as JSON.
pub(super) fn settings(request: &Value, shown: Shown) -> String {
    let visible = |name: &str| shown == Shown::Answer || !ONLY_IN_ANSWERS.contains(&name);
    let fields: Vec<String> = SETTINGS
        .iter()
        .filter(|(name, _)| visible(name))
        .map(|(name, default)| format!("\"{name}\":{}", value(request, name, default, shown)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn value(request: &Value, name: &str, default: &str, shown: Shown) -> String {
    match name {
        "seed" => seed(request).to_string(),
        "max_tokens" | "n_predict" => n_predict(request).to_string(),
        "reasoning_format" if shown == Shown::Props => "\"none\"".to_owned(),
        "logit_bias" if request["ignore_eos"] == true => r#"[{"bias":null,"token":1}]"#.to_owned(),
        "chat_format" | "reasoning_format" | "lora" | "logit_bias" => default.to_owned(),
        _ if is_float(default) => {
            let given = request[name].as_f64();
            let number = given.or_else(|| default.parse().ok()).unwrap_or_default();
            crate::answer::json(&f64::from(number as f32))
        }
        _ => match &request[name] {
            Value::Null => default.to_owned(),
            given => given.to_string(),
        },
    }
}

fn is_float(default: &str) -> bool {
    default.contains('.') && default.parse::<f64>().is_ok()
}

/// The seed, of which the server keeps the low 32 bits.
pub(super) fn seed(request: &Value) -> u64 {
    let given = &request["seed"];
    let bits = given
        .as_u64()
        .or_else(|| given.as_i64().map(i64::cast_unsigned));
    bits.unwrap_or(RANDOM_SEED) & RANDOM_SEED
}

/// The most tokens asked for; -1 for as many as there is room for.
pub(super) fn n_predict(request: &Value) -> i64 {
    let first = |name: &str| request[name].as_i64();
    first("n_predict")
        .or_else(|| first("max_tokens"))
        .unwrap_or(-1)
}
