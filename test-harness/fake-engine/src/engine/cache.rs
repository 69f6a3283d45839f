//! The prefix cache: token sequences of the past, bounded, the least recently used forgotten first.
//!
//! llama.cpp has one sequence per slot; the other engines share theirs, in blocks.

use crate::vocabulary::TokenId;

/// The size of vLLM's cache blocks: only whole ones are found again.
const BLOCK: usize = 16;

#[derive(Debug)]
struct Sequence {
    slot: usize,
    tokens: Vec<TokenId>,
}

#[derive(Debug)]
pub(crate) struct PrefixCache {
    bound: usize,
    is_per_slot: bool,
    /// From the least to the most recently used.
    sequences: Vec<Sequence>,
}

impl PrefixCache {
    pub(crate) fn new(bound: usize, is_per_slot: bool) -> Self {
        Self {
            bound,
            is_per_slot,
            sequences: Vec::new(),
        }
    }

    /// How many tokens of `prompt` need not be computed again. At least one always is: the engines
    /// need its output.
    pub(crate) fn longest_prefix(&self, slot: usize, prompt: &[TokenId]) -> usize {
        let common = |sequence: &Sequence| {
            let pairs = sequence.tokens.iter().zip(prompt);
            pairs.take_while(|(one, other)| one == other).count()
        };
        let reachable = |sequence: &&Sequence| !self.is_per_slot || sequence.slot == slot;
        let longest = self.sequences.iter().filter(reachable).map(common).max();
        let usable = longest.unwrap_or(0).min(prompt.len().saturating_sub(1));
        if self.is_per_slot {
            usable
        } else {
            usable / BLOCK * BLOCK
        }
    }

    /// Keeps a sequence, as far as the bound allows.
    pub(crate) fn keep(&mut self, slot: usize, mut tokens: Vec<TokenId>) {
        if self.is_per_slot {
            self.erase(slot);
        }
        tokens.truncate(self.bound);
        if tokens.is_empty() {
            return;
        }
        self.sequences.push(Sequence { slot, tokens });
        while self.len() > self.bound {
            self.sequences.remove(0);
        }
    }

    /// Forgets what belongs to a slot.
    pub(crate) fn erase(&mut self, slot: usize) -> usize {
        let held = self.held_by(slot);
        self.sequences.retain(|sequence| sequence.slot != slot);
        held
    }

    pub(crate) fn held_by(&self, slot: usize) -> usize {
        let of_slot = self
            .sequences
            .iter()
            .filter(|sequence| sequence.slot == slot);
        of_slot.map(|sequence| sequence.tokens.len()).sum()
    }

    fn len(&self) -> usize {
        self.sequences
            .iter()
            .map(|sequence| sequence.tokens.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_sequence_is_found_again_but_for_its_last_token() {
        let mut cache = PrefixCache::new(100, true);
        cache.keep(1, vec![1, 2, 3, 4, 5]);
        assert_eq!(cache.longest_prefix(1, &[1, 2, 3, 9]), 3);
        assert_eq!(cache.longest_prefix(1, &[1, 2, 3]), 2);
        assert_eq!(cache.longest_prefix(0, &[1, 2, 3]), 0);
        assert_eq!(cache.erase(1), 5);
        assert_eq!(cache.longest_prefix(1, &[1, 2, 3]), 0);
    }

    #[test]
    fn a_shared_cache_finds_whole_blocks_and_never_holds_more_than_its_bound() {
        let mut cache = PrefixCache::new(64, false);
        let tokens = |first: u32| (first..first + 40).collect::<Vec<_>>();
        cache.keep(0, tokens(0));
        assert_eq!(cache.longest_prefix(3, &tokens(0)), 32);
        cache.keep(1, tokens(100));
        assert_eq!(
            cache.longest_prefix(3, &tokens(0)),
            0,
            "the older one is forgotten"
        );
        assert_eq!(cache.longest_prefix(3, &tokens(100)), 32);
        assert!(cache.len() <= 64);
    }
}
