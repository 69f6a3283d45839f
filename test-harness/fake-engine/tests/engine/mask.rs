//! What must differ from run to run, and nothing else.

/// The values that are not compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    /// JSON keys, each of them wherever it stands.
    pub(crate) keys: &'static [&'static str],
    /// Headers, in lower case.
    pub(crate) headers: &'static [&'static str],
}

impl Mask {
    /// `head` with masked values as `?`. A length is checked against its body instead, since masked
    /// values have different lengths.
    pub(crate) fn head(&self, head: &[String], body: &[u8]) -> Vec<String> {
        let masked = |line: &String| {
            let Some((name, value)) = line.split_once(':') else {
                return line.clone();
            };
            let lower = name.to_ascii_lowercase();
            if lower == "content-length" {
                assert_eq!(value.trim(), body.len().to_string(), "{line}");
                return format!("{name}: ?");
            }
            match self.headers.contains(&lower.as_str()) {
                true => format!("{name}: ?"),
                false => line.clone(),
            }
        };
        head.iter().map(masked).collect()
    }

    /// `body` with the values of the masked keys as `?`.
    pub(crate) fn body(&self, body: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(body).into_owned();
        for key in self.keys {
            text = masked(&text, &format!("\"{key}\":"));
        }
        text
    }
}

/// `text` with every scalar behind `key` as `?`.
fn masked(text: &str, key: &str) -> String {
    let mut parts = text.split(key);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = scalar_len(part);
        out.push_str(key);
        out.push_str(if end == 0 { "" } else { "?" });
        out.push_str(&part[end..]);
    }
    out
}

fn scalar_len(text: &str) -> usize {
    if let Some(inner) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = inner.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(text.len(), |end| end + 2);
    }
    if text.starts_with(['{', '[']) {
        return 0;
    }
    text.find([',', '}', ']', '\n']).unwrap_or(text.len())
}

#[test]
fn only_the_named_values_are_masked() {
    let mask = Mask {
        keys: &["id", "n"],
        headers: &["date"],
    };
    let body = br#"{"id":"a\"b,c","idx":1,"n":-2.5,"list":[{"n":3}],"text":"kept"}"#;
    let masked = r#"{"id":?,"idx":1,"n":?,"list":[{"n":?}],"text":"kept"}"#;
    assert_eq!(mask.body(body), masked);
    let head = ["HTTP/1.1 200 OK".to_owned(), "Date: now".to_owned()];
    assert_eq!(mask.head(&head, b""), ["HTTP/1.1 200 OK", "Date: ?"]);
}
