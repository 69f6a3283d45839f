//! Which adapter speaks to which engine: the only seam to the engine crates.
//!
//! `main` registers the real ones and tests register the mock, through the same function type.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use contracts_api_types::node::WorkerEndpoint;
use orchestrator_core::engine::Engine;
use worker_adapters_adapter_api::WorkerAdapter;

/// Makes the adapter of one worker process, or says why its endpoint cannot be used.
pub type AdapterFactory =
    Arc<dyn Fn(&WorkerEndpoint) -> Result<Arc<dyn WorkerAdapter>, String> + Send + Sync>;

/// The engines that this daemon can speak to.
#[derive(Clone, Default)]
pub struct AdapterRegistry {
    factories: BTreeMap<Engine, AdapterFactory>,
}

impl AdapterRegistry {
    /// A registry of these engines.
    #[must_use]
    pub fn new(factories: impl IntoIterator<Item = (Engine, AdapterFactory)>) -> Self {
        Self {
            factories: factories.into_iter().collect(),
        }
    }

    /// The adapter of one process of `engine`.
    pub(crate) fn connect(
        &self,
        engine: Engine,
        endpoint: &WorkerEndpoint,
    ) -> Result<Arc<dyn WorkerAdapter>, String> {
        match self.factories.get(&engine) {
            Some(factory) => factory(endpoint),
            None => Err(format!("this server has no adapter for {engine}")),
        }
    }
}

impl fmt::Debug for AdapterRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}
