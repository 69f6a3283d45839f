//! What the client's types let through, and what they stop before anything is sent.
//!
//! Right use is compiled as a part of this very test, so that the cases beside it need only be
//! checked, not built.

#[path = "compile/right_use.rs"]
mod right_use;

// spec: OC-TEST-7313, ORCH-3521
#[tokio::test]
async fn right_use_compiles_and_an_unreachable_server_is_told_apart_from_a_refusal() {
    right_use::check().await;
}

// spec: OC-TEST-7313, ORCH-3521
#[test]
fn wrong_use_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile/wrong_*.rs");
}
