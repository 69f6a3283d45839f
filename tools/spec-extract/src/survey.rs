//! Everything joined: each requirement with its contract, tests, code, and reason to be open.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::{Operations, Row, UMBRELLA, read_map, read_operations};
use crate::id::RequirementId;
use crate::open::{OPEN, OpenList, check_only_shrinks, problem_of, read_open};
use crate::problem::Problem;
use crate::requirement::{Requirement, Spec, read_specs};
use crate::rust_source::rust_files;
use crate::tag::{Place, Tag, tags_of};
use crate::tree::Tree;

/// Where one requirement shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) contract: String,
    pub(crate) operations: BTreeSet<String>,
    pub(crate) tests: BTreeSet<Place>,
    pub(crate) code: BTreeSet<Place>,
}

/// The whole picture.
pub(crate) struct Survey {
    pub(crate) specs: Vec<Spec>,
    pub(crate) open: OpenList,
    traces: BTreeMap<RequirementId, Trace>,
}

impl Survey {
    /// The trace of a requirement of this survey.
    pub(crate) fn trace(&self, requirement: &Requirement) -> &Trace {
        self.traces
            .get(&requirement.id)
            .expect("every requirement has a trace")
    }

    pub(crate) fn is_tested(&self, requirement: &Requirement) -> bool {
        !self.trace(requirement).tests.is_empty()
    }

    pub(crate) fn is_open(&self, requirement: &Requirement) -> bool {
        self.open.group(&requirement.id).is_some()
    }
}

/// Reads and joins everything; what is wrong goes to `problems`.
pub(crate) fn survey(tree: &Tree, problems: &mut Vec<Problem>) -> Survey {
    let specs = read_specs(tree, problems);
    check_duplicates(&specs, problems);
    let mut traces: BTreeMap<_, _> = requirements_of(&specs)
        .map(|(_, r)| (r.id.clone(), Trace::default()))
        .collect();
    let rows = read_map(tree, problems);
    add_contracts(&rows, &specs, &mut traces, problems);
    add_operations(read_operations(tree, problems), &mut traces, problems);
    for file in rust_files(tree) {
        for tag in tags_of(&file, problems) {
            add_tag(tag, &mut traces, problems);
        }
    }
    let open = read_open(tree, problems);
    check_only_shrinks(tree, &open, problems);
    let survey = Survey {
        specs,
        open,
        traces,
    };
    check_open(tree, &survey, problems);
    check_tested(&survey, problems);
    survey
}

fn requirements_of(specs: &[Spec]) -> impl Iterator<Item = (&Spec, &Requirement)> {
    specs
        .iter()
        .flat_map(|spec| spec.requirements.iter().map(move |r| (spec, r)))
}

fn check_duplicates(specs: &[Spec], problems: &mut Vec<Problem>) {
    let mut first = BTreeMap::new();
    for (spec, requirement) in requirements_of(specs) {
        if let Some((path, line)) = first.insert(&requirement.id, (&spec.path, requirement.line)) {
            let what = format!(
                "{} is defined in {path}:{line} too: take a free number",
                requirement.id
            );
            problems.push(Problem::at(&spec.path, requirement.line, what));
        }
    }
}

fn add_contracts(
    rows: &[Row],
    specs: &[Spec],
    traces: &mut BTreeMap<RequirementId, Trace>,
    problems: &mut Vec<Problem>,
) {
    for row in rows {
        if !requirements_of(specs).any(|(_, requirement)| row.has(&requirement.id)) {
            problems.push(Problem::at(
                UMBRELLA,
                row.line,
                "names no requirement: remove the row",
            ));
        }
    }
    for (spec, requirement) in requirements_of(specs) {
        match rows.iter().find(|row| row.has(&requirement.id)) {
            Some(row) => {
                let trace = traces
                    .get_mut(&requirement.id)
                    .expect("it was made from the specs");
                row.contract.clone_into(&mut trace.contract);
            }
            None => {
                let what = format!(
                    "{} has no contract: name it in the Traceability Map",
                    requirement.id
                );
                problems.push(Problem::at(&spec.path, requirement.line, what));
            }
        }
    }
}

fn add_operations(
    operations: Operations,
    traces: &mut BTreeMap<RequirementId, Trace>,
    problems: &mut Vec<Problem>,
) {
    for (id, names) in operations {
        if let Some(trace) = traces.get_mut(&id) {
            trace.operations = names;
            continue;
        }
        for name in names {
            let file = name.split(' ').next().unwrap_or_default();
            let what =
                format!("`{name}` has the unknown `x-req-id` {id}: correct it at the handler");
            problems.push(Problem::of(&format!("contracts/openapi/{file}"), what));
        }
    }
}

fn add_tag(tag: Tag, traces: &mut BTreeMap<RequirementId, Trace>, problems: &mut Vec<Problem>) {
    let Some(trace) = traces.get_mut(&tag.id) else {
        let what = format!(
            "{} is in no spec: correct the tag, or write the requirement",
            tag.id
        );
        problems.push(Problem::at(&tag.place.path, tag.line, what));
        return;
    };
    let places = if tag.is_test {
        &mut trace.tests
    } else {
        &mut trace.code
    };
    places.insert(tag.place);
}

fn check_open(tree: &Tree, survey: &Survey, problems: &mut Vec<Problem>) {
    let text = tree.get(OPEN).unwrap_or_default();
    let known: BTreeMap<_, _> = requirements_of(&survey.specs)
        .map(|(_, r)| (&r.id, r))
        .collect();
    for (id, _) in survey.open.ids() {
        let what = match known.get(id) {
            None => "is in no spec: remove it",
            Some(requirement) if !requirement.level.needs_test() => "needs no test: remove it",
            Some(requirement) if survey.is_tested(requirement) => "has a test now: remove it",
            Some(_) => continue,
        };
        problems.push(problem_of(text, id.as_str(), what));
    }
}

fn check_tested(survey: &Survey, problems: &mut Vec<Problem>) {
    for (spec, requirement) in requirements_of(&survey.specs) {
        let is_due = requirement.level.needs_test() && !survey.is_tested(requirement);
        if is_due && !survey.is_open(requirement) {
            let what = format!(
                "{} is a {} without a test: tag a test `// spec: {}`, or say in {OPEN} why there is none",
                requirement.id, requirement.level, requirement.id
            );
            problems.push(Problem::at(&spec.path, requirement.line, what));
        }
    }
}

#[cfg(test)]
mod tests;
