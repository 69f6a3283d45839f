//! Spans of time and sizes, written as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, written as `250ms`, `30s`, `10m`, `7d`, or a sum such as `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|why| format!("`{text}` is no span of time ({why}): write it as 30s or 10m"))
    }
}

/// A size in bytes, written as `512`, `64KiB`, `64MiB`, `1GiB` or `1TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |shift: &u32| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        let (unit, shift) = UNITS
            .iter()
            .find(|(_, shift)| whole(shift))
            .unwrap_or(&UNITS[4]);
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal = || format!("`{text}` is no size: write it as 64MiB or 1GiB");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| refusal())?;
        let unit = text[digits..].trim();
        let shift = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, shift)) => *shift,
            None if unit.is_empty() => 0,
            None => return Err(refusal()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(refusal)
    }
}

macro_rules! as_text {
    ($name:ident, $pattern:literal, $example:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

as_text!(Span, r"^\s*\d+\s*[a-zA-Z]+(\s*\d+\s*[a-zA-Z]+)*\s*$", "30s");
as_text!(ByteSize, r"^\d+\s*([KMGT]i)?B?$", "64MiB");

/// A value, or the word `auto` for one that is worked out from what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoOr {
    /// Worked out.
    Auto,
    /// As given.
    Given(Span),
}

impl AutoOr {
    /// The given span, or `computed` for `auto`.
    #[must_use]
    pub fn unwrap_or(self, computed: Duration) -> Duration {
        match self {
            Self::Auto => computed,
            Self::Given(span) => span.0,
        }
    }
}

impl fmt::Display for AutoOr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Given(span) => span.fmt(f),
        }
    }
}

impl FromStr for AutoOr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            Ok(Self::Auto)
        } else {
            text.parse().map(Self::Given)
        }
    }
}

as_text!(
    AutoOr,
    r"^(auto|\s*\d+\s*[a-zA-Z]+(\s*\d+\s*[a-zA-Z]+)*\s*)$",
    "auto"
);

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-CONFIG-6029
    #[test]
    fn sizes_read_and_print_the_same() {
        for text in ["0B", "512B", "3KiB", "64MiB", "1GiB", "2TiB"] {
            assert_eq!(
                text.parse::<ByteSize>().map(|s| s.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("64 MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!("7".parse(), Ok(ByteSize(7)));
    }

    // spec: OC-CONFIG-6029
    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in [
            "",
            "MiB",
            "12 parsecs",
            "-1",
            "99999999999999999999",
            "99999999TiB",
        ] {
            let refusal = text.parse::<ByteSize>().unwrap_err();
            assert!(refusal.contains("64MiB"), "{refusal}");
        }
        for text in ["", "10", "soon", "-3s"] {
            let refusal = text.parse::<Span>().unwrap_err();
            assert!(refusal.contains("30s"), "{refusal}");
        }
    }

    #[test]
    fn auto_gives_way_to_what_was_computed() {
        let computed = Duration::from_secs(7);
        assert_eq!(
            "auto".parse::<AutoOr>().unwrap().unwrap_or(computed),
            computed
        );
        assert_eq!(
            "3s".parse::<AutoOr>().unwrap().unwrap_or(computed),
            Duration::from_secs(3)
        );
    }
}
