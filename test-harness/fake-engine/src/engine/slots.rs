//! Slots and the queue before them.
//!
//! # Invariants
//! - A free slot is given to the first waiter that can use it; nobody overtakes a waiter that could
//!   have used it.
//! - Waiters whose client is gone are skipped and not counted.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::cache::PrefixCache;
use super::hold::SlotHold;
use crate::vocabulary::TokenId;

/// One place for a generation. Numbers are those of the last generation in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) is_busy: bool,
    /// The turn in which it was last taken; 0 for never.
    pub(crate) last_turn: u64,
    pub(crate) request: Option<u64>,
    pub(crate) prompt_tokens: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) decoded: u32,
    pub(crate) max_tokens: u32,
    pub(crate) has_new_line: bool,
    /// The parameters of the generation as the dialect shows them.
    pub(crate) params: Arc<str>,
}

/// Which slot a generation can use.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// This one.
    Only(usize),
    /// The one whose cache fits the prompt best.
    Fitting(Arc<[TokenId]>),
    /// The lowest that is free.
    Any,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) request: u64,
    want: Want,
    pub(crate) grant: oneshot::Sender<SlotHold>,
}

#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    waiters: VecDeque<Waiter>,
    turn: u64,
    high_water: usize,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            slots: vec![Slot::default(); count],
            waiters: VecDeque::new(),
            turn: 0,
            high_water: 0,
        }
    }

    pub(crate) fn all(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> &mut Slot {
        &mut self.slots[slot]
    }

    pub(crate) fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_busy).count()
    }

    pub(crate) fn waiting(&self) -> usize {
        let is_there = |waiter: &&Waiter| !waiter.grant.is_closed();
        self.waiters.iter().filter(is_there).count()
    }

    pub(crate) fn high_water(&self) -> usize {
        self.high_water
    }

    pub(crate) fn wait(&mut self, request: u64, want: Want, grant: oneshot::Sender<SlotHold>) {
        self.waiters.push_back(Waiter {
            request,
            want,
            grant,
        });
    }

    pub(crate) fn free(&mut self, slot: usize) {
        self.slots[slot].is_busy = false;
    }

    /// Takes a slot for the first waiter that can use a free one.
    pub(crate) fn grant_next(&mut self, cache: &PrefixCache) -> Option<(Waiter, usize)> {
        self.waiters.retain(|waiter| !waiter.grant.is_closed());
        let chosen = |(at, waiter): (usize, &Waiter)| Some((at, self.choose(&waiter.want, cache)?));
        let (at, slot) = self.waiters.iter().enumerate().find_map(chosen)?;
        let waiter = self.waiters.remove(at)?;
        self.turn += 1;
        self.slots[slot] = Slot {
            is_busy: true,
            last_turn: self.turn,
            request: Some(waiter.request),
            ..Slot::default()
        };
        self.high_water = self.high_water.max(self.busy());
        Some((waiter, slot))
    }

    fn choose(&self, want: &Want, cache: &PrefixCache) -> Option<usize> {
        let free = || (0..self.slots.len()).filter(|slot| !self.slots[*slot].is_busy);
        match want {
            Want::Only(slot) => free().find(|free| free == slot),
            Want::Any => free().next(),
            Want::Fitting(prompt) => {
                let fit = |slot: &usize| cache.longest_prefix(*slot, prompt);
                // A tenth of the prompt is what llama-server takes for a fit.
                let fits = |slot: &usize| fit(slot) * 10 > prompt.len();
                let best = free().filter(fits).max_by_key(fit);
                let oldest = || free().rev().min_by_key(|slot| self.slots[*slot].last_turn);
                best.or_else(oldest)
            }
        }
    }
}
