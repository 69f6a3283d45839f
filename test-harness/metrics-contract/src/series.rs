//! What is exported, held against the table of metrics.

use std::collections::{BTreeMap, BTreeSet};

use crate::bound;
use crate::exposition::{Families, Family, Series};
use crate::lint::Lint;
use crate::spec::{Metric, Spec};
use crate::text::identifier;

/// The most buckets of a histogram.
const BUCKETS_MAX: usize = 20;
/// The most values of a label that is a fixed list in code.
const FIXED_MAX: usize = 16;

/// What the installation consists of; labels name nothing else.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// The values of `engine_version`, `pool_id`, `replica_id` and `device`.
    pub values: BTreeMap<String, BTreeSet<String>>,
}

impl Installation {
    fn count(&self, label: &str) -> u64 {
        self.values
            .get(label)
            .map_or(0, |values| values.len() as u64)
    }

    /// The variables of the bounds.
    fn variables(&self) -> BTreeMap<char, u64> {
        [
            ('P', self.count("pool_id")),
            ('R', self.count("replica_id")),
            ('D', self.count("device")),
            ('M', 0),
            ('T', 1),
        ]
        .into()
    }
}

/// Everything that is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Contract<'a> {
    /// The tables.
    pub spec: &'a Spec,
    /// Lists and excuses.
    pub lint: &'a Lint,
    /// What is installed.
    pub installation: &'a Installation,
}

/// Where the families of all daemons together depart from the contract.
#[must_use]
pub fn problems(contract: Contract<'_>, families: &Families) -> Vec<String> {
    let mut problems = presence(contract, families);
    for (name, family) in families {
        match contract.spec.metrics.get(name) {
            None => problems.push(format!("{name}: exported, but not in the spec")),
            Some(metric) => {
                let found = family_problems(contract, (name, metric), family);
                problems.extend(found.into_iter().map(|what| format!("{name}: {what}")));
            }
        }
        problems.extend(naming_problems(contract, name, family));
    }
    problems.extend(idle_allowances(contract, families));
    problems
}

/// What is missing, and excuses that are not needed.
fn presence(contract: Contract<'_>, families: &Families) -> Vec<String> {
    let Contract {
        spec,
        lint,
        installation,
    } = contract;
    let not_built = lint.missing_metrics();
    let mut problems = Vec::new();
    for name in not_built
        .iter()
        .copied()
        .chain(lint.only_with_gpu.names.iter().map(String::as_str))
    {
        if !spec.metrics.contains_key(name) {
            problems.push(format!("{name}: excused, but not in the spec"));
        }
    }
    for name in spec.metrics.keys() {
        let needs_gpu =
            lint.only_with_gpu.names.contains(name) && installation.count("device") == 0;
        let is_excused = not_built.contains(name.as_str()) || needs_gpu;
        let is_there = families
            .get(name)
            .is_some_and(|family| !family.series.is_empty());
        match (is_there, is_excused) {
            (false, false) => problems.push(format!("{name}: in the spec, but not exported")),
            (true, true) => problems.push(format!("{name}: exported, so it needs no excuse")),
            _ => {}
        }
    }
    problems
}

fn family_problems(
    contract: Contract<'_>,
    (name, metric): (&str, &Metric),
    family: &Family,
) -> Vec<String> {
    let mut problems = Vec::new();
    if family.kind != metric.kind {
        problems.push(format!("is a {}, not a {}", family.kind, metric.kind));
    }
    for series in &family.series {
        let given: BTreeSet<_> = labels(series).map(|(label, _)| label.clone()).collect();
        if given != metric.labels {
            problems.push(format!("has the labels {given:?}, not {:?}", metric.labels));
        }
        for (label, value) in labels(series) {
            problems.extend(value_problem(contract, name, label, value));
        }
    }
    problems.extend(size_problems(contract, metric, family));
    problems.sort();
    problems.dedup();
    problems
}

/// The labels that say what a series is about.
fn labels(series: &Series) -> impl Iterator<Item = (&String, &String)> {
    let is_part = series.name.ends_with("_bucket");
    series
        .labels
        .iter()
        .filter(move |(label, _)| !is_part || *label != "le")
}

