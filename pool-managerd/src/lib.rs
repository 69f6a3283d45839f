//! The agent on every GPU host: provisions, preloads, watches and restarts engines.
//!
//! In reading order: `agent` puts everything together; `supervisor` owns one worker each, with
//! `guard` and `marker` below it so that no process is ever left behind; `engines`, `model` and
//! `gpu` know what a worker is made of; `provision` gets engines; `node` and `api` tell others.
//!
//! Not here: tasks and queues (orchestratord), and the dialects of engines (`worker-adapters`).

pub mod agent;
pub mod api;
pub mod clock;
pub mod daemon;
pub mod edge;
pub mod engines;
pub mod fleet;
pub mod gpu;
pub mod guard;
pub mod host;
pub mod logs;
pub mod marker;
pub mod metrics;
pub mod model;
pub mod node;
pub mod processes;
pub mod provision;
pub mod supervisor;
