//! A recorded exchange.

use std::path::PathBuf;

/// One exchange with a real server.
pub(crate) struct Exchange {
    pub(crate) name: String,
    /// The request, as bytes to send.
    pub(crate) request: Vec<u8>,
    /// The head of the answer, line by line, the status line first.
    pub(crate) head: Vec<String>,
    /// The body, without chunks.
    pub(crate) body: Vec<u8>,
}

pub(crate) fn path(dialect: &str, file: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures").join(dialect).join(file)
}

/// The exchange whose file begins with `number`.
pub(crate) fn exchange(dialect: &str, number: &str) -> Exchange {
    let prefix = format!("{number}-");
    let file = std::fs::read_dir(path(dialect, ""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with(&prefix))
        .unwrap_or_else(|| panic!("no recording {dialect}/{number}"));
    let bytes = std::fs::read(path(dialect, &file)).unwrap();
    let (request, rest) = split(&bytes, b"\n=== RESPONSE HEAD ===\n");
    let (head, rest) = split(rest, b"\n=== BODY (transfer-decoded, ");
    let (length, body) = split(rest, b" bytes) ===\n");
    let length: usize = std::str::from_utf8(length).unwrap().parse().unwrap();
    Exchange {
        name: format!("{dialect}/{file}"),
        request: request_bytes(request.strip_prefix(b"=== REQUEST ===\n").unwrap()),
        head: lines(head),
        body: body[..length].to_vec(),
    }
}

fn lines(head: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(head).unwrap();
    text.trim_end_matches('\n')
        .lines()
        .map(str::to_owned)
        .collect()
}

fn request_bytes(recorded: &[u8]) -> Vec<u8> {
    let (head, body) = match recorded.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&recorded[..end], &recorded[end + 2..]),
        None => (recorded, &b""[..]),
    };
    let head = lines(head);
    let length = head
        .iter()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut bytes = head.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&body[..length]);
    bytes
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    let found = bytes.windows(at.len()).position(|window| window == at);
    let found = found.unwrap_or_else(|| panic!("no {:?}", String::from_utf8_lossy(at)));
    (&bytes[..found], &bytes[found + at.len()..])
}
