//! Where sessions ran last: a bounded memory of warm slots.
//!
//! Only a hint for placement; whether the slot is still warm, its replica knows.
//! Not here: turns, budgets and time to live of a session.

use std::collections::BTreeMap;

use crate::ids::SessionId;
use crate::live::SlotRef;

/// The last slots of at most `limit` sessions; the least recently used goes first.
// spec: ORCH-3009
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    limit: usize,
    uses: u64,
    by_id: BTreeMap<SessionId, (u64, SlotRef)>,
    by_use: BTreeMap<u64, SessionId>,
}

impl Sessions {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            uses: 0,
            by_id: BTreeMap::new(),
            by_use: BTreeMap::new(),
        }
    }

    /// Where the session ran last, if that is remembered.
    pub(crate) fn last(&self, session: SessionId) -> Option<&SlotRef> {
        self.by_id.get(&session).map(|(_, slot)| slot)
    }

    /// Notes where the session runs now.
    pub(crate) fn remember(&mut self, session: SessionId, slot: SlotRef) {
        self.uses += 1;
        if let Some((earlier, _)) = self.by_id.insert(session, (self.uses, slot)) {
            self.by_use.remove(&earlier);
        }
        self.by_use.insert(self.uses, session);
        while self.by_id.len() > self.limit
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// How many sessions are remembered.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::SetId;
    use crate::ids::{PoolId, ReplicaId};

    fn warm(slot: u32) -> SlotRef {
        SlotRef {
            set: SetId(0),
            pool: PoolId::parse("p").unwrap(),
            replica: ReplicaId::parse("r").unwrap(),
            slot,
        }
    }

    // spec: ORCH-3009
    #[test]
    fn the_least_recently_used_session_is_forgotten_first() {
        let mut sessions = Sessions::new(2);
        sessions.remember(SessionId(1), warm(1));
        sessions.remember(SessionId(2), warm(2));
        sessions.remember(SessionId(1), warm(3));
        sessions.remember(SessionId(4), warm(4));
        assert_eq!(sessions.len(), 2);
        assert_eq!(sessions.last(SessionId(2)), None);
        assert_eq!(sessions.last(SessionId(1)), Some(&warm(3)));
        assert_eq!(sessions.by_use.len(), 2);
    }

    #[test]
    fn a_limit_of_none_remembers_nothing() {
        let mut sessions = Sessions::new(0);
        sessions.remember(SessionId(1), warm(1));
        assert_eq!(sessions.last(SessionId(1)), None);
    }
}
