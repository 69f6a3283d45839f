//! The log against its invariants: every reader sees the same bytes, once, to one end.

use std::sync::Arc;

use contracts_sse::{Decoder, Event};
use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::reader::{CHUNK_BYTES_MAX, RETRY};
use super::*;

const PING: Duration = Duration::from_secs(15);

fn pace() -> Pace {
    Pace {
        ping: PING,
        close: CancellationToken::new(),
    }
}

fn log(limit: usize) -> Arc<StreamLog> {
    Arc::new(StreamLog::with_limit(limit))
}

fn metrics() -> MetricsEvent {
    MetricsEvent {
        queue_depth: 2,
        on_time_probability: None,
        kv_warmth: false,
    }
}

fn started() -> StartedEvent {
    StartedEvent {
        queue_position: 1,
        predicted_start_ms: 20,
        engine: EngineName::LlamaCpp,
        engine_version: "b1".to_owned(),
        model_digest: "sha256:ab".to_owned(),
        pool_id: "p0".to_owned(),
        replica_id: "p0-0".to_owned(),
        device_class: contracts_api_types::kind::DeviceClass::CpuCi,
        kv_warmth: false,
        seed: 7,
    }
}

fn end(finish_reason: FinishReason) -> Ending {
    Ending::End {
        tokens_in: 3,
        tokens_out: 2,
        decode_time: Duration::from_millis(40),
        queue_time: Duration::from_millis(5),
        finish_reason,
    }
}

fn failed() -> Ending {
    Ending::Error {
        code: ErrorCode::WorkerReset,
        message: "the worker died".to_owned(),
        engine: Some(EngineName::LlamaCpp),
        pool_id: Some("p0".to_owned()),
        retry_after: None,
    }
}

async fn read_all(log: &Arc<StreamLog>, place: Place) -> Vec<u8> {
    Arc::clone(log)
        .read(place, pace())
        .collect::<Vec<_>>()
        .await
        .concat()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    Decoder::new().push(bytes).unwrap()
}

fn ids(bytes: &[u8]) -> Vec<String> {
    events(bytes)
        .into_iter()
        .filter_map(|event| event.id)
        .collect()
}

