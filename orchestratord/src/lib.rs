//! The daemon that admits tasks, decides where they run and streams their tokens.
//!
//! [`edge`] (sockets) ▸ [`api`] (thin handlers) ▸ [`services`] (owner task, dispatch, nodes) ▸
//! `orchestrator-core` (decisions). [`telemetry`] is what it says of itself, [`process`] its place on
//! the machine. `main` wires them and is the only place that names engine crates.

pub mod api;
pub mod edge;
pub mod openapi;
pub mod services;
pub mod signals;
pub mod telemetry;
