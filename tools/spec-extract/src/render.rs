//! From the survey to files: `requirements/*.yaml` and `COMPLIANCE.md`.

use std::collections::BTreeMap;

use crate::requirement::{Requirement, Spec};
use crate::survey::Survey;

mod compliance;
mod yaml;

pub(crate) const COMPLIANCE: &str = "COMPLIANCE.md";

/// The emitted files by path.
pub(crate) fn render(survey: &Survey) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    files.insert(crate::open::INDEX.to_owned(), yaml::index(survey));
    for spec in &survey.specs {
        files.insert(
            format!("requirements/{}.yaml", spec.name),
            yaml::spec(survey, spec),
        );
    }
    files.insert(COMPLIANCE.to_owned(), compliance::page(survey));
    files
}

/// Where a requirement stands.
fn state(survey: &Survey, requirement: &Requirement) -> &'static str {
    if survey.is_tested(requirement) {
        "tested"
    } else if survey.is_open(requirement) {
        "open"
    } else {
        "untested"
    }
}

/// How many requirements of a spec are there, bind, and have tests.
#[derive(Clone, Copy, Default)]
struct Counts {
    musts: usize,
    musts_tested: usize,
    others: usize,
    others_tested: usize,
}

impl Counts {
    fn of(survey: &Survey, spec: &Spec) -> Self {
        let mut counts = Self::default();
        for requirement in &spec.requirements {
            let tested = usize::from(survey.is_tested(requirement));
            if requirement.level.needs_test() {
                counts.musts += 1;
                counts.musts_tested += tested;
            } else {
                counts.others += 1;
                counts.others_tested += tested;
            }
        }
        counts
    }

    fn all(survey: &Survey) -> Self {
        let each = survey.specs.iter().map(|spec| Self::of(survey, spec));
        each.fold(Self::default(), |a, b| Self {
            musts: a.musts + b.musts,
            musts_tested: a.musts_tested + b.musts_tested,
            others: a.others + b.others,
            others_tested: a.others_tested + b.others_tested,
        })
    }

    fn open(self) -> usize {
        self.musts - self.musts_tested
    }
}

#[cfg(test)]
mod tests;
