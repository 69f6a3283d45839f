//! What a poem must contain so that nobody can have recorded it: the present minute and a nonce.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the minute is read off the clock.
pub const TIME_ZONE: &str = "Europe/Amsterdam";

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 4] = ["twenty", "thirty", "forty", "fifty"];

/// A minute in words, and a word that nobody knew before.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The minute.
    pub minute: String,
    /// Eight characters of `A-Z2-7`.
    pub nonce: String,
}

impl Wish {
    /// The minute of now, and a fresh nonce.
    ///
    /// # Panics
    /// When the system's `date` does not tell the minute.
    #[must_use]
    pub fn of_now() -> Self {
        let mut date = Command::new("date");
        let output = date.arg("+%M").env("TZ", TIME_ZONE).output();
        let text = String::from_utf8(output.expect("date can be started").stdout);
        let minute = text.expect("UTF-8").trim().parse().expect("a minute");
        let alphabet: Vec<char> = ('A'..='Z').chain('2'..='7').collect();
        // The last bytes of a random UUID are all random.
        let random = uuid::Uuid::new_v4().into_bytes();
        let nonce = random[8..]
            .iter()
            .map(|byte| alphabet[usize::from(byte % 32)]);
        Self {
            minute: in_words(minute),
            nonce: nonce.collect(),
        }
    }

    /// The wording that the small model was trained on.
    #[must_use]
    pub fn prompt(&self) -> String {
        format!(
            "Write a haiku (3 lines). Include this exact English minute phrase: \"{}\". Also \
             include this nonce verbatim: \"{}\". Output only the poem.",
            self.minute, self.nonce
        )
    }

    /// What is wrong with the poem.
    #[must_use]
    pub fn faults_of(&self, poem: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for wanted in [&self.minute, &self.nonce] {
            if !poem.contains(wanted.as_str()) {
                faults.push(format!("the poem lacks {wanted}: {poem}"));
            }
        }
        let lines = poem.lines().filter(|line| !line.trim().is_empty()).count();
        if lines < 3 {
            faults.push(format!("the poem has {lines} lines instead of 3: {poem}"));
        }
        faults
    }

    /// The lines below `folder` that hold both the minute and the nonce, as `file:line`. A fixture
    /// that was made for this wish would be one.
    #[must_use]
    pub fn lines_with_both(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in files_below(folder) {
            let bytes = fs::read(&path).unwrap_or_default();
            for (line, number) in String::from_utf8_lossy(&bytes).lines().zip(1..) {
                if line.contains(&self.minute) && line.contains(&self.nonce) {
                    found.push(format!("{}:{number}", path.display()));
                }
            }
        }
        found
    }
}

/// Every file of a checkout. What builds and git keep to themselves is not the repository's text.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_file() {
            files.push(path);
        } else if kind.is_dir()
            && !["target", ".git"]
                .map(Into::into)
                .contains(&entry.file_name())
        {
            files.extend(files_below(&path));
        }
    }
    files
}

fn in_words(minute: usize) -> String {
    match (minute / 10, minute % 10) {
        (0 | 1, _) => ONES[minute].to_owned(),
        (tens, 0) => TENS[tens - 2].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens - 2], ONES[ones]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish {
            minute: "forty-two".into(),
            nonce: "K7Q2MZXA".into(),
        }
    }

    #[test]
    fn minutes_are_said_in_english() {
        let said = [0, 7, 10, 19, 20, 21, 45, 59].map(in_words);
        let expected = "zero seven ten nineteen twenty twenty-one forty-five fifty-nine";
        assert_eq!(said.join(" "), expected);
    }

    // spec: OC-TEST-7331
    #[test]
    fn every_wish_is_new_and_of_the_alphabet() {
        let (one, other) = (Wish::of_now(), Wish::of_now());
        assert_ne!(one.nonce, other.nonce);
        let of_alphabet = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
        assert!(
            one.nonce.len() == 8 && one.nonce.chars().all(of_alphabet),
            "{}",
            one.nonce
        );
        assert!(one.prompt().contains(&one.minute) && one.prompt().contains(&one.nonce));
    }

    #[test]
    fn a_poem_needs_three_lines_the_minute_and_the_nonce() {
        assert!(
            wish()
                .faults_of("It is forty-two\nnight\n\nK7Q2MZXA\n")
                .is_empty()
        );
        for (poem, faults) in [
            ("forty-two K7Q2MZXA\nx\n\n", 1),
            ("forty-two\nx\ny", 1),
            ("K7Q2MZXA\nx\ny", 1),
            ("", 3),
        ] {
            assert_eq!(wish().faults_of(poem).len(), faults, "{poem}");
        }
    }

    #[test]
    fn a_line_that_was_made_for_the_wish_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let inner = dir.path().join("fixtures");
        fs::create_dir(&inner).expect("a folder");
        let wish = wish();
        fs::write(
            inner.join("a"),
            format!("x\n{} {}\n", wish.nonce, wish.minute),
        )
        .expect("a");
        fs::write(
            inner.join("b"),
            format!("{}\n{}\n", wish.nonce, wish.minute),
        )
        .expect("b");
        let found = wish.lines_with_both(dir.path());
        assert_eq!(found, [format!("{}:2", inner.join("a").display())]);
    }
}
