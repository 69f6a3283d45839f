//! The YAML files. Texts are quoted, so that no sentence is taken for anything else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Counts, state};
use crate::requirement::Spec;
use crate::survey::Survey;
use crate::tag::Place;

const HEADER: &str = "# Emitted by spec-extract (`cargo xtask regen`). Do not edit.\n";

/// `index.yaml`: counts, open ids, and which spec has which ids.
pub(super) fn index(survey: &Survey) -> String {
    let mut out = String::from(HEADER);
    put_counts(&mut out, "", Counts::all(survey));
    let open: Vec<_> = survey.open.ids().map(|(id, _)| id.as_str()).collect();
    put_list(&mut out, "", "open", &open);
    out.push_str("specs:\n");
    for spec in &survey.specs {
        let _ = writeln!(
            out,
            "- spec: {}\n  file: requirements/{}.yaml",
            spec.path, spec.name
        );
        put_counts(&mut out, "  ", Counts::of(survey, spec));
        let ids: Vec<_> = spec.requirements.iter().map(|r| r.id.as_str()).collect();
        put_list(&mut out, "  ", "ids", &ids);
    }
    out
}

/// One file per spec: each requirement with all that is known of it.
pub(super) fn spec(survey: &Survey, spec: &Spec) -> String {
    let mut out = String::from(HEADER);
    let _ = writeln!(out, "spec: {}\ntitle: {}", spec.path, quoted(&spec.title));
    put_counts(&mut out, "", Counts::of(survey, spec));
    out.push_str("requirements:\n");
    for requirement in &spec.requirements {
        let trace = survey.trace(requirement);
        let _ = writeln!(out, "- id: {}", requirement.id);
        let _ = writeln!(out, "  level: {}", requirement.level);
        let _ = writeln!(out, "  state: {}", state(survey, requirement));
        if let Some(group) = survey.open.group(&requirement.id) {
            let _ = writeln!(out, "  reason: {}", quoted(&group.reason));
            let _ = writeln!(out, "  closes_with: {}", quoted(&group.closes_with));
        }
        let _ = writeln!(out, "  section: {}", quoted(&requirement.section));
        let _ = writeln!(out, "  text: {}", quoted(&requirement.text));
        let _ = writeln!(out, "  contract: {}", quoted(&trace.contract));
        put_list(
            &mut out,
            "  ",
            "operations",
            &trace
                .operations
                .iter()
                .map(|o| quoted(o))
                .collect::<Vec<_>>(),
        );
        put_list(&mut out, "  ", "tests", &places(&trace.tests));
        put_list(&mut out, "  ", "code", &places(&trace.code));
    }
    out
}

fn put_counts(out: &mut String, indent: &str, counts: Counts) {
    let Counts {
        musts,
        musts_tested,
        others,
        others_tested,
    } = counts;
    let _ = writeln!(
        out,
        "{indent}counts: {{ must: {musts}, must_tested: {musts_tested}, must_open: {}, other: {others}, \
         other_tested: {others_tested} }}",
        counts.open()
    );
}

fn put_list(out: &mut String, indent: &str, name: &str, items: &[impl AsRef<str>]) {
    if items.is_empty() {
        let _ = writeln!(out, "{indent}{name}: []");
        return;
    }
    let _ = writeln!(out, "{indent}{name}:");
    for item in items {
        let _ = writeln!(out, "{indent}- {}", item.as_ref());
    }
}

fn places(places: &BTreeSet<Place>) -> Vec<String> {
    let text = |place: &Place| match place.item.as_str() {
        "" => quoted(&place.path),
        item => quoted(&format!("{} {item}", place.path)),
    };
    places.iter().map(text).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
