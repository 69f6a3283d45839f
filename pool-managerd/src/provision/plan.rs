//! What would be done, step by step.

use std::fmt;
use std::path::PathBuf;

use super::recipe::Recipe;
use super::source::shown;

/// What provisioning would do. Its text is the numbered list with every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it is about.
    pub title: String,
    /// Key of the cache entry; none for a program that is there already.
    pub key: Option<String>,
    /// Where the program is or will be.
    pub binary: PathBuf,
    /// Whether it is there already.
    pub ready: bool,
    /// What is done if it is not.
    pub steps: Vec<PlannedStep>,
}

/// One step as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What it does.
    pub title: String,
    /// Its commands, as a shell would take them.
    pub commands: Vec<String>,
}

impl Plan {
    /// A program that is there already.
    pub(super) fn of_binary(binary: PathBuf) -> Self {
        let title = "llama-server that is installed already".into();
        Self {
            title,
            key: None,
            binary,
            ready: true,
            steps: Vec::new(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: {}", self.title)?;
        if let Some(key) = &self.key {
            writeln!(f, "cache key: {key}")?;
        }
        let state = if self.ready {
            "there already, nothing to do"
        } else {
            "to be built"
        };
        writeln!(f, "program: {} ({state})", self.binary.display())?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "{number:>2}. {}", step.title)?;
            for command in &step.commands {
                writeln!(f, "      $ {command}")?;
            }
        }
        Ok(())
    }
}

/// One step as it is carried out.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) title: String,
    pub(super) action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Runs commands.
    Run(Vec<Vec<String>>),
    /// Fetches an archive, checks it and keeps it, unless it is kept already.
    Fetch {
        /// The command.
        run: Vec<String>,
        /// Where it puts the archive.
        fetched: PathBuf,
        /// Where the archive is kept once it was checked.
        archive: PathBuf,
        /// What its SHA-256 must be.
        sha256: String,
    },
    /// Runs CMake on the tree that the source turns out to have; the usual command.
    Configure(Vec<String>),
    /// Tries the built program and moves it into the cache.
    Keep,
}

impl Planned {
    pub(super) fn new(title: impl Into<String>, action: Action) -> Self {
        Self {
            title: title.into(),
            action,
        }
    }

    pub(super) fn shown(&self, recipe: &Recipe) -> PlannedStep {
        let commands = match &self.action {
            Action::Run(commands) => commands.iter().map(|command| quoted(command)).collect(),
            Action::Fetch { run: command, .. } | Action::Configure(command) => {
                vec![quoted(command)]
            }
            Action::Keep => {
                vec![quoted(&[shown(&recipe.layout.built()), "--version".into()])]
            }
        };
        PlannedStep {
            title: self.title.clone(),
            commands,
        }
    }
}

/// A command as a shell would take it.
pub(super) fn quoted(command: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_for_a_shell() {
        let words = ["cmake", "-DA=80;90", "it's", ""].map(String::from);
        assert_eq!(quoted(&words), r"cmake '-DA=80;90' 'it'\''s' ''");
    }
}
