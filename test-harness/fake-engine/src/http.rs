//! Requests as they come in: a small, bounded parser.
//!
//! # Invariants
//! - A head has at most [`HEAD_BYTES_MAX`] bytes, a body [`BODY_BYTES_MAX`].
//! - Nothing is read beyond the request that is answered next, except into the wire's inbox.
//!
//! Not here: what is answered. Bodies need a `Content-Length`; chunked requests are refused.

/// The longest request head.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The longest request body.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why the bytes are no request that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the head is longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("the head is no HTTP/1.1 head")]
    Head,
    #[error("the body has no Content-Length, or is longer than {BODY_BYTES_MAX} bytes")]
    Body,
}

impl Request {
    /// The request whose head `inbox` begins with, and the head's length; `None` while it is not
    /// whole.
    pub(crate) fn head(inbox: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let end = inbox.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            let fits = inbox.len() <= HEAD_BYTES_MAX;
            return if fits {
                Ok(None)
            } else {
                Err(Malformed::HeadTooLong)
            };
        };
        if end > HEAD_BYTES_MAX {
            return Err(Malformed::HeadTooLong);
        }
        let text = std::str::from_utf8(&inbox[..end]).map_err(|_| Malformed::Head)?;
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (first.next(), first.next(), first.next(), first.next())
        else {
            return Err(Malformed::Head);
        };
        if !version.starts_with("HTTP/1.") {
            return Err(Malformed::Head);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers: Option<Vec<_>> = lines.map(header).collect();
        let request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.ok_or(Malformed::Head)?,
            body: Vec::new(),
        };
        Ok(Some((request, end + 4)))
    }

    /// The length of the body behind the head.
    pub(crate) fn body_len(&self) -> Result<usize, Malformed> {
        if self.header("transfer-encoding").is_some() {
            return Err(Malformed::Body);
        }
        let length = match self.header("content-length") {
            Some(text) => text.parse().map_err(|_| Malformed::Body)?,
            None => 0,
        };
        if length > BODY_BYTES_MAX {
            return Err(Malformed::Body);
        }
        Ok(length)
    }

    /// The first header of this name, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Whether the client closes the connection behind the answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The key that the request carries.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// Whether the body is said to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.header("content-type")
            .is_some_and(|value| value.starts_with("application/json"))
    }

    /// The value of a query parameter, as it stands there.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        let pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>(), text in "[A-Z /.:0-9\r\n]{0,80}") {
            for bytes in [bytes, [text.as_bytes(), b"\r\n\r\n"].concat()] {
                if let Ok(Some((request, len))) = Request::head(&bytes) {
                    prop_assert!(len <= bytes.len());
                    prop_assert!(request.body_len().is_ok_and(|len| len <= BODY_BYTES_MAX) || request.body_len().is_err());
                }
            }
        }
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let head =
            b"POST /slots/1?action=erase&x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        for cut in 0..head.len() - 2 {
            let whole = cut == head.len() - 2;
            assert_eq!(
                Request::head(&head[..cut]).unwrap().is_some(),
                whole,
                "{cut}"
            );
        }
        let (request, len) = Request::head(head).unwrap().unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/slots/1")
        );
        assert_eq!(request.query_value("action"), Some("erase"));
        assert_eq!((len, request.body_len()), (head.len() - 2, Ok(2)));
    }

    #[test]
    fn what_is_no_request_or_too_long_is_refused() {
        let refused = |bytes: &[u8]| Request::head(bytes).map(|_| ()).unwrap_err();
        assert_eq!(refused(b"hello\r\n\r\n"), Malformed::Head);
        assert_eq!(refused(b"GET / SPDY/9\r\n\r\n"), Malformed::Head);
        assert_eq!(refused(&[b'a'; HEAD_BYTES_MAX + 1]), Malformed::HeadTooLong);
        let long = b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n";
        let (request, _) = Request::head(long).unwrap().unwrap();
        assert_eq!(request.body_len(), Err(Malformed::Body));
    }
}
