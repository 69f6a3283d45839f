//! What the engine says: a pure function of script, prompt, seed and temperature.
//!
//! # Invariants
//! - Equal (prompt, seed, temperature) give equal tokens, on every dialect and in every process.
//! - Temperature 0 ignores the seed.
//! - Without scripted answers the text is well-formed UTF-8; its multi-byte characters are spread
//!   over one token per byte, so that a token alone can be half a character.
//!
//! Not here: how a dialect shows tokens that are no whole text (`flow`).

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::flow::{Flow, Incomplete};
use crate::script::text::{Piece, TextScript};
use crate::vocabulary::{self, EOS, TokenId};

/// The characters of more than one byte that texts have.
const WIDE: [&str; 8] = ["é", "ß", "Ω", "→", "日", "語", "🦙", "🎈"];

/// The first of the tokens that texts are made of: those before are single bytes.
const FIRST_WORD: TokenId = vocabulary::SIZE - 253;

/// One token of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: TokenId,
    /// What it stands for; nothing for a special.
    pub bytes: Cow<'static, [u8]>,
}

impl Token {
    fn of(id: TokenId) -> Self {
        Self {
            id,
            bytes: Cow::Borrowed(vocabulary::piece(id)),
        }
    }

    /// The token that ends an answer.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.id == EOS
    }

    fn of_piece(piece: &Piece) -> Self {
        match piece {
            Piece::Id(id) => Self::of(*id),
            Piece::Text(text) => Self {
                id: vocabulary::id_of(text.as_bytes()).unwrap_or(vocabulary::UNKNOWN),
                bytes: Cow::Owned(text.clone().into_bytes()),
            },
        }
    }
}

/// What an answer depends on.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The prompt, without specials.
    pub prompt: &'a str,
    /// The seed.
    pub seed: u64,
    /// The temperature; 0 ignores the seed.
    pub temperature: f64,
}

impl Ask<'_> {
    /// FNV-1a over the prompt, then the numbers mixed in: the same in every process and version.
    fn state(&self) -> u64 {
        let hash = self.prompt.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        let (seed, temperature) = if self.temperature > 0.0 {
            (self.seed, self.temperature.to_bits())
        } else {
            (0, 0)
        };
        mixed(mixed(hash ^ mixed(seed)) ^ temperature)
    }
}

/// `splitmix64`'s output function.
pub(crate) fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The tokens of one answer; endless unless the script ends them.
#[derive(Debug)]
pub struct Tokens {
    state: u64,
    queued: VecDeque<Token>,
    given: u32,
    eos_after: Option<u32>,
    multibyte_every: u64,
}

impl Tokens {
    /// The answer to `ask`.
    #[must_use]
    pub fn new(script: &TextScript, ask: &Ask<'_>) -> Self {
        let answer = script.answers.iter().find(|it| it.prompt == ask.prompt);
        let mut queued: VecDeque<Token> = VecDeque::new();
        if let Some(answer) = answer {
            queued.extend(answer.pieces.iter().map(Token::of_piece));
            queued.push_back(Token::of(EOS));
        }
        Self {
            state: ask.state(),
            queued,
            given: 0,
            eos_after: script.eos_after,
            multibyte_every: u64::from(script.multibyte_every),
        }
    }

    fn queue_more(&mut self) {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let choice = mixed(self.state);
        if self.multibyte_every > 0 && choice.is_multiple_of(self.multibyte_every) {
            let wide = WIDE[(choice >> 32) as usize % WIDE.len()];
            self.queued
                .extend(vocabulary::byte_tokens(wide.as_bytes()).map(Token::of));
        } else {
            let words = u64::from(vocabulary::SIZE - FIRST_WORD);
            let id = FIRST_WORD + ((choice >> 32) % words) as TokenId;
            self.queued.push_back(Token::of(id));
        }
    }
}

impl Iterator for Tokens {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        if self.eos_after == Some(self.given) {
            self.given += 1;
            return Some(Token::of(EOS));
        }
        if self.queued.is_empty() {
            self.queue_more();
        }
        self.given += 1;
        self.queued.pop_front()
    }
}

/// The text that a client sees of the first `tokens` tokens of an answer, whatever the dialect
/// (TGI's llama.cpp backend, which cuts characters, apart).
#[must_use]
pub fn expected(script: &TextScript, ask: &Ask<'_>, tokens: u32) -> String {
    let mut flow = Flow::new(Incomplete::Held, Vec::new());
    let answer = Tokens::new(script, ask).take(tokens as usize);
    for token in answer.take_while(|token| !token.is_end()) {
        flow.push(&token);
    }
    flow.finish();
    flow.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(seed: u64, temperature: f64) -> String {
        let ask = Ask {
            prompt: "p",
            seed,
            temperature,
        };
        expected(&TextScript::default(), &ask, 64)
    }

    // spec: OC-TEST-7302
    #[test]
    fn equal_seeds_give_equal_bytes_and_others_differ() {
        assert_eq!(said(7, 0.8), said(7, 0.8));
        assert_ne!(said(7, 0.8), said(8, 0.8));
        assert_ne!(said(7, 0.8), said(7, 0.9));
    }

    // spec: OC-TEST-7302
    #[test]
    fn temperature_zero_ignores_the_seed() {
        assert_eq!(said(1, 0.0), said(2, 0.0));
        assert_ne!(said(1, 0.0), said(1, 0.8));
    }

    #[test]
    fn texts_are_whole_characters_and_some_are_wide() {
        let text = said(3, 1.0);
        assert!(!text.contains('\u{fffd}'), "{text}");
        assert!(!text.is_ascii(), "{text}");
    }

    #[test]
    fn a_scripted_answer_is_given_and_then_ends() {
        let script = TextScript {
            answers: vec![crate::script::text::ScriptedAnswer {
                prompt: "p".into(),
                pieces: vec![Piece::Text("gé".into()), Piece::Id(285)],
            }],
            ..TextScript::default()
        };
        let ask = Ask {
            prompt: "p",
            seed: 0,
            temperature: 1.0,
        };
        assert_eq!(expected(&script, &ask, 99), "géing");
        assert_eq!(
            Tokens::new(&script, &ask).take(3).last().map(|it| it.id),
            Some(EOS)
        );
    }
}
