//! The events depend on the bytes alone, and they are the ones that a slow, obvious parser of the
//! whole text finds.

use contracts_sse::{DecodeError, Decoder, Event};
use proptest::prelude::*;

/// Feeds `bytes` in pieces that end at `cuts`, and gives everything that came out.
fn decode(bytes: &[u8], cuts: impl Iterator<Item = usize>) -> (Vec<Event>, Option<DecodeError>) {
    let mut decoder = Decoder::with_limit(64);
    let mut events = Vec::new();
    let mut start = 0;
    for end in cuts.chain([bytes.len()]) {
        // After an error the decoder yields nothing, which the error of `finish` shows as well.
        events.extend(decoder.push(&bytes[start..end]).unwrap_or_default());
        start = end;
    }
    (events, decoder.finish().err())
}

/// Reads the whole text at once, line by line, by the words of the standard.
fn naive(text: &str) -> Vec<Event> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    let mut events = Vec::new();
    for block in blocks(&lines) {
        let values = |name: &str| -> Vec<&str> {
            let fields = block
                .iter()
                .map(|line| line.split_once(':').unwrap_or((line, "")));
            let of_name = fields.filter(|(field, _)| *field == name);
            of_name
                .map(|(_, value)| value.strip_prefix(' ').unwrap_or(value))
                .collect()
        };
        let name = values("event")
            .pop()
            .filter(|name| !name.is_empty())
            .unwrap_or("message");
        let id = values("id").into_iter().rfind(|id| !id.contains('\0'));
        if !values("data").is_empty() {
            let data = values("data").join("\n");
            events.push(Event {
                name: name.into(),
                data,
                id: id.map(Into::into),
            });
        }
    }
    events
}

/// The groups of lines that a blank line ended.
fn blocks<'a>(lines: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut ended = Vec::new();
    let mut open = Vec::new();
    for line in lines {
        if line.is_empty() {
            ended.push(std::mem::take(&mut open));
        } else {
            open.push(*line);
        }
    }
    ended
}

fn any_text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "data: ",
        "data:",
        "data",
        "event: token",
        "event:",
        "id: 7",
        "id: \0",
        "id",
        "retry: 20",
        ":",
        ": note",
        "x",
        " ",
        "ü",
        "\u{1f600}",
        "\u{feff}",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "{\"t\":\"a\"}",
    ]);
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

/// A few hundred bytes with everything in them, so that every cut hits something.
const MIXED: &str = "\u{feff}: hello\r\n\r\nevent: started\r\ndata: {\"seed\":7}\r\n\r\n\
    id: 0\nevent: token\ndata: {\"t\":\"ü\u{1f600}\"}\n\n: ping\n\n\
    id: 1\revent: token\rdata: a\rdata:\rdata: b\r\rretry: 250\n\ndata\n\ndata: cut off\n";

// spec: ORCH-2002
#[test]
fn every_pair_of_cuts_gives_the_same_events() {
    let bytes = MIXED.as_bytes();
    let whole = decode(bytes, std::iter::empty());
    assert_eq!(whole, (naive(MIXED), None));
    assert_eq!(whole.0.len(), 4);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            assert_eq!(
                decode(bytes, [first, second].into_iter()),
                whole,
                "{first} {second}"
            );
        }
    }
}

// spec: SDK-8107
#[test]
fn pieces_of_every_size_give_the_same_events() {
    let text = MIXED.replace('\u{feff}', "").repeat(16);
    let whole = decode(text.as_bytes(), std::iter::empty());
    assert_eq!(whole.0, naive(&text));
    for size in 1..=text.len() {
        let cuts = (size..text.len()).step_by(size);
        assert_eq!(decode(text.as_bytes(), cuts), whole, "{size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // spec: ORCH-2002
    #[test]
    fn events_agree_with_a_naive_parser(text in any_text(), cuts in prop::collection::vec(0.0..1.0, 0..20)) {
        let (events, error) = decode(text.as_bytes(), positions(&cuts, text.len()));
        // The naive parser knows no limit, so only what was within it is compared.
        let expected = naive(&text);
        if error.is_none() {
            prop_assert_eq!(events, expected);
        } else {
            prop_assert!(expected.starts_with(&events));
        }
    }

    // spec: SDK-8107, OC-TEST-7314
    #[test]
    fn bytes_of_any_kind_give_the_same_outcome_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"data:\r\n ".to_vec())], 0..2000),
        cuts in prop::collection::vec(0.0..1.0, 0..40),
    ) {
        let whole = decode(&bytes, std::iter::empty());
        prop_assert_eq!(decode(&bytes, positions(&cuts, bytes.len())), whole);
    }
}

/// Fractions of the length as byte positions in order.
fn positions(cuts: &[f64], len: usize) -> std::vec::IntoIter<usize> {
    let mut positions: Vec<usize> = cuts.iter().map(|cut| (cut * len as f64) as usize).collect();
    positions.sort_unstable();
    positions.into_iter()
}
