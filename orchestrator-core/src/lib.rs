//! Admission, ordering, placement and prediction for all pools of one orchestratord.
//!
//! A sans-IO state machine: [`scheduler::Scheduler::handle`] takes an event and the current time
//! and appends actions for the driver to carry out. There is no clock, I/O, async, randomness or
//! serialisation in here, so the daemon, the property tests and the simulator run the same code
//! and every decision can be replayed from its event list.
//!
//! Not here: which process is alive (pool-managerd), what a client sees (orchestratord), how an
//! engine is spoken to (worker-adapters).

pub mod engine;
pub mod ids;
pub mod priority;
pub mod time;

pub mod action;
pub mod event;
pub mod fleet;
pub mod task;

pub mod placement;
pub mod scheduler;

mod live;
mod prediction;
mod queue;
mod selection;
mod session;
