//! What the daemon says of itself: counters for machines, log lines for people and machines.
//!
//! Not here: when a fact is counted or logged; the services decide that where the fact arises.

pub mod logging;
pub mod metrics;
