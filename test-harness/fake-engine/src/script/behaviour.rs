//! How the engine starts, stops, frames its streams and answers for its health.

use serde::{Deserialize, Serialize};

/// How streams are cut. Everything here is legal, so it must change nothing for a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Frames {
    /// How many tokens one frame has. TGI has a frame per token, so there they share a write.
    pub tokens_per_frame: u32,
    /// A frame with an empty text before every so many frames; 0 for none.
    pub empty_delta_every: u32,
    /// A comment line before every so many frames; 0 for none.
    pub comment_every: u32,
    /// The most bytes of one write; 0 writes a frame at once.
    pub bytes_per_write: usize,
    /// What ends a line.
    pub line_ends: LineEnds,
    /// Whether a stream begins with a byte order mark.
    pub bom: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            tokens_per_frame: 1,
            empty_delta_every: 0,
            comment_every: 0,
            bytes_per_write: 0,
            line_ends: LineEnds::Lf,
            bom: false,
        }
    }
}

/// What ends a line of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnds {
    /// `\n`, as all real engines write.
    Lf,
    /// `\r\n`.
    Crlf,
    /// `\r`.
    Cr,
    /// Each in turn.
    Mixed,
}

/// How the start goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Start {
    /// How long loading takes. llama.cpp answers 503 meanwhile, the others refuse connections.
    pub load_ms: u64,
    /// How loading ends, if not well.
    pub fail: Option<StartFailure>,
}

/// What can stop a start. The engine writes its own words to standard error and exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// No device memory; exit 1 after `load_ms`.
    Oom,
    /// The port is in use; exit 1 at once.
    PortTaken,
    /// A shared library is not there; exit 127 at once.
    MissingLibrary,
    /// A model that the engine does not know; exit 1 after `load_ms`.
    WrongModel,
}

/// What health says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The truth, as far as the real engine knows it; a hung engine does not answer.
    Honest,
    /// Accepts, and never answers.
    Hangs,
    /// Always well: while loading, while hung, and after the death of the engine behind it.
    Lies,
}

/// What SIGTERM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSigterm {
    /// What it does to the real engine.
    Natural,
    /// Nothing.
    Ignore,
}

/// What only vLLM has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VllmScript {
    /// `--enable-request-id-headers`.
    pub request_id_headers: bool,
}

/// What only TGI has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TgiScript {
    /// What computes behind the router.
    pub backend: TgiBackend,
    /// `max_input_tokens`; one less than `ctx` when absent.
    pub max_input_tokens: Option<u32>,
    /// `max_best_of`.
    pub max_best_of: u32,
    /// `max_stop_sequences`; 4 when absent, as the router's own default.
    pub max_stop_sequences: Option<u32>,
}

/// The two backends that were recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TgiBackend {
    /// The usual one for GPUs: a client that leaves is noticed at the next token.
    #[default]
    V3,
    /// The llama.cpp backend: it computes to the end for clients that have left, has no greedy
    /// mode, and keeps 32 bits of a seed.
    Llamacpp,
}

/// What only Triton has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TritonScript {
    /// A real ensemble: it never learns that a client has left, and marks sequences in its frames.
    pub ensemble: bool,
    /// `--strict-readiness`: not ready once any model was unloaded or failed to load.
    pub strict_readiness: bool,
    /// TensorRT-LLM's gauges, which say what runs and waits.
    pub trtllm_gauges: bool,
    /// Models beside `model`, which generate nothing.
    pub other_models: Vec<OtherModel>,
    /// `--exit-timeout-secs`, in milliseconds.
    pub exit_timeout_ms: u64,
}

impl Default for TritonScript {
    fn default() -> Self {
        Self {
            ensemble: false,
            strict_readiness: true,
            trtllm_gauges: false,
            other_models: Vec::new(),
            exit_timeout_ms: 30_000,
        }
    }
}

/// One more model in Triton's repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherModel {
    /// Its name.
    pub name: String,
    /// Whether loading it works. One that does not is not loaded at the start.
    pub loads: bool,
}
