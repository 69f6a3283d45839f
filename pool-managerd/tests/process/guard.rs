//! The guard with real families of processes below it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use pool_managerd::marker::{self, Owner};
use pool_managerd::processes;
use rustix::process::{Pid, Signal};

use crate::support::{PROGRAM, pid, pid_of, runs, signal, wait_exit, wait_for, wait_gone};

/// An engine that ignores SIGTERM, with a child, and a grandchild in a session of its own. Each
/// says its process id.
const FAMILY: &str = "trap '' TERM
setsid sh -c 'echo $$; exec sleep 600' &
sh -c 'echo $$; sleep 600 & echo $!; wait' &
echo $$
while :; do sleep 600; done";
const MEMBERS: usize = 4;

struct Guard {
    child: Child,
    lifeline: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    mark: String,
    _dir: tempfile::TempDir,
}

impl Guard {
    fn over(words: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mark = Owner::of(dir.path()).unwrap().mark("r");
        let mut child = Command::new(PROGRAM)
            .args(["guard", "--"])
            .args(words)
            .env(marker::VARIABLE, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            lifeline: child.stdin.take(),
            child,
            output,
            mark,
            _dir: dir,
        }
    }

    fn over_script(script: &str) -> Self {
        Self::over(&["sh", "-c", script])
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// The process ids that the family says.
    fn family(&mut self) -> Vec<Pid> {
        (0..MEMBERS)
            .map(|_| pid(self.line().parse().expect("a process id")))
            .collect()
    }

    fn order(&mut self, order: &[u8]) {
        self.lifeline.as_mut().unwrap().write_all(order).unwrap();
    }

    #[track_caller]
    fn exit_code(&mut self) -> Option<i32> {
        wait_exit(&mut self.child).code()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
        let _nothing_left = marker::remove_marked(&self.mark, Duration::from_secs(10));
    }
}

// spec: OC-POOL-3100, OC-POOL-3101, OC-POOL-3102, OC-POOL-3104
#[test]
fn a_closed_lifeline_removes_the_whole_family() {
    let mut guard = Guard::over_script(FAMILY);
    let family = guard.family();
    assert!(family.iter().all(|member| runs(*member)));
    drop(guard.lifeline.take());
    assert_eq!(guard.exit_code(), Some(137));
    // Its end means that they are gone, so there is nothing to wait for.
    assert!(!family.iter().any(|member| runs(*member)));
}

// spec: OC-POOL-3103, OC-POOL-3105
#[test]
fn a_killed_guard_takes_the_engine_with_it_and_the_mark_names_the_rest() {
    let mut guard = Guard::over_script(FAMILY);
    let family = guard.family();
    let engine = processes::descendants(pid_of(&guard.child), &processes::all().unwrap());
    let engine = engine.iter().find(|process| {
        process.parent == i32::try_from(guard.child.id()).unwrap() && family.contains(&process.pid)
    });
    let engine = engine.expect("the engine is the guard's child").pid;
    guard.child.kill().unwrap();
    guard.child.wait().unwrap();
    wait_gone(&[engine]);
    assert!(
        family.iter().any(|member| runs(*member)),
        "grandchildren outlive the engine"
    );
    marker::remove_marked(&guard.mark, Duration::from_secs(10)).unwrap();
    assert!(!family.iter().any(|member| runs(*member)));
}

// spec: OC-POOL-3107
#[test]
fn an_engine_that_is_asked_to_end_may_do_so_in_its_own_way() {
    let mut guard = Guard::over_script("trap 'exit 7' TERM; sleep 600 & echo $!; wait");
    let child = pid(guard.line().parse().unwrap());
    guard.order(b"T");
    assert_eq!(guard.exit_code(), Some(7));
    assert!(!runs(child));
}

// spec: OC-POOL-3107
#[test]
fn an_engine_that_does_not_listen_is_killed_when_that_is_said() {
    let mut guard = Guard::over_script(FAMILY);
    let family = guard.family();
    guard.order(b"T");
    // The engine's `sleep` is in its group and ends; the engine itself goes on with the next.
    let engine = pid_of(&guard.child);
    wait_for("the engine has started another sleep", || {
        let below = processes::descendants(engine, &processes::all().unwrap());
        (below.len() > MEMBERS - 1).then_some(())
    });
    guard.order(b"K");
    assert_eq!(guard.exit_code(), Some(137));
    assert!(!family.iter().any(|member| runs(*member)));
}

// spec: OC-POOL-3102
#[test]
fn an_engine_that_ends_by_itself_leaves_nothing_and_its_code_is_passed_on() {
    let mut guard = Guard::over_script("setsid sleep 600 & echo $!; exit 3");
    let child = pid(guard.line().parse().unwrap());
    assert_eq!(guard.exit_code(), Some(3));
    assert!(!runs(child));
}

// spec: OC-POOL-3165
#[test]
fn a_program_that_cannot_be_started_is_named() {
    let mut guard = Guard::over(&["/nonexistent/llama-server"]);
    assert_eq!(guard.exit_code(), Some(127));
    let mut said = String::new();
    guard
        .child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(
        said.contains("cannot start /nonexistent/llama-server"),
        "{said}"
    );
}

// spec: OC-POOL-3101
#[test]
fn signals_to_the_guard_do_not_end_it_and_the_engine_does_not_inherit_that() {
    let mut guard = Guard::over(&["sh", "-c", "echo up; exec sleep 600"]);
    assert_eq!(guard.line(), "up");
    for sent in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal(pid_of(&guard.child), sent);
    }
    guard.order(b"T");
    // Only an engine that still heeds SIGTERM ends by it.
    assert_eq!(guard.exit_code(), Some(128 + 15));
}

// spec: OC-POOL-3101
#[test]
fn the_engine_has_a_session_of_the_guard_and_no_input() {
    let mut guard = Guard::over_script("readlink /proc/$$/fd/0; cut -d ' ' -f 6 /proc/$$/stat");
    assert_eq!(guard.line(), "/dev/null");
    assert_eq!(guard.line(), guard.child.id().to_string());
    assert_eq!(guard.exit_code(), Some(0));
}
