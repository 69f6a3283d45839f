//! A client of both daemons, generated from the committed OpenAPI documents, and its generator.
//!
//! The documents are written by the daemons; that a client can be made of them, and that it reads
//! what the real routers answer, is the proof that they say enough and say it right.
//!
//! # Invariants
//! - A document with a keyword that the generator does not know is refused, never half understood.
//! - The same documents give the same files, byte for byte.
//! - An answer that the documents do not name is an error of its own.
//!
//! Not here: retries, resuming of streams and everything else that users want (the SDK).

pub mod call;
pub mod document;
pub mod generate;
pub mod generated;
mod render;
pub mod schema;
