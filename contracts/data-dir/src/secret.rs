//! Random secrets, from the system's own source.

use std::fmt::Write as _;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// 32 bytes in hex: cannot be guessed, whatever the rate of tries.
pub const DIGITS: usize = 64;

/// A new secret of [`DIGITS`] hex digits.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new() -> io::Result<String> {
    let mut bytes = [0; DIGITS / 2];
    // Reads of up to 256 bytes come whole or not at all.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let mut text = String::with_capacity(DIGITS);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
