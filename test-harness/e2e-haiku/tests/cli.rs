//! `llama-orch` against real daemons and a real engine, from `up` to `down`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_harness_e2e_haiku::fleet::PATIENCE;
use test_harness_e2e_haiku::processes::{of_data_dir, signal, wait_until};
use test_harness_e2e_haiku::{models, programs};

/// A home with a config, and nothing that runs on when it is gone.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new(model: &Path, ctx: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = json!({
            "orchestratord": {
                "bind": "127.0.0.1:0",
                "data_dir": dir.path(),
                "auth": { "open_on_loopback": true },
            },
            "pool_managerd": {
                "bind": "127.0.0.1:0",
                "data_dir": dir.path(),
                "allow_cpu_ci": true,
                "allow_downloads": false,
                "pools": [{
                    "id": "cli",
                    "engine": "llamacpp",
                    "model": format!("file:{}", model.display()),
                    "device_class": "cpu-ci",
                    "ctx": ctx,
                    "threads": 1,
                    "provisioning": { "mode": "binary", "binary": programs::llama_server() },
                }],
            },
        });
        fs::write(dir.path().join("llama-orch.yaml"), config.to_string()).expect("a config");
        Self { dir }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs::program("llama-orch"));
        command
            .arg("--config")
            .arg(self.dir.path().join("llama-orch.yaml"))
            .args(args)
            .env_remove("LLORCH_URL")
            .env_remove("LLORCH_API_TOKEN")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args)
            .output()
            .expect("llama-orch can be started")
    }

    /// Runs, expects success, and reads the last line as JSON.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {problem}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    }

    fn processes(&self) -> usize {
        of_data_dir(self.dir.path()).len()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for process in of_data_dir(self.dir.path()) {
            signal(process.pid, Signal::KILL);
        }
    }
}

// spec: CLI-8003, CLI-8004, CLI-8005
#[test]
fn up_run_and_down_leave_nothing_behind() {
    let home = Home::new(&models::haiku_tiny(), 512);
    let up = home.json(&["up"]);
    let pools = home.json(&["pools"]);
    assert_eq!(pools[0]["replicas"][0]["phase"], "ready", "{pools}");
    assert_eq!(home.json(&["doctor"])["ok"], true);

    let output = home.run(&["run", "Write a haiku about the sea", "--seed", "7"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let poem = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(poem.trim().lines().count(), 3, "{poem}");

    assert_eq!(
        home.json(&["up"])["url"],
        up["url"],
        "a second `up` finds the first"
    );
    let down = home.json(&["down"]);
    assert!(
        down["daemons"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|d| d["was_running"] == true)
    );
    wait_until("nothing is left", PATIENCE, || home.processes() == 0);
    let again = home.json(&["down"]);
    assert!(
        again["daemons"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|d| d["was_running"] == false)
    );
}

// spec: CLI-8006
#[test]
fn ctrl_c_ends_an_attached_up_and_both_daemons() {
    let home = Home::new(&models::haiku_tiny(), 512);
    let mut attached = home
        .command(&["up", "--attach", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("llama-orch can be started");
    let mut ready = String::new();
    let output = attached.stdout.take().expect("a pipe");
    BufReader::new(output)
        .read_line(&mut ready)
        .expect("it says where it is ready");
    assert!(ready.contains("\"attached\":true"), "{ready}");
    assert!(
        home.run(&["run", "Write a haiku about rain"])
            .status
            .success()
    );
    signal(i32::try_from(attached.id()).expect("a pid"), Signal::INT);
    let status = attached.wait().expect("it ends");
    assert!(status.success(), "{status}");
    wait_until("nothing is left", PATIENCE, || home.processes() == 0);
}

// spec: CLI-8012
#[test]
fn ctrl_c_ends_a_long_answer_and_frees_its_slot() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let home = Home::new(&models::long_stream(dir.path()), 32_768);
    home.json(&["up"]);
    let mut run = home
        .command(&["run", "noise", "--max-tokens", "30000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("llama-orch can be started");
    let busy = || home.json(&["pools"])[0]["replicas"][0]["busy"].as_u64();
    wait_until("it generates", PATIENCE, || busy() == Some(1));
    signal(i32::try_from(run.id()).expect("a pid"), Signal::INT);
    assert_eq!(run.wait().expect("it ends").code(), Some(130));
    wait_until("the slot is free", PATIENCE, || busy() == Some(0));
    home.json(&["down"]);
    wait_until("nothing is left", PATIENCE, || home.processes() == 0);
}
