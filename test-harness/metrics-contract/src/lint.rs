//! `ci/metrics.lint.json`: what the spec leaves to a list, and what is excused.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lint {
    /// Rules for names that some metrics may break.
    pub allowed: Vec<Allowed>,
    /// Metrics of the spec that no daemon exports yet.
    pub not_built: Vec<Excuse>,
    /// Metrics that are exported only where a GPU is used.
    pub only_with_gpu: Excuse,
    /// The values of labels that are fixed lists in code, by metric and label.
    pub values: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Log fields of the spec that no daemon can know yet.
    pub log_fields_not_built: Vec<Excuse>,
}

/// Metrics that may break one rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The rule.
    pub rule: String,
    /// The metrics.
    pub names: BTreeSet<String>,
    /// Why.
    pub reason: String,
}

/// Names and why they are apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excuse {
    /// The names.
    pub names: BTreeSet<String>,
    /// Why.
    pub reason: String,
}

impl Lint {
    /// The metrics that are not built.
    #[must_use]
    pub fn missing_metrics(&self) -> BTreeSet<&str> {
        names(&self.not_built)
    }

    /// The log fields that are not built.
    #[must_use]
    pub fn missing_fields(&self) -> BTreeSet<&str> {
        names(&self.log_fields_not_built)
    }

    /// The metrics that may break `rule`.
    #[must_use]
    pub fn allowed(&self, rule: &str) -> BTreeSet<&str> {
        let rules = self.allowed.iter().filter(|allowed| allowed.rule == rule);
        rules
            .flat_map(|allowed| &allowed.names)
            .map(String::as_str)
            .collect()
    }
}

fn names(excuses: &[Excuse]) -> BTreeSet<&str> {
    let all = excuses.iter().flat_map(|excuse| &excuse.names);
    all.map(String::as_str).collect()
}
