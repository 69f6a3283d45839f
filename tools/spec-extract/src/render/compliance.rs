//! `COMPLIANCE.md`: what is open on top, then every requirement with its proof.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Counts, state};
use crate::requirement::{Requirement, Spec};
use crate::survey::{Survey, Trace};
use crate::tag::Place;

const HEADER: &str = "\
# Compliance

From every requirement of the specs to its contract, its tests and its code.
Emitted by spec-extract (`cargo xtask regen`); do not edit. What is open may only become less:
[requirements/open.yaml](requirements/open.yaml).
";

/// The whole page.
pub(super) fn page(survey: &Survey) -> String {
    let mut out = String::from(HEADER);
    put_counts(&mut out, survey);
    put_open(&mut out, survey);
    for spec in &survey.specs {
        put_spec(&mut out, survey, spec);
    }
    out
}

fn put_counts(out: &mut String, survey: &Survey) {
    out.push_str(
        "\n| spec | MUST | tested | open | SHOULD, MAY | tested |\n|---|---|---|---|---|---|\n",
    );
    for spec in &survey.specs {
        let link = format!("[{}]({})", spec.name, spec.path);
        put_count(out, &link, Counts::of(survey, spec));
    }
    put_count(out, "all", Counts::all(survey));
}

fn put_count(out: &mut String, name: &str, counts: Counts) {
    let Counts {
        musts,
        musts_tested,
        others,
        others_tested,
    } = counts;
    let _ = writeln!(
        out,
        "| {name} | {musts} | {musts_tested} | {} | {others} | {others_tested} |",
        counts.open()
    );
}

fn put_open(out: &mut String, survey: &Survey) {
    let total = survey.open.ids().count();
    let _ = writeln!(
        out,
        "\n## Open: {total}\n\n| closes with | why | requirements |\n|---|---|---|"
    );
    let mut by_issue: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (id, index) in survey.open.ids() {
        let group = &survey.open.groups[index];
        by_issue
            .entry((&group.closes_with, &group.reason))
            .or_default()
            .push(id.as_str());
    }
    for ((closes_with, reason), ids) in by_issue {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            cell(closes_with),
            cell(reason),
            ids.join(", ")
        );
    }
}

fn put_spec(out: &mut String, survey: &Survey, spec: &Spec) {
    let _ = writeln!(out, "\n## {}\n", spec.title);
    out.push_str("| id | level | state | contract | tests | code |\n|---|---|---|---|---|---|\n");
    let mut rows: Vec<&Requirement> = spec.requirements.iter().collect();
    rows.sort_by_key(|requirement| survey.is_tested(requirement));
    for requirement in rows {
        let trace = survey.trace(requirement);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            requirement.id,
            requirement.level,
            state(survey, requirement),
            contract(trace),
            places(&trace.tests),
            places(&trace.code)
        );
    }
}

/// The operations that name the requirement, else the contract file of the map.
fn contract(trace: &Trace) -> String {
    if trace.operations.is_empty() {
        return format!("`{}`", trace.contract);
    }
    let quoted: Vec<_> = trace
        .operations
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    quoted.join("<br>")
}

/// The items by file, each file with a link.
fn places(places: &BTreeSet<Place>) -> String {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for place in places {
        let items = by_file.entry(&place.path).or_default();
        if !place.item.is_empty() {
            items.push(format!("`{}`", place.item));
        }
    }
    let files: Vec<_> = by_file
        .iter()
        .map(|(path, items)| format!("[{}]({path}): {}", short(path), items.join(", ")))
        .collect();
    files.join("<br>")
}

/// The crate and the file, without the folders that say nothing.
fn short(path: &str) -> String {
    path.replace("/src/", "/")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
