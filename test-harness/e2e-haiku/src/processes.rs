//! Processes as the kernel shows them: who is whose child, and what is left.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its command line, words separated by spaces.
    pub command: String,
}

/// Every process that runs now; zombies are not running.
#[must_use]
pub fn all() -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold parentheses and spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&words).replace('\0', " ");
    Some(Process {
        pid,
        parent,
        command: command.trim().to_owned(),
    })
}

/// The processes that belong to the data directory `dir`: their command line or environment names
/// it.
#[must_use]
pub fn of_data_dir(dir: &Path) -> Vec<Process> {
    let name = dir.to_str().expect("a test's folder has a plain name");
    let names_it = |process: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        process.command.contains(name) || String::from_utf8_lossy(&environment).contains(name)
    };
    all().into_iter().filter(names_it).collect()
}

/// Direct children of `parent`.
#[must_use]
pub fn children(parent: i32) -> Vec<Process> {
    all()
        .into_iter()
        .filter(|process| process.parent == parent)
        .collect()
}

/// Whether `pid` runs.
#[must_use]
pub fn runs(pid: i32) -> bool {
    read(pid).is_some()
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone_already = kill_process(pid, signal);
    }
}

/// Waits until `done` holds.
///
/// # Panics
/// With `what`, when it does not within `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
