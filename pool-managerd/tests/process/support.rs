//! Starting the program under test, looking at processes, and waiting for conditions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use pool_managerd::marker::{self, Owner};
use pool_managerd::processes::Process;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest wait for anything. Machines under test are small and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pool-managerd");

/// Waits until `done` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end of a child.
#[track_caller]
pub(crate) fn wait_exit(child: &mut Child) -> ExitStatus {
    wait_for("the process ends", || child.try_wait().unwrap())
}

pub(crate) fn pid(raw: i32) -> Pid {
    Pid::from_raw(raw).expect("a positive number")
}

pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

pub(crate) fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).expect("the process is there");
}

/// Whether the process runs. One that only waits to be reaped does not.
pub(crate) fn runs(pid: Pid) -> bool {
    Process::look(pid).is_some_and(|process| !process.zombie)
}

#[track_caller]
pub(crate) fn wait_gone(pids: &[Pid]) {
    for pid in pids {
        wait_for(&format!("{pid:?} is gone"), || (!runs(*pid)).then_some(()));
    }
}

/// Writes an engine: a script that tells a version and otherwise does what `body` says.
pub(crate) fn engine(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("llama-server");
    let version = "[ \"$1\" = --version ] && { echo 'version: 336 (0c1e570)'; exit; }";
    fs::write(&path, format!("#!/bin/sh\n{version}\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A folder with a model file, for one agent.
pub(crate) fn home() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tiny.gguf"), b"GGUF and nothing more").unwrap();
    dir
}

/// A pool of one worker on the CPU, with quick retries, laid over by `changes`.
pub(crate) fn pool(changes: Value) -> Value {
    let mut pool = json!({
        "id": "haiku",
        "engine": "llamacpp",
        "model": "file:tiny.gguf",
        "device_class": "cpu-ci",
        "provisioning": { "mode": "binary", "binary": "llama-server" },
        "restart": { "backoff": { "min": "1ms", "max": "5ms" } },
    });
    for (key, value) in changes.as_object().expect("changes are fields") {
        pool[key] = value.clone();
    }
    pool
}

/// A running agent. It is killed with the test, and its workers with it.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) base: String,
    token: String,
    http: reqwest::Client,
}

pub(crate) fn write_config(dir: &Path, pools: &[Value]) {
    let config = json!({
        "orchestratord": { "auth": { "open_on_loopback": true } },
        "pool_managerd": { "allow_cpu_ci": true, "node_id": "box", "pools": pools },
    });
    // JSON is YAML.
    fs::write(dir.join("llama-orch.yaml"), config.to_string()).unwrap();
}

/// The program with the config of `dir`, and an environment without settings of the machine.
pub(crate) fn program(dir: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("LLORCH_"))
        {
            command.env_remove(name);
        }
    }
    command.arg("--config").arg(dir.join("llama-orch.yaml"));
    command
}

impl Agent {
    /// Starts the agent in `dir` with `pools`; nobody answers as orchestratord.
    #[track_caller]
    pub(crate) fn start(dir: &Path, pools: &[Value]) -> Self {
        Self::start_for(dir, pools, "http://127.0.0.1:9")
    }

    #[track_caller]
    pub(crate) fn start_for(dir: &Path, pools: &[Value], orchestrator: &str) -> Self {
        write_config(dir, pools);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("agent.log"))
            .unwrap();
        let mut child = program(dir)
            .args([
                "--bind",
                "127.0.0.1:0",
                "--orchestrator",
                orchestrator,
                "--data-dir",
            ])
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let run_file = dir.join("run/pool-managerd.json");
        let pid = child.id();
        let address = wait_for("the agent listens", || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", log_of(dir));
            let run: Value = serde_json::from_slice(&fs::read(&run_file).ok()?).ok()?;
            (run["pid"] == pid)
                .then(|| run["address"].as_str().map(str::to_owned))
                .flatten()
        });
        Self {
            child,
            base: format!("http://{address}"),
            token: fs::read_to_string(dir.join("node.token"))
                .unwrap()
                .trim()
                .to_owned(),
            dir: dir.to_owned(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Asks without a token.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn get_as(&self, path: &str, token: &str) -> reqwest::Response {
        let request = self
            .http
            .get(format!("{}{path}", self.base))
            .bearer_auth(token);
        request.send().await.unwrap()
    }

    /// Asks with the token; the answer must be 200.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let answer = self.get_as(path, &self.token).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    }

    /// Waits until the first worker of `haiku` is as `wanted`, and gives the whole pool.
    pub(crate) async fn wait_worker(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let pool = self.read("/v1/pools/haiku").await;
            if wanted(&pool["state"]["replicas"][0]) {
                return pool;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "{what}: {pool:#}\n{}", log_of(&self.dir));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The cause of the first worker once it is broken.
    pub(crate) async fn broken_cause(&self) -> String {
        let pool = self
            .wait_worker("it is broken", |worker| worker["phase"] == "broken")
            .await;
        pool["state"]["replicas"][0]["cause"]
            .as_str()
            .expect("it has a cause")
            .to_owned()
    }

    /// Waits for a line in the log of the first worker, and gives what follows `prefix`.
    pub(crate) async fn wait_line(&self, prefix: &str) -> String {
        let begun = Instant::now();
        loop {
            let pool = self.read("/v1/pools/haiku").await;
            let lines = pool["logs"][0]["lines"].as_array().unwrap().iter();
            let mut found = lines.filter_map(|line| line.as_str()?.strip_prefix(prefix));
            if let Some(rest) = found.next_back() {
                return rest.to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "no line `{prefix}`: {pool:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        signal(pid_of(&self.child), Signal::TERM);
        wait_exit(&mut self.child)
    }

    /// Kills the agent without a word to it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
        // Guards remove their workers; what a defect left behind ends here.
        if let Ok(owner) = Owner::of(&self.dir) {
            let _nothing_left = marker::remove_all(&owner, Duration::from_secs(10));
        }
    }
}

pub(crate) fn log_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("agent.log")).unwrap_or_default()
}

/// Runs the program to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}
