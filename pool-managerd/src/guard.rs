//! The guard: a small process between the agent and an engine that outlives the agent just long
//! enough to remove the engine.
//!
//! ```text
//! agent ──lifeline (pipe on stdin)──▶ guard ──▶ guard-exec ═exec═▶ engine ──▶ its children …
//! ```
//!
//! # Invariants
//! - Single-threaded: the engine's parent-death signal fires when the *thread* that started it
//!   ends, so there is only the one. `main` comes here before any runtime exists.
//! - It ends only when every process below it is gone, so its end means that memory and ports are
//!   free again.
//! - A closed lifeline removes everything, whatever the agent died of.
//!
//! Not here: when a worker is started or stopped (supervisor), and what is left when the guard
//! itself was killed (marker).

mod exec;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process_group, pidfd_open,
    set_child_subreaper, setsid, wait,
};

use crate::processes;

pub use exec::exec;

/// Asks the engine to end: SIGTERM to its process group.
pub const TERMINATE: u8 = b'T';
/// Removes the engine and everything below it. The end of the lifeline means the same.
pub const KILL: u8 = b'K';

/// Why a guard could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It was started by hand, or by something that makes it a group leader.
    #[error("the guard cannot open a session of its own: it is started by pool-managerd only")]
    NoSession(#[source] io::Error),
    /// A call to the system failed.
    #[error("the guard cannot {what}")]
    System {
        /// What it wanted to do.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> GuardError {
    move |source| GuardError::System {
        what,
        source: source.into(),
    }
}

/// Runs `command` until it ends or the lifeline on stdin closes, and ends as the command did.
///
/// # Errors
/// When the session, the lifeline or the command cannot be set up; nothing is left behind then.
// spec: OC-POOL-3100, OC-POOL-3101
pub fn run(command: &[OsString]) -> Result<ExitCode, GuardError> {
    // The name makes no difference to anything but `ps`.
    let _ = rustix::thread::set_name(c"llorch-guard");
    ignore_signals()?;
    setsid().map_err(|errno| GuardError::NoSession(errno.into()))?;
    set_child_subreaper(Some(getpid())).map_err(system("adopt orphans"))?;
    let child = start(command)?;
    let watched = watch(&child);
    let status = remove_descendants(&child);
    watched?;
    Ok(exit_code(status))
}

/// A stop of the whole machine, or of a service with all its processes, must not take the guard
/// before the engine. A handler is used, not `SIG_IGN`, which the engine would inherit.
fn ignore_signals() -> Result<(), GuardError> {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal_hook::flag::register(signal.as_raw(), Arc::new(AtomicBool::new(false)))
            .map_err(system("handle signals"))?;
    }
    Ok(())
}

/// Starts this same program again as `guard-exec`, which becomes the engine.
// spec: OC-POOL-3103
fn start(command: &[OsString]) -> Result<Child, GuardError> {
    use std::os::unix::process::CommandExt;
    Command::new("/proc/self/exe")
        .arg("guard-exec")
        .arg("--guard")
        .arg(getpid().as_raw_nonzero().to_string())
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(system("start the engine"))
}

/// Returns when the engine has ended, or has to be removed.
// spec: OC-POOL-3102, OC-POOL-3107
fn watch(child: &Child) -> Result<(), GuardError> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(system("watch the engine"))?;
    let lifeline = rustix::stdio::stdin();
    loop {
        let mut ready = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(&lifeline, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(system("wait for the engine")(errno)),
        }
        if !ready[0].revents().is_empty() {
            return Ok(());
        }
        if !ready[1].revents().is_empty() && !obey(pid) {
            return Ok(());
        }
    }
}

/// Carries out what the lifeline says; false when everything has to go.
fn obey(engine: Pid) -> bool {
    let mut orders = [0; 16];
    match rustix::io::read(rustix::stdio::stdin(), &mut orders) {
        Err(Errno::INTR | Errno::AGAIN) => true,
        Ok(0) | Err(_) => false,
        Ok(count) => {
            let orders = &orders[..count];
            if orders.contains(&TERMINATE) {
                // An engine that is just ending has no group any more; the loop sees that next.
                let _ = kill_process_group(engine, Signal::TERM);
            }
            !orders.contains(&KILL)
        }
    }
}

/// Kills and reaps until this process has no child left, and tells how the engine ended.
///
/// Whatever a killed process leaves behind becomes a child of this one, and a new look finds it,
/// so the loop ends only when nothing is left, however deep the family was.
// spec: OC-POOL-3102
fn remove_descendants(engine: &Child) -> ExitStatus {
    let engine = Pid::from_child(engine);
    let mut status = ExitStatus::from_raw(Signal::KILL.as_raw());
    loop {
        for process in processes::descendants(getpid(), &processes::all().unwrap_or_default()) {
            // One that is not ours to kill keeps the guard waiting, and the agent says so.
            let _ = process.kill();
        }
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, ended))) if pid == engine => {
                status = ExitStatus::from_raw(ended.as_raw());
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return status,
        }
    }
}

/// The code a shell would give: the engine's own, or 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
