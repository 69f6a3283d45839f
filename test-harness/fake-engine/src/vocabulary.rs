//! The tokens of the tiny model that the real engines served when they were recorded.
//!
//! 512 entries: three specials, one per byte, and 253 merges. Token counts, token ids and the
//! places where a character is cut in two are therefore those of the recordings.
//!
//! Not here: which tokens an answer has (`text`).

use std::collections::HashMap;
use std::sync::LazyLock;

/// The number of a vocabulary entry.
pub type TokenId = u32;

/// The begin-of-text token, which vLLM and TGI put in front of a prompt.
pub const BOS: TokenId = 0;
/// The end-of-text token.
pub const EOS: TokenId = 1;
/// The token that stands for a scripted piece which the vocabulary does not have.
pub const UNKNOWN: TokenId = 2;

const FIRST_BYTE: TokenId = 3;
const FIRST_MERGE: TokenId = FIRST_BYTE + 256;

/// The number of entries.
pub const SIZE: TokenId = FIRST_MERGE + MERGES.len() as TokenId;

/// The merges by rank: the earlier one is applied first.
#[rustfmt::skip]
const MERGES: [&str; 253] = [
    " t", " a", "er", " th", "or", "on", "in", "en", " c", "re", " the", "at", " o", "  ", "se",
    "ic", " w", "ou", " p", "ion", "is", " of", "ed", "it", "ro", " to", "ing", " s", " f", " m",
    " co", " an", "an", "al", " in", "you", "es", " or", " you", "ent", "ct", "ar", "icen", "ork",
    "icense", " n", " u", " d", " re", "ce", "ri", "th", "ve", "ver", " work", " b", " L", " l",
    " pro", "ly", " con", "   ", " that", "if", "bl", " and", "erm", " for", "am", "ot", " P", "gr",
    "st", " e", " T", " this", "ation", "sion", " License", "ut", " is", "de", " cop", " it", "ith",
    "der", "gh", " not", " ma", " A", "gram", " un", "ght", " I", "il", "right", " copy", "    ",
    " wh", " with", " any", "ther", "ect", " C", "our", "vey", "im", "ble", "od", " G", " S", " on",
    "om", " as", "art", " under", "ource", "ch", "ow", "pp", " h", "vered", "ll", " (", "ate",
    "ant", "odif", "res", " ex", "ies", " \"", " su", "tw", " ver", " term", " use", " be", " by",
    " Th", "able", "vi", " covered", " Pro", "ding", "ment", " part", " so", " convey", " version",
    "cl", "ubl", "ction", " license", "du", "qu", "ter", " other", " code", " do", "are", "for",
    "ir", "pon", " your", "ge", "ive", " F", " O", "ition", "ans", " may", "but", "fer", "ose",
    " are", "atent", "rom", "ire", "le", "tri", " se", " app", "dition", "ftw", "ied", " perm",
    " from", " modif", "ess", " terms", "ublic", "tribut", "ftware", "iv", "ial", "su", "ur", "ree",
    "ol", "ser", " me", " Program", "clu", "duct", "ec", "ke", "pt", " ac", "ener", " If",
    " Source", "HE", " Y", " all", "orres", " ne", " program", "ponding", "orresponding", "bj",
    "ded", "ission", " com", " copyright", " ha", "eneral", "bject", "ich", "ical", " patent",
    " dis", "        ", " The", "IT", "ay", "ain", "un", " object", " inter", "the", " which",
    " Corresponding", "quire", "NU", "ig", "op", " 1", " W", " g", " if", "ater", "all", "ag",
];

/// The bytes by token: printable ones first, then the rest, as byte-level vocabularies number them.
const BYTES: [u8; 256] = byte_order();

static RANKS: LazyLock<HashMap<&'static [u8], TokenId>> =
    LazyLock::new(|| (FIRST_BYTE..SIZE).map(|id| (piece(id), id)).collect());

/// What a token stands for. Specials and unknown numbers stand for nothing.
#[must_use]
pub fn piece(id: TokenId) -> &'static [u8] {
    if id >= FIRST_MERGE {
        let merge = MERGES.get((id - FIRST_MERGE) as usize);
        return merge.map_or(&[], |text| text.as_bytes());
    }
    match id.checked_sub(FIRST_BYTE) {
        Some(index) => &BYTES[index as usize..=index as usize],
        None => &[],
    }
}

/// The token of exactly these bytes.
#[must_use]
pub fn id_of(bytes: &[u8]) -> Option<TokenId> {
    RANKS.get(bytes).copied()
}

