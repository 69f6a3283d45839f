//! Becoming another program in a session of its own, so that it outlives the terminal.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::failure::Failure;

/// Returns only if it fails. The number of the process stays.
pub(crate) fn become_program(command: &[OsString]) -> Failure {
    let [program, args @ ..] = command else {
        return Failure::failed("there is no program to run");
    };
    if let Err(why) = rustix::process::setsid() {
        return Failure::failed(format!("cannot begin a session: {why}"));
    }
    let why = Command::new(program).args(args).exec();
    Failure::failed(format!("cannot run {}: {why}", program.display()))
}