fn value_problem(contract: Contract<'_>, name: &str, label: &str, value: &str) -> Option<String> {
    let Contract {
        spec,
        lint,
        installation,
    } = contract;
    if identifier(value).is_some() && label != "device" {
        return Some(format!("`{label}` holds an id: {value}"));
    }
    let fixed = lint.values.get(name).and_then(|labels| labels.get(label));
    let known = spec
        .closed
        .get(label)
        .or(fixed)
        .or(installation.values.get(label));
    let Some(known) = known else {
        return Some(format!("nobody says which values `{label}` may have"));
    };
    // Work that is queued has no replica.
    let is_queued = label == "replica_id" && value == "none" && name.starts_with("tasks_");
    let is_known = known.contains(value) || is_queued;
    (!is_known).then(|| format!("`{label}` is `{value}`, which is not among {known:?}"))
}

fn size_problems(contract: Contract<'_>, metric: &Metric, family: &Family) -> Vec<String> {
    let is_bucket = |series: &&Series| series.name.ends_with("_bucket");
    let is_histogram = metric.kind == "histogram";
    let counted = family
        .series
        .iter()
        .filter(|series| is_bucket(series) || !is_histogram)
        .count();
    let mut problems = Vec::new();
    let bounds: BTreeSet<_> = family
        .series
        .iter()
        .filter_map(|series| series.labels.get("le"))
        .collect();
    if bounds.len() > BUCKETS_MAX {
        problems.push(format!(
            "has {} buckets, and {BUCKETS_MAX} are allowed",
            bounds.len()
        ));
    }
    match bound::evaluate(&metric.bound, &contract.installation.variables()) {
        None => problems.push(format!("its bound `{}` is no formula", metric.bound)),
        Some(bound) if counted as u64 > bound => {
            problems.push(format!(
                "has {counted} series, and {} = {bound} are allowed",
                metric.bound
            ));
        }
        Some(_) => {}
    }
    problems
}

/// Whether a name fits its family.
type Holds = fn(&str, &Family) -> bool;

/// The rules for names; promtool has the same, and more.
const RULES: [(&str, Holds); 4] = [
    ("counters-end-in-total", |name, family| {
        (family.kind == "counter") == name.ends_with("_total")
    }),
    ("base-units", |name, _| {
        ["_ms", "_milliseconds", "_kib", "_mb", "_percent"]
            .iter()
            .all(|unit| !name.ends_with(unit))
    }),
    ("help-is-there", |_, family| !family.help.trim().is_empty()),
    ("snake-case", |name, _| {
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    }),
];

/// The endings that go with units.
const ENDINGS: [(&str, &str); 3] = [("ms", "_ms"), ("bytes", "_bytes"), ("°C", "_celsius")];

fn naming_problems(contract: Contract<'_>, name: &str, family: &Family) -> Vec<String> {
    let mut problems = Vec::new();
    for (rule, holds) in RULES {
        if !holds(name, family) && !contract.lint.allowed(rule).contains(name) {
            problems.push(format!("{name}: breaks the rule `{rule}`"));
        }
    }
    let unit = contract
        .spec
        .metrics
        .get(name)
        .map_or("", |metric| metric.unit.as_str());
    for (of, ending) in ENDINGS {
        if (unit == of) != name.ends_with(ending) {
            problems.push(format!(
                "{name}: the unit `{unit}` and the ending `{ending}` do not go together"
            ));
        }
    }
    problems
}

