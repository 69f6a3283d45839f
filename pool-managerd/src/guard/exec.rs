//! The second stage: ties itself to the guard and becomes the engine.
//!
//! A process of its own does this, since between `fork` and `exec` only unsafe code could.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Becomes `command`; returns only when that cannot be.
///
/// The death signal is kept over `exec`. A guard that died before it was set is seen by the change
/// of parent, so there is no gap.
// spec: OC-POOL-3103
#[must_use]
pub fn exec(guard: i32, command: &[OsString]) -> io::Error {
    let Some((program, args)) = command.split_first() else {
        return io::Error::other("no command was given");
    };
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return errno.into();
    }
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(guard) {
        return io::Error::other("the guard is gone");
    }
    let error = Command::new(program).args(args).exec();
    io::Error::new(
        error.kind(),
        format!("cannot start {}: {error}", program.display()),
    )
}
