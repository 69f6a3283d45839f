//! The generated client: one module per document, and one for the types that several have.

pub mod control;
pub mod data;
pub mod pool;
pub mod shared;
