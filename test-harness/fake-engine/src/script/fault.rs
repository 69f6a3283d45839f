//! What goes wrong, when and where.

use serde::{Deserialize, Serialize};

/// One fault and the requests it befalls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which requests; all when absent.
    #[serde(default)]
    pub when: When,
    /// Where in the answer; before the first token when absent.
    #[serde(default)]
    pub at: At,
    /// What happens.
    pub fault: Fault,
}

/// Which generations. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The index of the generation, from 0, in the order of arrival.
    pub request: Option<u64>,
    /// Every generation whose index divides by it.
    pub every: Option<u64>,
    /// Generations whose prompt has this marker in it.
    pub prompt: Option<String>,
}

/// Where in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct At {
    /// Behind the frame of this token; 0 is behind the head.
    pub token: Option<u32>,
    /// Before this byte of the answer on the wire, its head included.
    pub byte: Option<u64>,
    /// Before this byte behind the head, chunk sizes included.
    pub body_byte: Option<u64>,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The process dies by SIGKILL.
    Kill,
    /// The process exits.
    Exit {
        /// With this code.
        code: u8,
    },
    /// Nothing more comes.
    Stall {
        /// For so long; for good when absent.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// The connection is closed in order, without the end of the answer.
    Fin,
    /// The connection is reset.
    Rst,
    /// Bytes that do not belong there, and then the stream goes on. Only streams have it.
    Garbage(Garbage),
    /// The engine's own error, in mid-stream of a 200.
    ErrorFrame {
        /// In these words.
        message: String,
    },
    /// The error of one request befalls all that run.
    BatchFailure {
        /// In these words.
        message: String,
    },
    /// The computing part behind the server dies, with all that this means for this engine.
    EngineDeath,
    /// The stream ends in order, without any sign of success.
    EndHere,
    /// The last frames come late.
    LateEnd {
        /// By so much.
        ms: u64,
    },
    /// The last frames do not come.
    MissingEnd,
    /// The last frames come twice.
    DoubleEnd,
    /// Tokens come behind the last frames.
    TokensAfterEnd {
        /// So many.
        tokens: u32,
    },
    /// Instead of the last frames there is only `data: [DONE]`.
    DoneOnly,
    /// Usage is reported wrongly.
    WrongUsage {
        /// Instead of the prompt's tokens.
        prompt_tokens: u32,
        /// Instead of the answer's tokens.
        completion_tokens: u32,
    },
    /// More tokens than were asked for.
    ExtraTokens {
        /// So many more.
        tokens: u32,
    },
    /// Success without any token.
    NoTokens,
    /// A client that leaves is ignored.
    IgnoreAbort {
        /// The slot is kept for so long after it left.
        ms: u64,
    },
    /// The engine's answer when it is overloaded, however idle it is.
    Overloaded,
    /// The engine's answer to an error of its own, before any token.
    ServerError {
        /// In these words.
        message: String,
    },
    /// 200 with a page of HTML, as a proxy in front might say it.
    Html,
}

/// Bytes that do not belong into a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Garbage {
    /// A frame whose data is no JSON.
    InvalidJson,
    /// A frame with bytes in its text that are no UTF-8.
    InvalidUtf8,
    /// A frame whose one line is very long.
    LongLine {
        /// In bytes.
        bytes: usize,
    },
    /// The first half of a frame, and the next frame right behind it.
    HalfFrame,
    /// A frame with no data.
    EmptyData,
    /// An event of an unknown name.
    UnknownEvent,
    /// A comment.
    Comment,
    /// A byte order mark in mid-stream.
    Bom,
    /// A frame of somebody else's answer.
    ForeignFrame,
    /// A chunk that is shorter than it says.
    ChunkSizeLie,
    /// A chunk size that is no number.
    ChunkSizeGarbage,
}

impl FaultRule {
    /// What is wrong with the rule.
    pub(crate) fn check(&self) -> Result<(), String> {
        let At {
            token,
            byte,
            body_byte,
        } = self.at;
        let places = [token.is_some(), byte.is_some(), body_byte.is_some()];
        match places.iter().filter(|given| **given).count() {
            0 => {}
            1 if !self.fault.has_place() => {
                return Err("has an `at`, but its fault has no place in the answer".into());
            }
            1 if token.is_none() && !self.fault.fits_a_byte() => {
                return Err(
                    "is at a byte, where only kill, exit, stall, fin and rst can be".into(),
                );
            }
            1 => {}
            _ => return Err("has an `at` with more than one of token, byte and body_byte".into()),
        }
        if self.when.every == Some(0) {
            return Err("has `every: 0`; use 1 for every request".into());
        }
        Ok(())
    }

    /// Whether the rule befalls this generation.
    #[must_use]
    pub fn befalls(&self, index: u64, prompt: &str) -> bool {
        let When {
            request,
            every,
            prompt: marker,
        } = &self.when;
        request.is_none_or(|request| request == index)
            && every.is_none_or(|every| index.is_multiple_of(every))
            && marker
                .as_ref()
                .is_none_or(|marker| prompt.contains(marker.as_str()))
    }
}

impl Fault {
    /// Whether it can happen between any two bytes.
    pub(crate) fn fits_a_byte(&self) -> bool {
        matches!(
            self,
            Self::Kill | Self::Exit { .. } | Self::Stall { .. } | Self::Fin | Self::Rst
        )
    }

    /// Whether it happens at one place of the answer.
    pub(crate) fn has_place(&self) -> bool {
        self.fits_a_byte()
            || matches!(
                self,
                Self::Garbage(_)
                    | Self::ErrorFrame { .. }
                    | Self::BatchFailure { .. }
                    | Self::EngineDeath
                    | Self::EndHere
            )
    }
}
