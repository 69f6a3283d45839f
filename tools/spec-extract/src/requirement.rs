//! The requirements: list items `- [ID] sentence` of the specs, each with one RFC 2119 key word.
//!
//! Read from `.specs/**/*.md`, proposals excepted, and from `SPEC/SPEC.md` of a crate.

use std::fmt;

use crate::id::RequirementId;
use crate::problem::Problem;
use crate::tree::Tree;

/// How binding a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Binding.
    Must,
    /// Binding, and a ban.
    MustNot,
    /// A strong wish.
    Should,
    /// A strong wish against.
    ShouldNot,
    /// A permission.
    May,
}

impl Level {
    /// The level that the key words of a sentence give it.
    ///
    /// The longer key words come first, since they contain the shorter ones.
    #[must_use]
    pub fn of_sentence(sentence: &str) -> Option<Self> {
        let words = [
            Self::MustNot,
            Self::ShouldNot,
            Self::Must,
            Self::Should,
            Self::May,
        ];
        let found = words
            .iter()
            .filter_map(|level| Some((position(sentence, level.word())?, *level)));
        found.min_by_key(|(at, _)| *at).map(|(_, level)| level)
    }

    /// The key word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        }
    }

    /// Whether a requirement of this level needs a test.
    #[must_use]
    pub fn needs_test(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }
}

fn position(sentence: &str, word: &str) -> Option<usize> {
    let is_word = |at: &usize| {
        let before = sentence[..*at].chars().next_back();
        let after = sentence[at + word.len()..].chars().next();
        !before.into_iter().chain(after).any(char::is_alphanumeric)
    };
    sentence.match_indices(word).map(|(at, _)| at).find(is_word)
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub id: RequirementId,
    /// How binding it is.
    pub level: Level,
    /// Its sentence, on one line.
    pub text: String,
    /// The heading it stands under.
    pub section: String,
    /// The line it begins at.
    pub line: usize,
}

/// One spec with requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The file.
    pub path: String,
    /// The name of its file in `requirements/`, without ending.
    pub name: String,
    /// The title of the file.
    pub title: String,
    /// Its requirements, sorted by id.
    pub requirements: Vec<Requirement>,
}

/// All specs that have requirements, sorted by path.
#[must_use]
pub fn read_specs(tree: &Tree, problems: &mut Vec<Problem>) -> Vec<Spec> {
    let named = tree
        .iter()
        .filter_map(|(path, text)| Some((path, text, name_of(path)?)));
    let specs = named.map(|(path, text, name)| read_spec(path, text, name, problems));
    specs.filter(|spec| !spec.requirements.is_empty()).collect()
}

fn name_of(path: &str) -> Option<String> {
    if let Some(folder) = path.strip_suffix("/SPEC/SPEC.md") {
        return Some(folder.replace('/', "-"));
    }
    let inner = path.strip_prefix(".specs/")?.strip_suffix(".md")?;
    (!inner.starts_with("proposals/")).then(|| inner.replace('/', "-"))
}

fn read_spec(path: &str, text: &str, name: String, problems: &mut Vec<Problem>) -> Spec {
    let mut spec = Spec {
        path: path.to_owned(),
        name,
        title: String::new(),
        requirements: Vec::new(),
    };
    let mut section = String::new();
    let mut is_fenced = false;
    let mut lines = text.lines().zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
            continue;
        } else if let Some(title) = line.strip_prefix("# ") {
            title.trim().clone_into(&mut spec.title);
        } else if line.starts_with("##") {
            line.trim_start_matches('#').trim().clone_into(&mut section);
        } else if let Some((id, first)) = item(line) {
            let mut sentence = first.trim().to_owned();
            while let Some((more, _)) = lines.next_if(|(next, _)| next.starts_with("  ")) {
                sentence.push(' ');
                sentence.push_str(more.trim());
            }
            match requirement(id, sentence, number) {
                Ok(found) => spec.requirements.push(Requirement {
                    section: section.clone(),
                    ..found
                }),
                Err(what) => problems.push(Problem::at(path, number, what)),
            }
        }
    }
    spec.requirements.sort_by(|a, b| a.id.cmp(&b.id));
    spec
}

/// The id and the beginning of the sentence, for a line of the form `- [ID] sentence`.
///
/// Links (`- [text](target)`) and tick boxes (`- [ ]`) are other things.
fn item(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.strip_prefix("- [")?.split_once(']')?;
    (!rest.starts_with('(') && id.contains('-') && !id.contains(' ')).then_some((id, rest))
}

fn requirement(id: &str, text: String, line: usize) -> Result<Requirement, String> {
    let id = RequirementId::parse(id).ok_or_else(|| {
        format!("`{id}` is no id: write upper-case words, a hyphen and three or four digits")
    })?;
    let level = Level::of_sentence(&text)
        .ok_or_else(|| format!("{id} has no key word: say MUST, MUST NOT, SHOULD or MAY"))?;
    Ok(Requirement {
        id,
        level,
        text,
        section: String::new(),
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::{Level, read_specs};
    use crate::tree::Tree;

    const SPEC: &str = "# Title: x\n\n## First\n\n- [AB-0001] One MUST\n  go on.\n- [AB-0003] It MAY.\n\
        - [link](x.md)\n- [ ] box\n\n### Second\n\n```\n- [AB-0009] It MUST.\n```\n- [AB-0002] It MUST NOT, and MAY.\n";

    #[test]
    fn items_are_read_with_level_section_and_whole_sentence() {
        let mut problems = Vec::new();
        let specs = read_specs(&Tree::of(&[(".specs/10-x.md", SPEC)]), &mut problems);
        assert_eq!(problems, []);
        assert_eq!(
            (specs[0].name.as_str(), specs[0].title.as_str()),
            ("10-x", "Title: x")
        );
        let rows: Vec<_> = specs[0]
            .requirements
            .iter()
            .map(|r| {
                (
                    r.id.as_str(),
                    r.level,
                    r.section.as_str(),
                    r.text.as_str(),
                    r.line,
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("AB-0001", Level::Must, "First", "One MUST go on.", 5),
                (
                    "AB-0002",
                    Level::MustNot,
                    "Second",
                    "It MUST NOT, and MAY.",
                    16
                ),
                ("AB-0003", Level::May, "First", "It MAY.", 7),
            ]
        );
    }

    #[test]
    fn a_malformed_id_and_a_missing_key_word_are_named_with_their_line() {
        let text = "- [AB-1] It MUST.\n- [AB-0001] It must.\n";
        let mut problems = Vec::new();
        let specs = read_specs(&Tree::of(&[(".specs/x.md", text)]), &mut problems);
        assert_eq!(specs, []);
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(
            told[0].starts_with(".specs/x.md:1: `AB-1` is no id"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with(".specs/x.md:2: AB-0001 has no key word"),
            "{told:?}"
        );
    }

    #[test]
    fn a_key_word_is_a_whole_word() {
        assert_eq!(Level::of_sentence("MUSTARD SHOULDER"), None);
        assert_eq!(Level::of_sentence("`MUST`"), Some(Level::Must));
        assert_eq!(Level::of_sentence("It SHOULD NOT."), Some(Level::ShouldNot));
    }

    #[test]
    fn specs_of_crates_count_and_proposals_do_not() {
        let tree = Tree::of(&[
            ("a/b/SPEC/SPEC.md", "- [AB-0001] It MUST.\n"),
            (".specs/proposals/x.md", "- [AB-0002] It MUST.\n"),
            (".specs/metrics/t.md", "# Tables\n"),
        ]);
        let specs = read_specs(&tree, &mut Vec::new());
        let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["a-b"]);
    }
}
