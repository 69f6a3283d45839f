//! What counts as an identifier in words for people and in labels.

/// Words longer than this that consist of hex digits only are digests or parts of ids.
const HEX_MAX: usize = 15;

/// An identifier in `text`: a UUID, a digest, or a long run of hex digits.
#[must_use]
pub fn identifier(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = text.split(|c| !is_part(c)).filter(|word| !word.is_empty());
    let mut found = words.filter(|word| is_uuid(word) || is_long_hex(word));
    found.next()
}

fn is_uuid(word: &str) -> bool {
    let lengths: Vec<_> = word.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && word.split('-').all(is_hex)
}

fn is_long_hex(word: &str) -> bool {
    word.split('-')
        .any(|part| part.len() > HEX_MAX && is_hex(part))
}

fn is_hex(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_hexdigit())
}

/// Whether `text` is a sentence for people, as far as a machine can tell.
#[must_use]
pub fn is_sentence(text: &str) -> bool {
    let words = text.split_whitespace().count();
    // A field that is blamed stands in back quotes.
    let begin = text.strip_prefix('`').unwrap_or(text);
    words >= 3 && begin.starts_with(char::is_alphabetic) && !text.contains('\n')
}

#[cfg(test)]
mod tests {
    use super::{identifier, is_sentence};

    // spec: ORCH-3303
    #[test]
    fn identifiers_are_found_among_words() {
        let id = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";
        assert_eq!(identifier(&format!("the task {id} exists")), Some(id));
        let digest = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
        assert_eq!(identifier(digest), digest.strip_prefix("sha256:"));
        assert_eq!(
            identifier("the answer of 12 tokens took 1.5 s on e2e-0, b6123-0c1e570"),
            None
        );
    }

    #[test]
    fn a_sentence_has_words() {
        assert!(is_sentence("a worker takes the task"));
        assert!(is_sentence("`ctx` is too large"));
        assert!(!is_sentence("e2e-0"));
        assert!(!is_sentence("{\"a\": 1, \"b\": 2}"));
    }
}
