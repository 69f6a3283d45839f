//! What the script has in store for one generation.

use std::time::Duration;

use crate::script::fault::{At, Fault, FaultRule};

/// Where a fault with a place happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the frame of this token.
    Token(u32),
    /// Before this byte of the answer.
    Byte(u64),
    /// Before this byte behind the head.
    BodyByte(u64),
}

/// All faults of one generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Faults with a place, in the script's order.
    pub(crate) placed: Vec<(Place, Fault)>,
    /// The refusal that comes instead of an answer.
    pub(crate) instead: Option<Fault>,
    /// What is wrong with the end.
    pub(crate) ending: Option<Fault>,
    /// Prompt and answer tokens as reported.
    pub(crate) usage: Option<(u32, u32)>,
    pub(crate) extra_tokens: u32,
    pub(crate) no_tokens: bool,
    pub(crate) hold_after_leave: Option<Duration>,
}

impl Plan {
    pub(crate) fn of(rules: &[FaultRule], index: u64, prompt: &str) -> Self {
        let mut plan = Self::default();
        for rule in rules.iter().filter(|rule| rule.befalls(index, prompt)) {
            plan.add(rule);
        }
        plan
    }

    fn add(&mut self, rule: &FaultRule) {
        match &rule.fault {
            fault if fault.has_place() => self.placed.push((place(rule.at), fault.clone())),
            Fault::WrongUsage {
                prompt_tokens,
                completion_tokens,
            } => self.usage = Some((*prompt_tokens, *completion_tokens)),
            Fault::ExtraTokens { tokens } => self.extra_tokens = *tokens,
            Fault::NoTokens => self.no_tokens = true,
            Fault::IgnoreAbort { ms } => self.hold_after_leave = Some(Duration::from_millis(*ms)),
            fault @ (Fault::Overloaded | Fault::ServerError { .. } | Fault::Html) => {
                self.instead = Some(fault.clone());
            }
            ending => self.ending = Some(ending.clone()),
        }
    }

    /// Whether there is nothing for the log to say beyond the faults with a place.
    pub(crate) fn unplaced(&self) -> Vec<Fault> {
        let usage = self
            .usage
            .map(|(prompt_tokens, completion_tokens)| Fault::WrongUsage {
                prompt_tokens,
                completion_tokens,
            });
        let extra = (self.extra_tokens > 0).then_some(Fault::ExtraTokens {
            tokens: self.extra_tokens,
        });
        let none = self.no_tokens.then_some(Fault::NoTokens);
        [
            self.instead.clone(),
            self.ending.clone(),
            usage,
            extra,
            none,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn place(at: At) -> Place {
    match at {
        At {
            byte: Some(byte), ..
        } => Place::Byte(byte),
        At {
            body_byte: Some(byte),
            ..
        } => Place::BodyByte(byte),
        At { token, .. } => Place::Token(token.unwrap_or(0)),
    }
}
