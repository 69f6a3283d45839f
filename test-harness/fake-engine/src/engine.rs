//! The part that computes: slots, queue, cache, pace, and the tokens of each generation.
//!
//! One state behind one lock, held only for moments and never across a wait. A generation is a task
//! of its own (`decode`), so that it can outlive the connection that asked for it, as it does in
//! the real engines.
//!
//! Not here: HTTP and frames (`conversation`, `dialect`), the process (`server`).

pub(crate) mod cache;
pub(crate) mod counters;
pub(crate) mod decode;
pub(crate) mod hold;
pub(crate) mod job;
pub(crate) mod plan;
pub(crate) mod repository;
pub(crate) mod signals;
pub(crate) mod slots;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dialect::Dialect;
use crate::log::{Event, GroundTruth};
use crate::script::Script;
use crate::vocabulary::TokenId;
use cache::PrefixCache;
use counters::Counters;
use plan::Plan;
use repository::{NotLoaded, Repository, State as ModelState};
use slots::{Slot, Slots};

const UNPOISONED: &str = "nothing panics while it holds the lock";

/// How far the engine's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The model is not there yet.
    Loading,
    /// All is well.
    Ready,
    /// The computing part is dead and the server before it lives on.
    Dead,
    /// SIGTERM came.
    Stopping,
}

/// What becomes of the process when a script says that it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mortality {
    /// It really dies.
    Process,
    /// Listener and connections are dropped, as if it had: for engines inside a test's process.
    InProcess,
}

/// Generations that are computed no further, whatever their clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freeze {
    /// Those with a lower index.
    pub(crate) below: u64,
    /// They are dropped and leave their slots.
    pub(crate) is_dropped: bool,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) dialect: Dialect,
    pub(crate) script: Script,
    pub(crate) log: GroundTruth,
    pub(crate) mortality: Mortality,
    /// Every task: a stop waits for them.
    pub(crate) tasks: TaskTracker,
    /// Ends everything at once.
    pub(crate) dead: CancellationToken,
    /// Cuts every connection, in mid-stream.
    pub(crate) cut: CancellationToken,
    /// Ends every generation as aborted.
    pub(crate) abort_all: CancellationToken,
    /// No further requests on connections that are idle.
    pub(crate) draining: CancellationToken,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) freeze: watch::Sender<Freeze>,
    /// The last error that befell all that ran, and how many there were.
    pub(crate) batch_failure: watch::Sender<(u64, String)>,
    pub(crate) started_unix_s: u64,
    /// How many connections are in the middle of a generation.
    conversations: watch::Sender<usize>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Slots,
    cache: PrefixCache,
    counters: Counters,
    repository: Repository,
    requests: u64,
    last_result: Instant,
}

/// What metrics and slot lists are made of.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) slots: Vec<Slot>,
    pub(crate) busy: usize,
    pub(crate) waiting: usize,
    pub(crate) counters: Counters,
}

impl Engine {
    pub(crate) fn new(
        dialect: Dialect,
        script: Script,
        log: GroundTruth,
        mortality: Mortality,
    ) -> Self {
        let per_slot = dialect == Dialect::Llamacpp;
        let state = State {
            slots: Slots::new(script.slots as usize),
            cache: PrefixCache::new(script.cache_tokens as usize, per_slot),
            counters: Counters::default(),
            repository: Repository::new(&script),
            requests: 0,
            last_result: Instant::now(),
        };
        Self {
            dialect,
            log,
            mortality,
            tasks: TaskTracker::new(),
            dead: CancellationToken::new(),
            cut: CancellationToken::new(),
            abort_all: CancellationToken::new(),
            draining: CancellationToken::new(),
            phase: watch::Sender::new(Phase::Loading),
            freeze: watch::Sender::new(Freeze {
                below: 0,
                is_dropped: false,
            }),
            batch_failure: watch::Sender::new((0, String::new())),
            started_unix_s: unix_s(),
            conversations: watch::Sender::new(0),
            script,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Counts a generation that was asked for and says what the script has in store for it.
    pub(crate) fn plan(&self, prompt: &str) -> (u64, Plan) {
        let index = {
            let mut state = self.state();
            let index = state.requests;
            state.requests += 1;
            state.counters.requests += 1;
            index
        };
        if self.script.hang_after_requests == Some(index) {
            self.freeze.send_replace(Freeze {
                below: u64::MAX,
                is_dropped: false,
            });
        }
        (index, Plan::of(&self.script.faults, index, prompt))
    }

    /// Whether nothing is answered any more.
    pub(crate) fn is_hung(&self) -> bool {
        self.freeze.borrow().below == u64::MAX
    }

    /// The index of the next generation.
    pub(crate) fn next_request(&self) -> u64 {
        self.state().requests
    }

    /// Whether one more generation is too many.
    pub(crate) fn is_overloaded(&self) -> bool {
        let state = self.state();
        let load = state.slots.busy() + state.slots.waiting();
        self.script
            .overload_at
            .is_some_and(|limit| load >= limit as usize)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.state().counters);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            slots: state.slots.all().to_vec(),
            busy: state.slots.busy(),
            waiting: state.slots.waiting(),
            counters: state.counters.clone(),
        }
    }

