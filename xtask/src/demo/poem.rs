//! What the poem must contain.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

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

const TENS: [&str; 6] = ["", "", "twenty", "thirty", "forty", "fifty"];

/// The present minute and a word that nobody can know beforehand.
pub(super) struct Wish {
    pub(super) minute_words: String,
    pub(super) nonce: String,
}

impl Wish {
    pub(super) fn new() -> Self {
        Self {
            minute_words: in_words(minute_now()),
            nonce: nonce(Uuid::new_v4().as_bytes()),
        }
    }

    /// The wording that the small model was trained on.
    pub(super) fn prompt(&self) -> String {
        format!(
            "Write a haiku (3 lines). Include this exact English minute phrase: \"{}\". \
             Also include this nonce verbatim: \"{}\". Output only the poem.",
            self.minute_words, self.nonce
        )
    }

    /// Whether the poem is one, and made for this wish.
    pub(super) fn check(&self, poem: &str) -> anyhow::Result<()> {
        let lines = poem.lines().filter(|line| !line.trim().is_empty()).count();
        anyhow::ensure!(lines >= 3, "the poem has {lines} lines instead of 3");
        for wanted in [&self.minute_words, &self.nonce] {
            anyhow::ensure!(
                poem.contains(wanted.as_str()),
                "the poem lacks \"{wanted}\""
            );
        }
        Ok(())
    }
}

/// The minute of the hour in Amsterdam. Its offset from UTC is one or two whole hours, so UTC's
/// minute is the same, and no time zone data is needed.
fn minute_now() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_1970.as_secs() / 60 % 60
}

fn in_words(minute: u64) -> String {
    let at = |words: &[&'static str], index: u64| {
        usize::try_from(index)
            .ok()
            .and_then(|index| words.get(index).copied())
            .unwrap_or_default()
    };
    match (minute / 10, minute % 10) {
        (0 | 1, _) => at(&ONES, minute).into(),
        (tens, 0) => at(&TENS, tens).into(),
        (tens, ones) => format!("{}-{}", at(&TENS, tens), at(&ONES, ones)),
    }
}

fn nonce(random: &[u8; 16]) -> String {
    // The last bytes of a random UUID are all random.
    random[8..]
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_said_in_english() {
        let said = [0, 7, 10, 13, 20, 21, 45, 59].map(in_words);
        let expected = [
            "zero",
            "seven",
            "ten",
            "thirteen",
            "twenty",
            "twenty-one",
            "forty-five",
            "fifty-nine",
        ];
        assert_eq!(said, expected);
        assert!(minute_now() < 60);
    }

    #[test]
    fn the_prompt_is_the_one_of_the_model_card() {
        let wish = Wish {
            minute_words: "fifty-nine".into(),
            nonce: "K7Q2MZXA".into(),
        };
        let card = std::fs::read_to_string("../test-harness/tiny-model/README.md").unwrap();
        assert!(
            card.contains(&format!("    {}\n", wish.prompt())),
            "{}",
            wish.prompt()
        );
    }

    #[test]
    fn a_poem_needs_three_lines_the_minute_and_the_nonce() {
        let wish = Wish {
            minute_words: "ten".into(),
            nonce: "AB".into(),
        };
        assert!(wish.check("It is ten\nAB\n\nnight\n").is_ok());
        for poem in ["ten AB\nx\n\n", "ten\nx\ny", "AB\nx\ny", ""] {
            assert!(wish.check(poem).is_err(), "{poem}");
        }
    }

    #[test]
    fn a_nonce_is_eight_of_its_alphabet() {
        let random = Uuid::from_u128(0x001f_1aff_2001_4063);
        assert_eq!(nonce(random.as_bytes()), "A727ABAD");
    }
}