/// The tokens of `bytes`, each on its own.
pub(crate) fn byte_tokens(bytes: &[u8]) -> impl Iterator<Item = TokenId> {
    bytes
        .iter()
        .map(|byte| id_of(&[*byte]).expect("every byte has a token"))
}

/// The bytes that `tokens` stand for.
#[must_use]
pub fn detokenize(tokens: &[TokenId]) -> Vec<u8> {
    tokens.iter().flat_map(|id| piece(*id)).copied().collect()
}

/// The tokens of `text`, without a begin-of-text token.
#[must_use]
pub fn tokenize(text: &str) -> Vec<TokenId> {
    let mut tokens = Vec::with_capacity(text.len() / 2);
    let mut rest = text;
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(word_len(rest));
        merge(word.as_bytes(), &mut tokens);
        rest = tail;
    }
    tokens
}

/// The longest stretch in which merges are searched, so that one long word costs no square of its
/// length.
const WORD_BYTES_MAX: usize = 64;

#[derive(PartialEq, Eq, Clone, Copy)]
enum Class {
    Letter,
    Digit,
    Space,
    Other,
}

fn class(character: char) -> Class {
    match character {
        c if c.is_alphabetic() => Class::Letter,
        c if c.is_numeric() => Class::Digit,
        c if c.is_whitespace() => Class::Space,
        _ => Class::Other,
    }
}

/// The length of the first word: a run of one class, with one space in front if there is one. The
/// last space of a run belongs to the word behind it.
fn word_len(text: &str) -> usize {
    let space = usize::from(text.starts_with(' '));
    let (body, run) = match text[space..].chars().next().map(class) {
        Some(run) if run != Class::Space => (space, run),
        _ => (0, Class::Space),
    };
    let is_outside =
        |(at, character): &(usize, char)| class(*character) != run || *at >= WORD_BYTES_MAX;
    let end = text[body..].char_indices().find(is_outside);
    let Some((run_len, outside)) = end else {
        return text.len();
    };
    let end = body + run_len;
    let last = text[..end]
        .char_indices()
        .next_back()
        .map_or(0, |(at, _)| at);
    if run == Class::Space && class(outside) != Class::Space && last > 0 {
        last
    } else {
        end
    }
}

/// Joins neighbours by rank until nothing joins any more.
fn merge(word: &[u8], tokens: &mut Vec<TokenId>) {
    let mut cuts: Vec<usize> = (0..=word.len()).collect();
    loop {
        let ranks = (0..cuts.len().saturating_sub(2))
            .filter_map(|at| Some((id_of(&word[cuts[at]..cuts[at + 2]])?, at)));
        let Some((_, at)) = ranks.min() else { break };
        cuts.remove(at + 1);
    }
    let pieces = cuts.windows(2).map(|ends| &word[ends[0]..ends[1]]);
    tokens.extend(pieces.map(|piece| id_of(piece).expect("only known pieces are joined")));
}

const fn byte_order() -> [u8; 256] {
    let mut order = [0; 256];
    let (mut printable, mut rest) = (0, 188);
    let mut byte = 0;
    while byte < 256 {
        if matches!(byte, 33..=126 | 161..=172 | 174..=255) {
            order[printable] = byte as u8;
            printable += 1;
        } else {
            order[rest] = byte as u8;
            rest += 1;
        }
        byte += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back_from_its_tokens(text in any::<String>(), words in "[ a-c\\n]{0,200}") {
            prop_assert_eq!(detokenize(&tokenize(&text)), text.as_bytes());
            prop_assert_eq!(detokenize(&tokenize(&words)), words.as_bytes());
        }
    }

    // spec: OC-TEST-7302
    #[test]
    fn prompts_have_the_tokens_that_the_real_tokenizers_gave() {
        assert_eq!(tokenize("hello world"), [74, 71, 381, 81, 275, 263, 78, 70]);
        assert_eq!(tokenize("x"), [90]);
        assert_eq!(tokenize(&"hello ".repeat(700)).len(), 2801);
        assert_eq!(detokenize(&[74, 71, 381]), b"hell");
    }

    #[test]
    fn every_text_comes_back_from_its_tokens() {
        for text in [
            "",
            " ",
            "  a   b ",
            "\n\n x\t1 2",
            "é日🦙 license's",
            &"a".repeat(500),
        ] {
            assert_eq!(detokenize(&tokenize(text)), text.as_bytes(), "{text:?}");
        }
    }
}