    /// How many slots are busy.
    pub(crate) fn busy(&self) -> usize {
        self.state().slots.busy()
    }

    pub(crate) fn update_slot(&self, slot: usize, change: impl FnOnce(&mut Slot)) {
        change(self.state().slots.get_mut(slot));
    }

    /// Forgets what a slot's cache holds and says how many tokens that was.
    pub(crate) fn erase_slot(&self, slot: usize) -> usize {
        self.state().cache.erase(slot)
    }

    pub(crate) fn cached_in_slot(&self, slot: usize) -> usize {
        self.state().cache.held_by(slot)
    }

    pub(crate) fn remember(&self, slot: usize, tokens: Vec<TokenId>) {
        self.state().cache.keep(slot, tokens);
    }

    pub(crate) fn cached_prefix(&self, slot: usize, prompt: &[TokenId]) -> usize {
        self.state().cache.longest_prefix(slot, prompt)
    }

    /// Counts a connection as busy until dropped.
    pub(crate) fn busy_connection(self: &Arc<Self>) -> BusyConnection {
        self.conversations.send_modify(|count| *count += 1);
        BusyConnection(Arc::clone(self))
    }

    /// Returns once no connection is in the middle of a generation.
    pub(crate) async fn idle(&self) {
        let mut conversations = self.conversations.subscribe();
        // The sender lives as long as the engine.
        let _ = conversations.wait_for(|count| *count == 0).await;
    }

    /// A result left the engine: a stream's token, or an answer about slots or metrics.
    pub(crate) fn note_result(&self) {
        self.state().last_result = Instant::now();
    }

    /// Waits until no result has left the engine for `span`.
    pub(crate) async fn quiet_for(&self, span: Duration) {
        let began = Instant::now();
        loop {
            let until = self.state().last_result.max(began) + span;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    pub(crate) fn repository(&self) -> Repository {
        self.state().repository.clone()
    }

    pub(crate) fn model_state(&self, name: &str) -> Option<ModelState> {
        self.state().repository.state(name).cloned()
    }

    /// Whether all models are as ready as the script's strictness wants them.
    pub(crate) fn models_are_ready(&self) -> bool {
        !self.script.triton.strict_readiness || self.state().repository.is_ready()
    }

    /// Loads a model. A backend that died comes back only with a model that was unloaded before.
    pub(crate) fn load_model(&self, name: &str) -> Result<(), NotLoaded> {
        let mut state = self.state();
        let was_unloaded = state.repository.state(name) == Some(&ModelState::Unloaded);
        state.repository.load(name)?;
        drop(state);
        if was_unloaded && name == self.script.model && self.phase() == Phase::Dead {
            self.freeze.send_modify(|freeze| freeze.is_dropped = true);
            self.phase.send_replace(Phase::Ready);
        }
        Ok(())
    }

    pub(crate) fn unload_model(&self, name: &str) {
        self.state().repository.unload(name);
    }

    /// An error that befalls every generation that runs.
    pub(crate) fn fail_batch(&self, message: &str) {
        self.batch_failure
            .send_modify(|(count, text)| (*count, *text) = (*count + 1, message.to_owned()));
    }

    /// The end of the process, or what stands for it. Returns only in process.
    pub(crate) fn die(&self, death: Death) {
        self.log.note(Event::Stopped);
        match (self.mortality, death) {
            (Mortality::InProcess, _) => self.dead.cancel(),
            (Mortality::Process, Death::Exit(code)) => std::process::exit(code.into()),
            (Mortality::Process, Death::Kill) => {
                let this = rustix::process::getpid();
                // Only a kernel out of its mind refuses a process its own end.
                let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
                std::process::abort();
            }
        }
    }
}

/// A connection in the middle of a generation.
#[derive(Debug)]
pub(crate) struct BusyConnection(Arc<Engine>);

impl Drop for BusyConnection {
    fn drop(&mut self) {
        self.0.conversations.send_modify(|count| *count -= 1);
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Kill,
    Exit(u8),
}

pub(crate) fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
