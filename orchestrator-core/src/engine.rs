//! The engines the product speaks to.

use std::fmt;

/// An inference engine, by the name that stands in requests, configs, metrics and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// llama.cpp's `llama-server`.
    LlamaCpp,
    /// vLLM's OpenAI server.
    Vllm,
    /// Hugging Face text-generation-inference.
    Tgi,
    /// NVIDIA Triton, also with TensorRT-LLM.
    Triton,
}

impl Engine {
    /// Every engine, in the order of their names.
    // spec: ORCH-2008
    pub const ALL: [Self; 4] = [Self::LlamaCpp, Self::Tgi, Self::Triton, Self::Vllm];

    /// The name on the wire and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llamacpp",
            Self::Vllm => "vllm",
            Self::Tgi => "tgi",
            Self::Triton => "triton",
        }
    }

    /// The engine of that name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.as_str() == name)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Engine;

    // spec: ORCH-2008
    #[test]
    fn every_name_parses_back_and_nothing_else_does() {
        for engine in Engine::ALL {
            assert_eq!(Engine::parse(engine.as_str()), Some(engine));
        }
        assert_eq!(Engine::parse("LlamaCpp"), None);
        assert_eq!(Engine::parse(""), None);
    }
}
