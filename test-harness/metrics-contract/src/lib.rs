//! The metrics contract: tables of the spec, an exposition, log lines, and how they must agree.
//!
//! # Invariants
//! - The spec is read, not repeated: names, types, labels, units and bounds stand there alone.
//! - What is excused stands in one file, and an excuse that is not needed is a problem too.
//!
//! Not here: daemons and the load (the tests).

pub mod bound;
pub mod exposition;
pub mod lint;
pub mod log;
pub mod series;
pub mod spec;
pub mod text;
