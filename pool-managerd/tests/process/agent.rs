//! The agent's own life: its lock, its workers when something dies, and its end.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::put;
use axum::{Json, Router};
use pool_managerd::marker::{self, Owner};
use pool_managerd::processes;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    Agent, PATIENCE, engine, home, output, pid, pid_of, pool, program, runs, signal, text,
    wait_exit, wait_for, wait_gone, write_config,
};

/// An engine that says its id and that of a grandchild in a session of its own, and listens
/// nowhere.
const SILENT: &str = "echo engine $$
setsid sh -c 'echo grandchild $$; exec sleep 600' &
while :; do sleep 600; done";

async fn members(agent: &Agent) -> [Pid; 2] {
    let mut found = [pid(1); 2];
    for (found, prefix) in found.iter_mut().zip(["engine ", "grandchild "]) {
        *found = pid(agent.wait_line(prefix).await.parse().expect("a process id"));
    }
    found
}

fn guard_of(agent: &Agent) -> Pid {
    let parent = i32::try_from(agent.child.id()).unwrap();
    let all = processes::all().unwrap();
    let mut children = all
        .iter()
        .filter(|process| process.parent == parent && !process.zombie);
    children.next().expect("the guard is the agent's child").pid
}

// spec: OC-POOL-3167, OC-POOL-3107
#[tokio::test]
async fn a_stop_leaves_no_process_and_no_run_file_and_exits_0() {
    let dir = home();
    engine(dir.path(), SILENT);
    let agent = Agent::start(dir.path(), &[pool(json!({}))]);
    let members = members(&agent).await;
    assert!(members.iter().all(|member| runs(*member)));
    assert_eq!(agent.stop().code(), Some(0));
    assert!(!members.iter().any(|member| runs(*member)));
    assert!(!dir.path().join("run/pool-managerd.json").exists());
}

// spec: OC-POOL-3167
#[tokio::test]
async fn a_second_signal_ends_the_agent_at_once_and_the_guard_removes_the_rest() {
    let dir = home();
    engine(dir.path(), &format!("trap '' TERM\n{SILENT}"));
    let mut agent = Agent::start(dir.path(), &[pool(json!({}))]);
    let members = members(&agent).await;
    let this = pid_of(&agent.child);
    let begun = Instant::now();
    signal(this, Signal::TERM);
    agent
        .wait_worker("it drains", |worker| worker["phase"] == "draining")
        .await;
    signal(this, Signal::TERM);
    assert_eq!(wait_exit(&mut agent.child).code(), Some(143));
    // The engine ignores SIGTERM, so waiting for it would have taken the whole grace time.
    assert!(begun.elapsed().as_secs() < 10);
    wait_gone(&members);
}

// spec: OC-POOL-3104, OC-POOL-3106
#[tokio::test]
async fn a_killed_agent_leaves_no_worker_and_a_new_one_starts_in_its_place() {
    let dir = home();
    engine(dir.path(), SILENT);
    let agent = Agent::start(dir.path(), &[pool(json!({}))]);
    let first = members(&agent).await;
    agent.kill();
    wait_gone(&first);
    let agent = Agent::start(dir.path(), &[pool(json!({}))]);
    assert_ne!(members(&agent).await, first);
    assert_eq!(agent.stop().code(), Some(0));
}

// spec: OC-POOL-3103, OC-POOL-3105, OC-POOL-3136
#[tokio::test]
async fn a_killed_guard_is_replaced_after_everything_below_it_is_gone() {
    let dir = home();
    engine(dir.path(), SILENT);
    let agent = Agent::start(dir.path(), &[pool(json!({}))]);
    let first = members(&agent).await;
    signal(guard_of(&agent), Signal::KILL);
    let pool = agent
        .wait_worker("it is started again", |worker| {
            worker["start"] == 2 && worker["phase"] == "starting"
        })
        .await;
    assert!(!first.iter().any(|member| runs(*member)));
    let worker = &pool["state"]["replicas"][0];
    assert_eq!(worker["restarts"], 1);
    let cause = worker["cause"].as_str().unwrap();
    assert!(cause.contains("the guard was ended by signal 9"), "{cause}");
}

/// A process that carries a mark and has no guard.
struct Sleeper(Child);