// spec: ORCH-2002, OC-CTRL-2020, OC-CTRL-2021, OC-CTRL-2022, ORCH-3411, ORCH-3412
#[tokio::test]
async fn a_transcript_has_the_frames_of_the_contract() {
    let log = log(LOG_BYTES_MAX);
    log.append_started(&started()).unwrap();
    log.append_token("The pale").unwrap();
    log.append_metrics(&metrics()).unwrap();
    log.append_token(" moon\n").unwrap();
    log.seal(end(FinishReason::Stop)).unwrap();
    let text = String::from_utf8(read_all(&log, Place::default()).await).unwrap();
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn an_error_says_whether_text_was_visible() {
    for (text, partial) in [(None, "\"partial\":false"), (Some("a"), "\"partial\":true")] {
        let log = log(LOG_BYTES_MAX);
        text.map_or(Ok(()), |text| log.append_token(text)).unwrap();
        assert_eq!(log.seal(failed()).unwrap().any, text.is_some());
        let bytes = read_all(&log, Place::default()).await;
        let last = events(&bytes).pop().unwrap();
        assert_eq!(last.name, "error");
        assert!(last.data.contains(partial), "{}", last.data);
        assert!(last.data.contains("\"retriable\":true"), "{}", last.data);
    }
}

// spec: ORCH-3401
#[tokio::test]
async fn a_reader_that_resumes_at_any_index_gets_exactly_the_rest() {
    let log = log(LOG_BYTES_MAX);
    log.append_started(&started()).unwrap();
    for piece in ["a", "ü", "", "日本", "\n\n", "data: x"] {
        log.append_token(piece).unwrap();
        log.append_metrics(&metrics()).unwrap();
    }
    log.seal(end(FinishReason::Length)).unwrap();
    let whole = read_all(&log, Place::default()).await;
    assert_eq!(ids(&whole).len(), 6);
    for id in ids(&whole) {
        let place = log.place(parse_resume(&id).unwrap()).unwrap();
        let rest = read_all(&log, place).await;
        assert!(whole.ends_with(&rest));
        let seen = whole.len() - rest.len();
        assert_eq!(
            events(&whole[..seen]).last().unwrap().id.as_deref(),
            Some(id.as_str())
        );
    }
}

// spec: ORCH-3443
#[test]
fn ids_of_other_streams_and_of_frames_to_come_are_refused() {
    let (ours, other) = (log(LOG_BYTES_MAX), log(LOG_BYTES_MAX));
    for log in [&ours, &other] {
        log.append_token("same").unwrap();
    }
    ours.append_token("one").unwrap();
    other.append_token("two").unwrap();
    let position = |index, byte_end, text: &str| Position {
        index,
        byte_end,
        hash: leading_u64(&Sha256::digest(text)),
    };
    assert!(ours.place(position(1, 7, "sameone")).is_ok());
    assert_eq!(other.place(position(1, 7, "sameone")), Err(ForeignPosition));
    assert_eq!(ours.place(position(0, 3, "same")), Err(ForeignPosition));
    assert_eq!(ours.place(position(2, 8, "sameone!")), Err(ForeignPosition));
}

#[test]
fn only_the_printed_form_of_an_id_is_read() {
    let good = "3-17-00ff00ff00ff00ff";
    assert_eq!(parse_resume(good).unwrap().to_string(), good);
    for bad in [
        "",
        "3",
        "3-17",
        "3-17-",
        "3-17-0",
        "+3-17-00ff00ff00ff00ff",
        "03-17-00ff00ff00ff00ff",
        "3-17-00FF00FF00FF00FF",
        "3-17-00ff00ff00ff00ff-",
        "3-17-+0ff00ff00ff00ff",
        " 3-17-00ff00ff00ff00ff",
        "3-99999999999999999999-00ff00ff00ff00ff",
        "x-y-z",
    ] {
        assert_eq!(parse_resume(bad), Err(InvalidPosition), "{bad:?}");
    }
}

// spec: ORCH-3428, OC-CTRL-2012
#[test]
fn nothing_is_appended_after_the_seal_and_the_first_ending_stands() {
    let log = log(LOG_BYTES_MAX);
    log.append_token("a").unwrap();
    let digest = log.seal(end(FinishReason::Canceled)).unwrap().digest;
    assert_eq!(
        digest,
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    );
    let before = log.bytes();
    assert_eq!(log.append_token("b"), Err(AppendError::Sealed));
    assert_eq!(log.append_started(&started()), Err(AppendError::Sealed));
    assert_eq!(log.append_metrics(&metrics()), Err(AppendError::Sealed));
    assert_eq!(log.seal(failed()), Err(AlreadySealed));
    assert_eq!((log.bytes(), log.token_frames()), (before, 1));
}

// spec: ORCH-3492
#[tokio::test]
async fn a_full_log_takes_no_text_but_still_ends() {
    let log = log(150);
    let full = Err(AppendError::Full { limit: 150 });
    log.append_token("a").unwrap();
    assert_eq!(log.append_token(&"b".repeat(150)), full);
    log.append_token("c").unwrap();
    assert_eq!(log.append_token("d"), full);
    log.seal(end(FinishReason::Length)).unwrap();
    let seen = events(&read_all(&log, Place::default()).await);
    let data: Vec<_> = seen.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data[..2], [r#"{"t":"a","i":0}"#, r#"{"t":"c","i":1}"#]);
    assert_eq!(seen[2].name, "end");
}

// spec: ORCH-3436
#[tokio::test]
async fn many_small_frames_count_with_what_each_costs_besides_its_bytes() {
    let log = log(LOG_BYTES_MAX);
    for _ in 0..100 {
        log.append_token("x").unwrap();
    }
    log.seal(end(FinishReason::Length)).unwrap();
    let encoded = read_all(&log, Place::default()).await.len();
    let entries = 100 * (size_of::<Bytes>() + size_of::<TokenMark>());
    assert!(log.bytes() > encoded + entries, "{}", log.bytes());
}

// spec: ORCH-3401, ORCH-3410
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_come_at_any_time_see_the_same_bytes() {
    let log = log(LOG_BYTES_MAX);
    let mut readers = Vec::new();
    for index in 0..500_u32 {
        if index % 50 == 0 {
            let log = Arc::clone(&log);
            readers.push(tokio::spawn(async move {
                read_all(&log, Place::default()).await
            }));
        }
        log.append_token(&format!(" {index}")).unwrap();
        tokio::task::yield_now().await;
    }
    log.seal(end(FinishReason::Stop)).unwrap();
    let whole = read_all(&log, Place::default()).await;
    for reader in readers {
        assert!(reader.await.unwrap() == whole);
    }
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_nobody() {
    let log = log(LOG_BYTES_MAX);
    let mut slow = Box::pin(Arc::clone(&log).read(Place::default(), pace()));
    log.append_token("0").unwrap();
    let first = slow.next().await.unwrap();
    for index in 1..2_000 {
        log.append_token(&index.to_string()).unwrap();
    }
    log.seal(end(FinishReason::Stop)).unwrap();
    let whole = read_all(&log, Place::default()).await;
    let rest = slow.collect::<Vec<_>>().await;
    assert!(rest.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    assert!(
        rest.len() < 20,
        "frames are sent together, not one by one: {}",
        rest.len()
    );
    assert!([first.to_vec(), rest.concat()].concat() == whole);
}

// spec: ORCH-3444
#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments_and_only_silence() {
    let log = log(LOG_BYTES_MAX);
    let mut reader = Box::pin(Arc::clone(&log).read(Place::default(), pace()));
    let begun = Instant::now();
    assert_eq!(reader.next().await.unwrap(), contracts_sse::COMMENT_PING);
    assert_eq!(begun.elapsed(), PING);
    log.append_token("a").unwrap();
    assert_eq!(ids(&reader.next().await.unwrap()).len(), 1);
    assert_eq!(begun.elapsed(), PING);
    assert_eq!(reader.next().await.unwrap(), contracts_sse::COMMENT_PING);
    assert_eq!(begun.elapsed(), PING * 2);
}

// spec: ORCH-3438
#[tokio::test(start_paused = true)]
async fn a_planned_stop_sends_readers_away_to_come_back() {
    let log = log(LOG_BYTES_MAX);
    let close = CancellationToken::new();
    let mut reader = Box::pin(Arc::clone(&log).read(
        Place::default(),
        Pace {
            ping: PING,
            close: close.clone(),
        },
    ));
    log.append_token("a").unwrap();
    close.cancel();
    assert_eq!(ids(&reader.next().await.unwrap()).len(), 1);
    assert_eq!(reader.next().await.unwrap(), RETRY);
    assert_eq!(reader.next().await, None);
}

#[derive(Clone, Debug)]
enum Op {
    Token(String),
    Metrics,
    Seal(bool),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => "[a-zü\n]{0,6}".prop_map(Op::Token),
        2 => Just(Op::Metrics),
        1 => any::<bool>().prop_map(Op::Seal),
    ]
}

proptest! {
    // spec: ORCH-2002, ORCH-3410
    #[test]
    fn any_use_gives_gap_free_indexes_and_one_end(ops in proptest::collection::vec(any_op(), 0..60)) {
        let log = log(4_096);
        let mut text = String::new();
        let mut ends = 0;
        for op in ops {
            match op {
                Op::Token(piece) => {
                    if log.append_token(&piece).is_ok() {
                        text.push_str(&piece);
                    }
                }
                Op::Metrics => drop(log.append_metrics(&metrics())),
                Op::Seal(well) => {
                    let ending = if well { end(FinishReason::Stop) } else { failed() };
                    ends += usize::from(log.seal(ending).is_ok());
                }
            }
        }
        ends += usize::from(log.seal(end(FinishReason::Stop)).is_ok());
        prop_assert_eq!(ends, 1);
        let whole = log.lock().frames.concat();
        let seen = events(&whole);
        let (last, before) = seen.split_last().unwrap();
        prop_assert!(matches!(last.name.as_str(), "end" | "error"));
        let mut said = String::new();
        for (index, event) in before.iter().filter(|event| event.name != "metrics").enumerate() {
            prop_assert_eq!(&event.name, "token");
            let token: TokenEvent = serde_json::from_str(&event.data).unwrap();
            prop_assert_eq!(token.i, index as u64);
            said.push_str(&token.t);
        }
        prop_assert_eq!(said, text);
    }
}
