//! What answers say.

use serde::{Deserialize, Serialize};

use crate::vocabulary::TokenId;

/// Where the text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextScript {
    /// One choice in so many is a character of more than one byte; 0 for none.
    pub multibyte_every: u32,
    /// After how many tokens the end token comes, unless a request ignores it.
    pub eos_after: Option<u32>,
    /// Answers that are given word for word.
    pub answers: Vec<ScriptedAnswer>,
}

impl Default for TextScript {
    fn default() -> Self {
        Self {
            multibyte_every: 8,
            eos_after: None,
            answers: Vec::new(),
        }
    }
}

/// The answer to one prompt, whatever the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnswer {
    /// The whole prompt.
    pub prompt: String,
    /// The tokens of the answer, the end token behind them not counted.
    pub pieces: Vec<Piece>,
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    /// By its number in the vocabulary: the only way to say half a character.
    Id(TokenId),
    /// By its text, in the vocabulary or not.
    Text(String),
}
