//! Prometheus' text format, read back.

use std::collections::BTreeMap;

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The sample's name, with the ending of a histogram's parts.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All series of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// What it is said to be.
    pub help: String,
    /// Its type.
    pub kind: String,
    /// Its series.
    pub series: Vec<Series>,
}

impl Family {
    /// The sum of the values of the series that have this label, or of all without one.
    #[must_use]
    pub fn total(&self, label: Option<(&str, &str)>) -> f64 {
        let counts = |series: &&Series| {
            label.is_none_or(|(name, value)| series.labels.get(name).is_some_and(|is| is == value))
        };
        self.series
            .iter()
            .filter(counts)
            .map(|series| series.value)
            .sum()
    }
}

/// An exposition: families by name.
pub type Families = BTreeMap<String, Family>;

/// Reads an exposition.
///
/// # Errors
/// The first line that is none of the format.
pub fn parse(text: &str) -> Result<Families, String> {
    let mut families = Families::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let bad = || format!("no line of an exposition: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(bad)?;
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(bad)?;
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let series = series(line).ok_or_else(bad)?;
            let family = family_of(&series.name, &families).ok_or_else(bad)?;
            families.entry(family).or_default().series.push(series);
        }
    }
    Ok(families)
}

/// The family that a sample belongs to; its type line stands before it.
fn family_of(sample: &str, families: &Families) -> Option<String> {
    if families.contains_key(sample) {
        return Some(sample.to_owned());
    }
    let parts = ["_bucket", "_sum", "_count"];
    let name = parts.iter().find_map(|part| sample.strip_suffix(part))?;
    let family = families.get(name)?;
    (family.kind == "histogram").then(|| name.to_owned())
}

fn series(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        None => (head, BTreeMap::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
    };
    let value = match value {
        "+Inf" => f64::INFINITY,
        text => text.parse().ok()?,
    };
    Some(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn labels(mut rest: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
        let after = &after[end + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total All of a.\n# TYPE a_total counter\n\
        a_total{x=\"1\",y=\"b\\\"c, {d}\"} 2\na_total{x=\"2\",y=\"\"} 3\n\
        # HELP b_ms Time.\n# TYPE b_ms histogram\nb_ms_bucket{le=\"+Inf\"} 1\nb_ms_sum 7\nb_ms_count 1\n";

    #[test]
    fn families_have_their_series() {
        let families = parse(TEXT).expect("an exposition");
        let a = &families["a_total"];
        assert_eq!((a.kind.as_str(), a.help.as_str()), ("counter", "All of a."));
        assert_eq!(a.series[0].labels["y"], "b\"c, {d}");
        assert_eq!((a.total(None), a.total(Some(("x", "2")))), (5.0, 3.0));
        assert_eq!(families["b_ms"].series.len(), 3);
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "a 1\n",
            "# TYPE a counter\na{x=1} 1\n",
            "# TYPE a gauge\na_sum 1\n",
            "# TYPE a gauge\na x\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
