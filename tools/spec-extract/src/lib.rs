//! Traceability: from every requirement of `.specs` to its contract, its tests and its code.
//!
//! Reads requirements, `// spec:` tags, the `x-req-id` of the emitted OpenAPI files and
//! `requirements/open.yaml`, joins them, and renders `requirements/*.yaml` and `COMPLIANCE.md`.
//!
//! # Invariants
//! - The rendered files depend on the tree alone, and never on line numbers, so that moving code
//!   changes nothing and a second run writes the same bytes.
//! - With a problem in the tree nothing is written.
//! - A MUST has a test or stands in `open.yaml`, never both and never neither.
//!
//! Not here: whether a test proves what its tag says (mutations ask that), and the form of the
//! Markdown (`ci/scripts/spec_lint.sh`).

pub mod rust_source;
pub mod tree;

mod contract;
mod id;
mod open;
mod problem;
mod render;
mod requirement;
mod run;
mod survey;
mod tag;

pub use id::RequirementId;
pub use problem::Problem;
pub use requirement::{Level, Requirement, Spec, read_specs};
pub use run::{Mode, Outcome, RunError, run};