impl Sleeper {
    fn marked(mark: &str) -> Self {
        let mut sleep = Command::new("sleep");
        let sleep = sleep
            .arg("600")
            .env(marker::VARIABLE, mark)
            .stdout(Stdio::null());
        Self(sleep.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

// spec: OC-POOL-3105
#[tokio::test]
async fn leftovers_of_an_earlier_life_are_removed_before_anything_starts() {
    let dir = home();
    let left_over = Sleeper::marked(&Owner::of(dir.path()).unwrap().mark("haiku-0"));
    let stranger = Sleeper::marked("0123456789abcdef-haiku-0");
    let agent = Agent::start(dir.path(), &[]);
    // The run file is written after the removal.
    assert!(!runs(pid_of(&left_over.0)));
    assert!(runs(pid_of(&stranger.0)));
    assert_eq!(agent.stop().code(), Some(0));
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_refused_with_2() {
    let dir = home();
    let agent = Agent::start(dir.path(), &[]);
    let mut second = program(dir.path());
    let second = output(
        second
            .args(["--bind", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path()),
    );
    assert_eq!(second.status.code(), Some(2));
    let said = text(&second.stderr);
    assert!(
        said.contains("another pool-managerd") && said.contains("--data-dir"),
        "{said}"
    );
    assert_eq!(agent.stop().code(), Some(0));
}

#[test]
fn a_bad_config_is_refused_with_2_and_the_field() {
    let dir = home();
    write_config(dir.path(), &[pool(json!({ "slots": 0 }))]);
    let refused = output(&mut program(dir.path()));
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("pool_managerd.pools[0].slots"), "{said}");
}

// spec: OC-POOL-3166, OC-POOL-3114, OC-POOL-3110
#[tokio::test]
async fn an_engine_gets_a_key_a_mask_and_no_secret_of_the_agent() {
    let dir = home();
    engine(
        dir.path(),
        "env | sort | sed 's/^/env /'; echo args $*; echo done; sleep 600",
    );
    let agent = Agent::start(dir.path(), &[pool(json!({ "slots": 2, "ctx": 256 }))]);
    agent.wait_line("done").await;
    let pool = agent.read("/v1/pools/haiku").await;
    let lines = pool["logs"][0]["lines"].as_array().unwrap();
    let lines: Vec<_> = lines.iter().filter_map(Value::as_str).collect();
    assert!(lines.contains(&"env CUDA_VISIBLE_DEVICES="), "{lines:?}");
    assert!(lines.contains(&"env LLAMA_API_KEY=[key]"), "{lines:?}");
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("env LLORCH_NODE_TOKEN")),
        "{lines:?}"
    );
    let args = lines.iter().find(|line| line.starts_with("args ")).unwrap();
    assert!(
        args.contains("--host 127.0.0.1 --port ") && args.contains("--ctx-size 512"),
        "{args}"
    );
    assert!(!args.contains("[key]"), "{args}");
}

/// What an orchestratord in this test was sent.
#[derive(Clone, Default)]
struct Pushed(Arc<Mutex<Vec<(String, String, Value)>>>);

impl Pushed {
    fn all(&self) -> Vec<(String, String, Value)> {
        self.0.lock().unwrap().clone()
    }
}

async fn take(
    State(pushed): State<Pushed>,
    Path(node): Path<String>,
    headers: HeaderMap,
    Json(state): Json<Value>,
) -> Json<Value> {
    let key = headers["authorization"].to_str().unwrap().to_owned();
    pushed.0.lock().unwrap().push((node, key, state));
    Json(json!({ "lease_ms": 1000, "renew_ms": 100 }))
}

// spec: ORCH-3403, ORCH-3501, ORCH-3500, ORCH-3502, ORCH-3508
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_state_is_pushed_on_change_and_on_time_once_somebody_takes_it() {
    let dir = home();
    // Nobody listens here while the agent starts.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let missing = pool(json!({ "model": "file:missing.gguf" }));
    let agent = Agent::start_for(dir.path(), &[missing], &format!("http://{address}"));
    agent.broken_cause().await;
    let pushed = Pushed::default();
    let router = Router::new()
        .route("/v1/nodes/{node}", put(take))
        .with_state(pushed.clone());
    let listener = TcpListener::bind(address).await.unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let begun = Instant::now();
    while pushed.all().len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "no pushes: {:?}", pushed.all());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let all = pushed.all();
    let (node, key, first) = &all[0];
    assert_eq!(
        (node.as_str(), key),
        ("box", &format!("Bearer {}", agent.token()))
    );
    let worker = &first["pools"][0]["replicas"][0];
    assert_eq!(
        (&worker["id"], &worker["phase"]),
        (&json!("haiku-0"), &json!("broken"))
    );
    let (seq, next) = (
        first["seq"].as_u64().unwrap(),
        all[1].2["seq"].as_u64().unwrap(),
    );
    assert!(next > seq, "{seq} {next}");
    assert_eq!(first["incarnation"], all[1].2["incarnation"]);
    // The last push says that the worker is being put away.
    assert_eq!(agent.stop().code(), Some(0));
    let last = pushed.all().pop().unwrap().2;
    assert_eq!(last["pools"][0]["replicas"][0]["phase"], "draining");
    server.abort();
}

#[test]
fn the_hidden_and_the_helpful_commands_print_what_they_promise() {
    let dir = home();
    let binary = engine(dir.path(), "exit 1");
    write_config(dir.path(), &[pool(json!({}))]);
    let run = |words: &[&str]| {
        let done = output(program(dir.path()).args(words));
        assert_eq!(
            done.status.code(),
            Some(0),
            "{words:?}: {}",
            text(&done.stderr)
        );
        text(&done.stdout).to_owned()
    };
    assert!(run(&["openapi"]).contains("openapi: 3.1.0"));
    let plan = run(&["plan"]);
    assert!(
        plan.contains("pool haiku") && plan.contains(binary.to_str().unwrap()),
        "{plan}"
    );
    let path = run(&["provision", "--pool", "haiku", "--print-path"]);
    assert_eq!(path.trim(), binary.to_str().unwrap());
    assert_eq!(run(&["provision"]), "");
    let unknown = output(program(dir.path()).args(["plan", "--pool", "sonnet"]));
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("use one of haiku"));
}

#[test]
fn an_agent_whose_address_is_taken_says_so() {
    let dir = home();
    write_config(dir.path(), &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut child = program(dir.path());
    let child = child
        .args(["--bind", &address, "--data-dir"])
        .arg(dir.path());
    let mut child = child
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait_for("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains(&address) && said.contains("--bind"), "{said}");
    assert!(fs::read_dir(dir.path().join("run")).unwrap().count() > 0);
}