/// Allowances for rules that nothing breaks.
fn idle_allowances(contract: Contract<'_>, families: &Families) -> Vec<String> {
    let mut problems = Vec::new();
    for allowed in &contract.lint.allowed {
        let Some((rule, holds)) = RULES.iter().find(|(rule, _)| *rule == allowed.rule) else {
            problems.push(format!("there is no rule `{}`", allowed.rule));
            continue;
        };
        for name in &allowed.names {
            let empty = Family::default();
            let family = families.get(name).unwrap_or(&empty);
            let is_built = !contract.lint.missing_metrics().contains(name.as_str());
            if !contract.spec.metrics.contains_key(name) || (is_built && holds(name, family)) {
                problems.push(format!("{name}: needs no allowance for `{rule}`"));
            }
        }
    }
    for (name, labels) in &contract.lint.values {
        for (label, values) in labels {
            if values.len() > FIXED_MAX && !contract.spec.closed.contains_key(label) {
                problems.push(format!(
                    "{name}: `{label}` has {} values, and {FIXED_MAX} are allowed",
                    values.len()
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::parse;

    const SPEC: &str = "| set | labels |\n|---|---|\n| E | `engine` |\n| R | `engine`, `replica_id` |\n\n\
        | label | values |\n|---|---|\n| `engine` | `llamacpp`, `vllm` |\n\n\
        | name | type | unit | labels | meaning | bound |\n|---|---|---|---|---|---|\n\
        | `a_total` | counter | tasks | E, `reason` | - | 2 |\n\
        | `b_ms` | histogram | ms | R | - | R×20 |\n\
        | `c_bytes` | gauge | bytes | R | - | R |\n\
        | `d_total` | counter | tasks | E | - | 1 |\n\n\
        | field | form | where |\n|---|---|---|\n";
    const LINT: &str = r#"{
        "allowed": [{ "rule": "base-units", "names": ["b_ms"], "reason": "r" }],
        "not_built": [{ "names": ["d_total"], "reason": "r" }],
        "only_with_gpu": { "names": ["c_bytes"], "reason": "r" },
        "values": { "a_total": { "reason": ["x", "y", "z"] } },
        "log_fields_not_built": []
    }"#;
    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{engine=\"vllm\",reason=\"x\"} 1\n\
        # HELP b_ms B.\n# TYPE b_ms histogram\n\
        b_ms_bucket{engine=\"vllm\",replica_id=\"r0\",le=\"+Inf\"} 1\n\
        b_ms_sum{engine=\"vllm\",replica_id=\"r0\"} 1\nb_ms_count{engine=\"vllm\",replica_id=\"r0\"} 1\n";

    fn found(text: &str) -> Vec<String> {
        let spec = Spec::parse(SPEC).expect("a spec");
        let lint = serde_json::from_str(LINT).expect("a lint file");
        let installation = Installation {
            values: [("replica_id".to_owned(), ["r0".to_owned()].into())].into(),
        };
        let contract = Contract {
            spec: &spec,
            lint: &lint,
            installation: &installation,
        };
        problems(contract, &parse(text).expect("an exposition"))
    }

    #[track_caller]
    fn check(changed: &str, words: &str) {
        let found = found(changed);
        assert!(
            found.iter().any(|what| what.contains(words)),
            "{words}: {found:?}"
        );
    }

    // spec: OC-METRICS-7101
    #[test]
    fn what_agrees_is_fine_and_a_renamed_metric_is_seen_twice() {
        assert_eq!(found(GOOD), [""; 0]);
        let renamed = GOOD.replace("a_total", "e_total");
        check(&renamed, "a_total: in the spec, but not exported");
        check(&renamed, "e_total: exported, but not in the spec");
        check(
            &GOOD.replace("a_total counter", "a_total gauge"),
            "is a gauge, not a counter",
        );
        check(&GOOD.replace("reason=", "cause="), "has the labels");
    }

    // spec: OC-METRICS-7122, OC-METRICS-7120
    #[test]
    fn values_come_from_bounded_sets() {
        check(
            &GOOD.replace("reason=\"x\"", "reason=\"w\""),
            "`reason` is `w`",
        );
        check(&GOOD.replace("vllm", "onnx"), "`engine` is `onnx`");
        check(&GOOD.replace("r0", "r1"), "`replica_id` is `r1`");
        let id = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";
        check(&GOOD.replace("r0", id), "holds an id");
    }

    // spec: OC-METRICS-7102
    #[test]
    fn more_series_than_the_budget_are_seen() {
        let series = |reason| format!("a_total{{engine=\"vllm\",reason=\"{reason}\"}} 1\n");
        let more = GOOD.replace(
            "# HELP b_ms",
            &format!("{}{}# HELP b_ms", series("y"), series("z")),
        );
        check(&more, "a_total: has 3 series, and 2 = 2 are allowed");
    }

    // spec: OC-METRICS-7124
    #[test]
    fn rules_for_names_hold_and_idle_excuses_are_seen() {
        check(
            &GOOD.replace("# HELP a_total A.\n", ""),
            "a_total: breaks the rule `help-is-there`",
        );
        let built = format!(
            "{GOOD}# HELP d_total D.\n# TYPE d_total counter\nd_total{{engine=\"vllm\"}} 1\n"
        );
        check(&built, "d_total: exported, so it needs no excuse");
    }
}
