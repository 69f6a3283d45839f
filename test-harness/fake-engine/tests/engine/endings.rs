//! Ends that are missing, doubled, late or followed by more; wrong numbers.

use std::time::Duration;

use test_harness_fake_engine::Dialect::{Llamacpp, Tgi, Triton, Vllm};

use crate::asking::{Ask, dones, expected, fault, streamed, streamed_text, successes, usage};

// spec: OC-TEST-7302
#[tokio::test]
async fn ends_can_be_missing_doubled_late_or_followed_by_more() {
    for dialect in [Llamacpp, Vllm, Tgi] {
        let end = async |ending: &str| {
            streamed(
                dialect,
                &format!("faults: [{{fault: {ending}}}]"),
                Ask::default(),
            )
            .await
        };
        let whole = expected(Ask::default());
        let done = usize::from(dialect == Vllm);

        let missing = end("missing_end").await;
        assert_eq!(
            (successes(dialect, &missing), dones(&missing)),
            (0, 0),
            "{dialect:?}"
        );
        assert_eq!(streamed_text(dialect, &missing), whole, "{dialect:?}");
        let only_done = end("done_only").await;
        assert_eq!(
            (successes(dialect, &only_done), dones(&only_done)),
            (0, 1),
            "{dialect:?}"
        );
        let double = end("double_end").await;
        assert_eq!(
            (successes(dialect, &double), dones(&double)),
            (2, 2 * done),
            "{dialect:?}"
        );
        let more = end("{tokens_after_end: {tokens: 2}}").await;
        assert_eq!(
            streamed_text(dialect, &more),
            format!("{whole} late late"),
            "{dialect:?}"
        );
        let began = std::time::Instant::now();
        let late = end("{late_end: {ms: 120}}").await;
        assert!(began.elapsed() >= Duration::from_millis(120));
        assert_eq!(
            (successes(dialect, &late), dones(&late)),
            (1, done),
            "{dialect:?}"
        );
        let cut = streamed(dialect, &fault("token: 4", "end_here"), Ask::default()).await;
        assert!(cut.is_whole);
        assert_eq!(
            (successes(dialect, &cut), dones(&cut)),
            (0, 0),
            "{dialect:?}"
        );
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn triton_whose_only_end_is_its_last_chunk_misses_that() {
    let answer = streamed(Triton, "faults: [{fault: missing_end}]", Ask::default()).await;
    assert!(!answer.is_whole);
    assert_eq!(streamed_text(Triton, &answer), expected(Ask::default()));
}

// spec: OC-TEST-7302
#[tokio::test]
async fn numbers_can_be_wrong_and_answers_too_long_or_empty() {
    for dialect in [Llamacpp, Vllm, Tgi] {
        let lie = "faults: [{fault: {wrong_usage: {prompt_tokens: 3, completion_tokens: 999}}}]";
        let answer = streamed(dialect, lie, Ask::default()).await;
        assert_eq!(usage(dialect, &answer), Some((3, 999)), "{dialect:?}");
        let extra = streamed(
            dialect,
            "faults: [{fault: {extra_tokens: {tokens: 5}}}]",
            Ask::default(),
        )
        .await;
        assert_eq!(usage(dialect, &extra).unwrap().1, 13, "{dialect:?}");
        let longer = Ask {
            max_tokens: 13,
            ..Ask::default()
        };
        assert_eq!(
            streamed_text(dialect, &extra),
            expected(longer),
            "{dialect:?}"
        );
        let none = streamed(dialect, "faults: [{fault: no_tokens}]", Ask::default()).await;
        assert_eq!(streamed_text(dialect, &none), "", "{dialect:?}");
        assert_eq!(successes(dialect, &none), 1, "{dialect:?}");
    }
}
