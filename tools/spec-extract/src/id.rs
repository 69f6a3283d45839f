//! The name of one requirement, such as `OC-CORE-1001`.

use std::fmt;

/// Upper-case words, then three or four digits, joined by hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequirementId(String);

impl RequirementId {
    /// The id in `text`, if `text` is one and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (words, number) = text.rsplit_once('-')?;
        let is_number = matches!(number.len(), 3 | 4) && number.bytes().all(|b| b.is_ascii_digit());
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
        (is_number && words.split('-').all(is_word)).then(|| Self(text.to_owned()))
    }

    /// The id as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The words before the number: `OC-CORE`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.0.rsplit_once('-').expect("parse found a hyphen").0
    }

    /// The digits: `1001`.
    #[must_use]
    pub fn number(&self) -> &str {
        self.0.rsplit_once('-').expect("parse found a hyphen").1
    }
}

impl fmt::Display for RequirementId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RequirementId;

    #[test]
    fn only_words_and_a_number_are_an_id() {
        for good in ["ORCH-2001", "OC-POLICY-SDK-4101", "HME-001"] {
            assert!(RequirementId::parse(good).is_some(), "{good}");
        }
        for bad in [
            "ORCH2001",
            "ORCH-20",
            "ORCH-20011",
            "orch-2001",
            "-2001",
            "OC--2001",
            "ORCH-200x",
        ] {
            assert!(RequirementId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_id_has_a_family_and_a_number() {
        let id = RequirementId::parse("OC-POLICY-SDK-4101").unwrap();
        assert_eq!((id.family(), id.number()), ("OC-POLICY-SDK", "4101"));
    }
}
