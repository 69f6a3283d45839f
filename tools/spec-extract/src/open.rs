//! `requirements/open.yaml`: the requirements that have no test yet, why, and what will close them.
//!
//! The file may only shrink: an entry with a test must go, and a requirement that has had a test
//! does not come back. The memory for that is the list `open` of the emitted `index.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::id::RequirementId;
use crate::problem::Problem;
use crate::tree::Tree;

pub(crate) const OPEN: &str = "requirements/open.yaml";
pub(crate) const INDEX: &str = "requirements/index.yaml";

/// Requirements that are open for one reason.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// What will close them: the title of an issue.
    pub(crate) closes_with: String,
    /// Why they have no test.
    pub(crate) reason: String,
    ids: Vec<String>,
}

/// All open requirements.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenList {
    pub(crate) groups: Vec<Group>,
    group_of: BTreeMap<RequirementId, usize>,
}

impl OpenList {
    /// The group that `id` stands in.
    pub(crate) fn group(&self, id: &RequirementId) -> Option<&Group> {
        self.group_of.get(id).map(|index| &self.groups[*index])
    }

    /// The ids with their groups' places, sorted by id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&RequirementId, usize)> {
        self.group_of.iter().map(|(id, index)| (id, *index))
    }
}

/// Reads the list. Ids that are in it twice or have no form are problems.
pub(crate) fn read_open(tree: &Tree, problems: &mut Vec<Problem>) -> OpenList {
    let text = tree.get(OPEN).unwrap_or("[]");
    let groups: Vec<Group> = match serde_saphyr::from_str(text) {
        Ok(groups) => groups,
        Err(error) => {
            let what = format!(
                "cannot be read: write a list of `closes_with`, `reason` and `ids`: {error}"
            );
            problems.push(Problem::of(OPEN, what));
            Vec::new()
        }
    };
    let mut list = OpenList {
        groups,
        group_of: BTreeMap::new(),
    };
    for (index, group) in list.groups.iter().enumerate() {
        if group.reason.trim().is_empty() || group.closes_with.trim().is_empty() {
            let what = format!(
                "group {} lacks a `reason` or a `closes_with`: say both",
                index + 1
            );
            problems.push(Problem::of(OPEN, what));
        }
        for id in &group.ids {
            match RequirementId::parse(id) {
                None => problems.push(problem_of(text, id, "is no id: correct it")),
                Some(parsed) => {
                    if list.group_of.insert(parsed, index).is_some() {
                        problems.push(problem_of(text, id, "stands here twice: remove one"));
                    }
                }
            }
        }
    }
    list
}

/// A problem with one id, at the last line that names it.
pub(crate) fn problem_of(text: &str, id: &str, what: &str) -> Problem {
    let named = text.lines().zip(1..).filter(|(line, _)| line.contains(id));
    Problem {
        path: OPEN.to_owned(),
        line: named.last().map(|(_, n)| n),
        what: format!("{id} {what}"),
    }
}

/// What the index of the last extraction says.
#[derive(Debug, Default, Deserialize)]
struct Index {
    #[serde(default)]
    open: BTreeSet<String>,
    #[serde(default)]
    specs: Vec<IndexedSpec>,
}

#[derive(Debug, Deserialize)]
struct IndexedSpec {
    #[serde(default)]
    ids: BTreeSet<String>,
}

/// Finds requirements that were not open at the last extraction and are now.
pub(crate) fn check_only_shrinks(tree: &Tree, list: &OpenList, problems: &mut Vec<Problem>) {
    let Some(text) = tree.get(INDEX) else { return };
    let index: Index = match serde_saphyr::from_str(text) {
        Ok(index) => index,
        Err(error) => {
            problems.push(Problem::of(
                INDEX,
                format!("cannot be read: remove it: {error}"),
            ));
            return;
        }
    };
    for (id, _) in list.ids() {
        let is_known = index
            .specs
            .iter()
            .any(|spec| spec.ids.contains(id.as_str()));
        if is_known && !index.open.contains(id.as_str()) {
            let what = format!(
                "was not open before, and this file may only shrink: give it its test back; \
                 only where that test proved nothing, add it under `open` in {INDEX} as well"
            );
            problems.push(problem_of(
                tree.get(OPEN).unwrap_or_default(),
                id.as_str(),
                &what,
            ));
        }
    }
}
