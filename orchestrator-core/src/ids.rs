//! Identifiers as types of their own, so that no id is taken for another.

use std::fmt;
use std::sync::Arc;

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use 1 to 64 characters out of A-Z a-z 0-9 . _ -, not starting with a dot")]
pub struct InvalidId;

/// The longest identifier, in bytes. Ids stand in paths, labels and file names.
const MAX_LEN: usize = 64;

fn is_valid(text: &str) -> bool {
    (1..=MAX_LEN).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text's form: 1 to 64 of `A-Z a-z 0-9 . _ -`, no leading dot.
            ///
            /// # Errors
            /// [`InvalidId`] for anything else, so that an id can stand in a path or a label.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_valid(text) { Ok(Self(text.into())) } else { Err(InvalidId) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A pool: one model on one set of devices of one host, under one config entry.
    PoolId
}
text_id! {
    /// A replica: one worker process of a pool.
    ReplicaId
}
text_id! {
    /// A tenant: who is billed, limited and kept apart.
    TenantId
}
text_id! {
    /// A host that runs a pool-managerd.
    NodeId
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            /// The usual 8-4-4-4-12 form.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, c, d] = [self.0 >> 96, self.0 >> 80, self.0 >> 64, self.0 >> 48];
                write!(
                    f,
                    "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                    a as u32,
                    b as u16,
                    c as u16,
                    d as u16,
                    self.0 & 0xffff_ffff_ffff
                )
            }
        }
    };
}

uuid_id! {
    /// A task. Unique; chosen by the client or the server.
    TaskId
}
uuid_id! {
    /// A session: turns of one conversation, kept together for cache reuse and budgets.
    SessionId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_a_path_or_a_label_are_refused() {
        for bad in [
            "",
            "..",
            ".hidden",
            "a/b",
            "a b",
            "a\n",
            "ü",
            "a\0",
            &"x".repeat(65),
        ] {
            assert_eq!(PoolId::parse(bad), Err(InvalidId), "{bad:?}");
        }
        assert_eq!(
            PoolId::parse("haiku-gpu0.1_a").unwrap().as_str(),
            "haiku-gpu0.1_a"
        );
    }

    #[test]
    fn a_task_id_prints_as_a_uuid() {
        let id = TaskId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
