//! Names that exist twice, as domain types and as wire types, and the way between them.

use contracts_api_types::kind::{EngineName, FullQueuePolicy, PriorityClass};
use orchestrator_core::engine::Engine;
use orchestrator_core::fleet::FullPolicy;
use orchestrator_core::priority::Priority;

/// The domain type of an engine's name.
#[must_use]
pub const fn engine_of(name: EngineName) -> Engine {
    match name {
        EngineName::LlamaCpp => Engine::LlamaCpp,
        EngineName::Vllm => Engine::Vllm,
        EngineName::Tgi => Engine::Tgi,
        EngineName::Triton => Engine::Triton,
    }
}

/// An engine's name on the wire.
#[must_use]
pub const fn engine_name(engine: Engine) -> EngineName {
    match engine {
        Engine::LlamaCpp => EngineName::LlamaCpp,
        Engine::Vllm => EngineName::Vllm,
        Engine::Tgi => EngineName::Tgi,
        Engine::Triton => EngineName::Triton,
    }
}

/// The domain type of a priority class.
#[must_use]
pub const fn priority_of(class: PriorityClass) -> Priority {
    match class {
        PriorityClass::Interactive => Priority::Interactive,
        PriorityClass::Batch => Priority::Batch,
    }
}

/// A priority's class on the wire.
#[must_use]
pub const fn priority_class(priority: Priority) -> PriorityClass {
    match priority {
        Priority::Interactive => PriorityClass::Interactive,
        Priority::Batch => PriorityClass::Batch,
    }
}

/// The domain type of a full-queue policy.
pub(crate) const fn policy_of(policy: FullQueuePolicy) -> FullPolicy {
    match policy {
        FullQueuePolicy::Reject => FullPolicy::Reject,
        FullQueuePolicy::DropLru => FullPolicy::DropLru,
        FullQueuePolicy::ShedLowPriority => FullPolicy::ShedLowPriority,
    }
}

/// A full-queue policy on the wire.
pub(crate) const fn policy_name(policy: FullPolicy) -> FullQueuePolicy {
    match policy {
        FullPolicy::Reject => FullQueuePolicy::Reject,
        FullPolicy::DropLru => FullQueuePolicy::DropLru,
        FullPolicy::ShedLowPriority => FullQueuePolicy::ShedLowPriority,
    }
}

/// A span in whole milliseconds, as answers have it.
#[must_use]
pub fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
