//! The tables of `.specs/metrics/otel-prom.md`.

use std::collections::{BTreeMap, BTreeSet};

/// One exported metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its type.
    pub kind: String,
    /// Its unit.
    pub unit: String,
    /// Exactly these labels.
    pub labels: BTreeSet<String>,
    /// A formula for the most series.
    pub bound: String,
}

/// One log field, or several of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogField {
    /// The name.
    pub name: String,
    /// What its values look like.
    pub form: String,
    /// Where it must be.
    pub places: String,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Metrics by name.
    pub metrics: BTreeMap<String, Metric>,
    /// Labels whose values are a closed set.
    pub closed: BTreeMap<String, BTreeSet<String>>,
    /// Log fields in the order of the table.
    pub fields: Vec<LogField>,
}

impl Spec {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A table that is missing, or a row that cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let sets = rows(text, "| set | labels |")?;
        let sets: BTreeMap<_, _> = sets
            .iter()
            .map(|row| (row[0].clone(), quoted(&row[1])))
            .collect();
        let mut metrics = BTreeMap::new();
        for row in rows(text, "| name | type | unit | labels | meaning | bound |")? {
            let [names, kind, unit, labels, _, bound] = row.as_slice() else {
                return Err(format!("a row of metrics has other columns: {row:?}"));
            };
            let metric = Metric {
                kind: kind.clone(),
                unit: unit.clone(),
                labels: labels_of(labels, &sets)?,
                bound: bound.clone(),
            };
            for name in quoted(names) {
                metrics.insert(name, metric.clone());
            }
        }
        let mut closed = BTreeMap::new();
        for row in rows(text, "| label | values |")? {
            let values = quoted(&row[1]);
            for label in quoted(&row[0]).into_iter().filter(|_| !values.is_empty()) {
                // `other` alone is where a long list ends.
                if values.len() > 1 {
                    closed.insert(label, values.iter().cloned().collect());
                }
            }
        }
        let mut fields = Vec::new();
        for row in rows(text, "| field | form | where |")? {
            for name in quoted(&row[0]) {
                fields.push(LogField {
                    name,
                    form: row[1].clone(),
                    places: row[2].clone(),
                });
            }
        }
        Ok(Self {
            metrics,
            closed,
            fields,
        })
    }
}

/// The rows below the table head `head`, cell by cell.
fn rows(text: &str, head: &str) -> Result<Vec<Vec<String>>, String> {
    let (_, below) = text
        .split_once(&format!("{head}\n"))
        .ok_or_else(|| format!("the spec has no table `{head}`"))?;
    let columns = head.matches('|').count() - 1;
    let lines = below
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let inner = line.trim_matches('|').split('|');
            let cells: Vec<_> = inner.map(|cell| cell.trim().to_owned()).collect();
            if cells.len() == columns {
                Ok(cells)
            } else {
                Err(format!("a row has not {columns} cells: {line}"))
            }
        })
        .collect()
}

/// The names in back quotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn labels_of(cell: &str, sets: &BTreeMap<String, Vec<String>>) -> Result<BTreeSet<String>, String> {
    let mut labels = BTreeSet::new();
    for part in cell.split(',').map(str::trim).filter(|part| *part != "—") {
        match (quoted(part).as_slice(), sets.get(part)) {
            ([label], _) => {
                labels.insert(label.clone());
            }
            (_, Some(set)) => labels.extend(set.iter().cloned()),
            _ => return Err(format!("`{part}` is neither a label nor a set of labels")),
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-METRICS-7101
    #[test]
    fn the_tables_of_the_spec_are_read_whole() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let text = std::fs::read_to_string(format!("{root}/.specs/metrics/otel-prom.md"));
        let spec = Spec::parse(&text.expect("the spec")).expect("its tables");
        assert!(spec.metrics.len() >= 27, "{}", spec.metrics.len());
        let enqueued = &spec.metrics["tasks_enqueued_total"];
        let labels: Vec<_> = enqueued.labels.iter().map(String::as_str).collect();
        assert_eq!(
            labels,
            [
                "engine",
                "engine_version",
                "pool_id",
                "priority",
                "replica_id"
            ]
        );
        assert_eq!(
            (enqueued.kind.as_str(), enqueued.bound.as_str()),
            ("counter", "2(R+P)")
        );
        assert!(spec.metrics["journal_commit_ms"].labels.is_empty());
        assert!(spec.closed["priority"].contains("batch") && !spec.closed.contains_key("tenant"));
        assert!(spec.fields.iter().any(|field| field.name == "tokens_out"));
    }
}
