//! Processes of this host, as `/proc` shows them.
//!
//! # Invariants
//! - A process is signalled only while it is the one that was seen: its start time is compared
//!   through a handle that the kernel cannot give to another process.
//!
//! Not here: which processes are ours (guard, marker).

use std::fs;
use std::io;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// One process at the moment it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// The id of its parent; 0 for none that we can see.
    pub parent: i32,
    /// Whether it has ended and only waits to be reaped.
    pub zombie: bool,
    /// CPU time it has used, in clock ticks.
    pub cpu_ticks: u64,
    /// When it was started, in clock ticks since boot. With the id it names one process for ever.
    pub started: u64,
}

impl Process {
    /// Looks at one process; `None` when there is no such process.
    #[must_use]
    pub fn look(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        parse_stat(pid, &stat)
    }

    /// A handle on this very process; `None` when it has ended.
    #[must_use]
    pub fn handle(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(self.pid, PidfdFlags::empty()).ok()?;
        let now = Self::look(self.pid)?;
        (now.started == self.started).then_some(handle)
    }

    /// Kills this very process. One that has ended already is no error.
    ///
    /// # Errors
    /// When it is not ours to kill.
    pub fn kill(&self) -> io::Result<()> {
        let Some(handle) = self.handle() else {
            return Ok(());
        };
        match pidfd_send_signal(handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The name of a program may hold spaces and brackets, so fields count from the last bracket.
fn parse_stat(pid: Pid, stat: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(stat);
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        zombie: *fields.first()? == "Z",
        cpu_ticks: number(11)? + number(12)?,
        started: number(19)?,
    })
}

/// Every process that can be seen now.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        found.extend(pid.and_then(Process::look));
    }
    Ok(found)
}

/// The processes of `among` that descend from `root`, without `root` itself.
#[must_use]
pub fn descendants(root: Pid, among: &[Process]) -> Vec<Process> {
    let mut family = vec![root.as_raw_nonzero().get()];
    let mut found = Vec::new();
    loop {
        let known = family.len();
        for process in among {
            let pid = process.pid.as_raw_nonzero().get();
            if family.contains(&process.parent) && !family.contains(&pid) {
                family.push(pid);
                found.push(*process);
            }
        }
        if family.len() == known {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).expect("a positive number")
    }

    fn process(raw: i32, parent: i32) -> Process {
        Process {
            pid: pid(raw),
            parent,
            zombie: false,
            cpu_ticks: 0,
            started: 1,
        }
    }

    #[test]
    fn a_program_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = b"42 (a) Z 9 (x)) S 7 42 42 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 1 0 777 1 1";
        let seen = parse_stat(pid(42), line).unwrap();
        assert_eq!(
            seen,
            Process {
                pid: pid(42),
                parent: 7,
                zombie: false,
                cpu_ticks: 110,
                started: 777
            }
        );
        assert_eq!(parse_stat(pid(42), b"42 (cut off) S 7"), None);
    }

    #[test]
    fn descendants_are_found_over_any_depth_and_order() {
        let among = [
            process(5, 4),
            process(4, 3),
            process(3, 2),
            process(9, 1),
            process(2, 1),
        ];
        let mut found: Vec<_> = descendants(pid(2), &among)
            .iter()
            .map(|p| p.pid.as_raw_nonzero().get())
            .collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4, 5]);
    }

    #[test]
    fn a_process_with_the_same_id_but_another_start_is_not_signalled() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let seen = Process::look(Pid::from_child(&child)).unwrap();
        let other = Process {
            started: seen.started + 1,
            ..seen
        };
        other.kill().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        seen.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
