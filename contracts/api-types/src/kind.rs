//! Closed sets of names that appear in several payloads.

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        // By hand: the derive does not see through the macro and would document the Rust names.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let text = utoipa::openapi::schema::Type::String;
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(text)
                    .description(Some(concat!($($doc),*).trim()))
                    .enum_values(Some([$($text),+]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;

names! {
    /// An inference engine.
    // spec: ORCH-2008
    EngineName {
        /// llama.cpp's `llama-server`.
        LlamaCpp = "llamacpp",
        /// vLLM.
        Vllm = "vllm",
        /// text-generation-inference.
        Tgi = "tgi",
        /// Triton, also with TensorRT-LLM.
        Triton = "triton",
    }
}

names! {
    /// What a task computes.
    Workload {
        /// Text from a prompt.
        Completion = "completion",
        /// Vectors of texts.
        Embedding = "embedding",
        /// Scores of texts against a query.
        Rerank = "rerank",
    }
}

names! {
    /// How urgent a task is.
    PriorityClass {
        /// Somebody waits for the answer.
        Interactive = "interactive",
        /// Throughput counts, not latency.
        Batch = "batch",
    }
}

names! {
    /// What a task needs of repeatability.
    Determinism {
        /// The same seed gives the same bytes.
        Strict = "strict",
        /// Sampling may differ from run to run.
        BestEffort = "best_effort",
    }
}

names! {
    /// What happens to a task whose client goes away.
    OnDisconnect {
        /// It goes on; its stream can be read later.
        Keep = "keep",
        /// It is canceled when its last reader leaves.
        Cancel = "cancel",
    }
}

names! {
    /// The kind of device that a pool runs on.
    // spec: ORCH-1102
    DeviceClass {
        /// NVIDIA GPUs.
        Nvidia = "nvidia",
        /// The CPU, for CI and demos only.
        CpuCi = "cpu-ci",
    }
}

names! {
    /// What a full queue does with the next task of a class.
    // spec: ORCH-3005
    FullQueuePolicy {
        /// The newcomer is refused.
        Reject = "reject",
        /// The oldest queued task gives way.
        DropLru = "drop-lru",
        /// A queued batch task gives way to an interactive one.
        ShedLowPriority = "shed-low-priority",
    }
}
