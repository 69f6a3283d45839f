//! Taking a slot, holding it, and leaving it to the next.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::slots::Want;
use super::{Engine, State};
use crate::log::Event;

/// A slot in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct SlotHold {
    engine: Arc<Engine>,
    pub(crate) request: u64,
    pub(crate) slot: usize,
    /// Tokens computed so far.
    pub(crate) tokens: u32,
}

impl Drop for SlotHold {
    fn drop(&mut self) {
        let engine = Arc::clone(&self.engine);
        engine.free(self);
    }
}

impl Engine {
    /// Waits for a slot. Dropping the wait gives up the place in the queue.
    pub(crate) async fn acquire(self: &Arc<Self>, request: u64, want: Want) -> SlotHold {
        let (grant, granted) = oneshot::channel();
        self.state().slots.wait(request, want, grant);
        self.grant_free_slots();
        granted
            .await
            .expect("a waiter is only forgotten once its wait was dropped")
    }

    fn grant_free_slots(self: &Arc<Self>) {
        let granted = {
            let mut state = self.state();
            let State { slots, cache, .. } = &mut *state;
            let mut granted = Vec::new();
            let high_water = slots.high_water();
            while let Some((waiter, slot)) = slots.grant_next(cache) {
                self.log.note(Event::SlotTaken {
                    request: waiter.request,
                    slot,
                    busy: slots.busy(),
                    waiting: slots.waiting(),
                });
                granted.push((waiter, slot));
            }
            if slots.high_water() > high_water {
                let busy = slots.high_water();
                self.log.note(Event::HighWater { busy });
            }
            granted
        };
        for (waiter, slot) in granted {
            let hold = SlotHold {
                engine: Arc::clone(self),
                request: waiter.request,
                slot,
                tokens: 0,
            };
            // A waiter that is gone by now drops its hold here, which frees the slot again.
            drop(waiter.grant.send(hold));
        }
    }

    fn free(self: &Arc<Self>, hold: &SlotHold) {
        {
            let mut state = self.state();
            state.slots.free(hold.slot);
            self.log.note(Event::SlotFreed {
                request: hold.request,
                slot: hold.slot,
                tokens: hold.tokens,
                busy: state.slots.busy(),
            });
        }
        self.grant_free_slots();
    }
}
