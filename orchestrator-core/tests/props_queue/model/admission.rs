//! Who comes in and who has to go for it, found by trying.

use orchestrator_core::fleet::FullPolicy;

use super::{DEFAULT_DEADLINE_MS, How, Model, Pool, Replica, Task, Told, Why};
use crate::history::{Ready, Submission};

impl Model {
    pub(crate) fn submit(&mut self, new: &Submission) -> Vec<Told> {
        let task = new.task;
        let deadline = self.now + new.deadline_ms.unwrap_or(DEFAULT_DEADLINE_MS);
        let leaving = match self.room(new, deadline) {
            Ok(leaving) => leaving,
            Err(why) => return vec![Told::Refused { task, why }],
        };
        let mut told = Vec::new();
        for (old, policy) in leaving {
            self.tasks.retain(|t| t.task != old);
            told.push(Told::Finished {
                task: old,
                how: How::Dropped(policy),
            });
        }
        let queued = |t: &&Task| t.set == new.set && !t.running;
        let ahead = |t: &&Task| if new.batch { true } else { !t.batch };
        let behind = self.tasks.iter().filter(queued).filter(ahead).count();
        told.push(Told::Admitted { task, behind });
        self.admissions += 1;
        self.tasks.push(Task {
            task,
            batch: new.batch,
            set: new.set,
            bytes: new.bytes,
            order: self.admissions,
            deadline,
            attempts: 0,
            visible: false,
            running: false,
        });
        told
    }

    fn room(&self, new: &Submission, deadline: u64) -> Result<Vec<(u8, FullPolicy)>, Why> {
        let here = self.tasks.iter().any(|t| t.task == new.task);
        if here || self.taken.iter().any(|t| t.task == new.task) {
            return Err(Why::Duplicate);
        }
        let pools: Vec<&Pool> = self.pools.values().filter(|p| p.set == new.set).collect();
        let Some(first) = pools.first() else {
            return Err(Why::UnknownSet);
        };
        let places: usize = pools.iter().map(|p| p.capacity).sum();
        let bytes: u64 = pools.iter().map(|p| p.bytes).sum();
        if new.bytes > bytes {
            return Err(Why::Bytes);
        }
        if deadline <= self.now {
            return Err(Why::Late);
        }
        let replicas = pools.iter().flat_map(|p| p.replicas.values());
        if !replicas
            .into_iter()
            .any(|r| self.in_sight(r).is_some_and(|at| at < deadline))
        {
            return Err(Why::NoReplica);
        }
        let policy = first.policies[usize::from(new.batch)];
        let leaving = self
            .leaving(new, policy, places, bytes)
            .ok_or(Why::Full(policy))?;
        Ok(leaving.into_iter().map(|task| (task, policy)).collect())
    }

    fn in_sight(&self, replica: &Replica) -> Option<u64> {
        let at = match replica.readiness {
            _ if replica.slots == 0 => return None,
            Ready::No => return None,
            Ready::Yes => replica.rests_until,
            Ready::In { ms } => replica.reported + ms,
        };
        Some(at.max(self.now))
    }

    /// Tries out who has to go, one more at a time, until the newcomer adds nothing to what is
    /// over the bounds of its class or of both classes.
    fn leaving(
        &self,
        new: &Submission,
        policy: FullPolicy,
        places: usize,
        bytes: u64,
    ) -> Option<Vec<u8>> {
        let queue: Vec<Task> = self.queue(new.set);
        let class: Vec<&Task> = queue.iter().filter(|t| t.batch == new.batch).collect();
        let sum = |tasks: &[&Task]| tasks.iter().map(|t| t.bytes).sum::<u64>();
        let all: Vec<&Task> = queue.iter().collect();
        let over = |have: u64, more: u64, bound: u64| more.min((have + more).saturating_sub(bound));
        let places = places as u64;
        let short_places =
            over(class.len() as u64, 1, places).max(over(all.len() as u64, 1, 2 * places));
        let short_bytes =
            over(sum(&class), new.bytes, bytes).max(over(sum(&all), new.bytes, 2 * bytes));
        if short_places == 0 && short_bytes == 0 {
            return Some(Vec::new());
        }
        let mut candidates: Vec<&Task> = match (policy, new.batch) {
            (FullPolicy::DropLru, _) => class,
            (FullPolicy::ShedLowPriority, false) => queue.iter().filter(|t| t.batch).collect(),
            _ => return None,
        };
        candidates.sort_by_key(|t| t.order);
        if policy == FullPolicy::ShedLowPriority {
            candidates.reverse();
        }
        (1..=candidates.len())
            .map(|count| &candidates[..count])
            .find(|gone| gone.len() as u64 >= short_places && sum(gone) >= short_bytes)
            .map(|gone| gone.iter().map(|t| t.task).collect())
    }
}
