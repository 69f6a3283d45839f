//! The program as its users run it, against a server of canned answers.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod server;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use server::{Answer, Server};

const ID: &str = "6f0c1f9e-58d4-4ac5-8d8f-0d8a3b1f2c4e";

fn program(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llama-orch"));
    let ours = |(name, _): &(std::ffi::OsString, _)| name.to_string_lossy().starts_with("LLORCH_");
    for (name, _) in std::env::vars_os().filter(ours) {
        command.env_remove(name);
    }
    command
        .args(args)
        .current_dir(home)
        .env("HOME", home)
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    program(home.path(), args).output().unwrap()
}

/// Runs against the server.
fn ask(server: &Server, args: &[&str]) -> Output {
    let url = server.url();
    run(&[&["--url", &url], args].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
}

fn event(name: &str, id: Option<&str>, data: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

fn started() -> String {
    let data = json!({
        "queue_position": 0, "predicted_start_ms": 0, "engine": "llamacpp",
        "engine_version": "b1-x", "model_digest": "sha256:00", "pool_id": "p",
        "replica_id": "p-0", "device_class": "cpu-ci", "kv_warmth": false, "seed": 7,
    });
    event("started", None, &data)
}

fn token(index: u64, piece: &str) -> String {
    event(
        "token",
        Some(&format!("at-{index}")),
        &json!({ "t": piece, "i": index }),
    )
}

fn end(reason: &str) -> String {
    let data = json!({
        "tokens_in": 2, "tokens_out": 2, "decode_time_ms": 4, "queue_time_ms": 1,
        "finish_reason": reason, "text_digest": "00",
    });
    event("end", None, &data)
}

/// A server that serves one model and answers its one task like this.
fn serving(stream: Answer) -> Server {
    let capabilities = json!({ "api_version": "1.0.0", "pools": [{
        "pool_id": "p", "engine": "llamacpp", "engine_version": "b1-x", "models": ["haiku"],
        "model_digest": "sha256:00", "device_class": "cpu-ci", "ctx_max": 512,
        "max_tokens_out": 511, "concurrency": 1, "workloads": ["completion"],
        "sampler_profile_version": "v1",
    }] });
    let admitted = json!({
        "task_id": ID, "session_id": ID, "correlation_id": "c", "queue_position": 0,
        "predicted_start_ms": 0, "backoff_ms": 0, "on_time_probability": null,
        "stream_url": format!("/v1/tasks/{ID}/stream"),
    });
    Server::start(&[
        (
            "GET /v1/capabilities",
            Answer::Json(200, capabilities.to_string()),
        ),
        ("POST /v1/tasks", Answer::Json(202, admitted.to_string())),
        ("GET /v1/tasks/ID/stream", stream),
        ("POST /v1/tasks/ID/cancel", Answer::Json(204, String::new())),
    ])
}

// spec: CLI-8009
#[test]
fn up_without_a_config_shows_one_to_write() {
    let output = run(&["up"]);
    assert_exit(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("there is no config"), "{said}");
    assert!(
        said.contains("      model: file:/path/to/model.gguf\n"),
        "{said}"
    );
    assert!(said.contains("allow_cpu_ci: true"), "{said}");
}

// spec: OC-CONFIG-6022
#[test]
fn a_config_that_is_wrong_names_the_field() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("llama-orch.yaml"),
        "pool_managerd:\n  pols: []\n",
    )
    .unwrap();
    for args in [&["up"][..], &["down"], &["pools"]] {
        let output = program(home.path(), args).output().unwrap();
        assert_exit(&output, 2);
        assert!(
            text(&output.stderr).contains("pols"),
            "{}",
            text(&output.stderr)
        );
    }
}

// spec: CLI-8007, CLI-8011
#[test]
fn a_prompt_is_answered_on_standard_output_alone() {
    let events = [
        started(),
        token(0, "The sea "),
        token(1, "is wide"),
        end("stop"),
    ]
    .concat();
    let server = serving(Answer::Events(events));
    let output = ask(&server, &["run", "a haiku", "--seed", "7"]);
    assert_exit(&output, 0);
    assert_eq!(text(&output.stdout), "The sea is wide");
    assert!(
        text(&output.stderr).contains("2 tokens in 4 ms"),
        "{}",
        text(&output.stderr)
    );
    let posted: Value = serde_json::from_str(&server.bodies("POST /v1/tasks")[0]).unwrap();
    assert_eq!(posted["prompt"], "a haiku");
    assert_eq!(
        (&posted["model_ref"], &posted["seed"]),
        (&json!("haiku"), &json!(7))
    );
    assert_eq!(posted["task_id"].as_str().unwrap().len(), 36);
}

// spec: CLI-8008
#[test]
fn json_of_a_run_is_a_line_per_event() {
    let events = [started(), token(0, "hi"), end("stop")].concat();
    let output = ask(&serving(Answer::Events(events)), &["run", "x", "--json"]);
    assert_exit(&output, 0);
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["admitted", "started", "token", "end"]);
    assert_eq!(
        lines[2],
        json!({ "event": "token", "t": "hi", "i": 0, "id": "at-0" })
    );
    assert_eq!(text(&output.stderr), "");
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

// spec: CLI-8012
#[test]
fn ctrl_c_cancels_the_task_and_waits_for_its_end() {
    let server = serving(Answer::Held {
        first: started() + &token(0, "a"),
        until: "POST /v1/tasks/ID/cancel",
        then: end("canceled"),
    });
    let home = tempfile::tempdir().unwrap();
    let url = server.url();
    let mut child = program(home.path(), &["--url", &url, "run", "x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"a");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    assert_eq!(server.bodies("POST /v1/tasks/ID/cancel").len(), 1);
}

#[test]
fn ctrl_c_on_a_stream_leaves_the_task_alone() {
    let server = serving(Answer::Held {
        first: token(0, "a"),
        until: "never",
        then: String::new(),
    });
    let home = tempfile::tempdir().unwrap();
    let url = server.url();
    let mut child = program(home.path(), &["--url", &url, "stream", ID])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 130);
    assert_eq!(server.bodies("POST /v1/tasks/ID/cancel"), [""; 0]);
}

// spec: CLI-8009, CLI-8010
#[test]
fn a_task_that_fails_exits_with_its_own_code() {
    let error = json!({ "code": "DECODE_TIMEOUT", "message": "no token for 30 s",
        "retriable": true, "partial": true });
    let events = [token(0, "a"), event("error", None, &error)].concat();
    let output = ask(&serving(Answer::Events(events)), &["stream", ID]);
    assert_exit(&output, 3);
    let said = text(&output.stderr);
    assert!(
        said.contains("no token for 30 s (DECODE_TIMEOUT)"),
        "{said}"
    );
    assert!(
        said.contains("may succeed later") && said.contains("incomplete"),
        "{said}"
    );
    let output = ask(&serving(Answer::Events(end("canceled"))), &["stream", ID]);
    assert_exit(&output, 3);
}

// spec: CLI-8010
#[test]
fn a_refusal_is_told_with_what_there_is() {
    let body = json!({ "code": "NOT_FOUND", "message": "no pool serves `z`", "retriable": false,
        "details": { "available": ["haiku"] }, "correlation_id": "c-9" });
    let server = Server::start(&[
        (
            "GET /v1/capabilities",
            Answer::Json(200, r#"{"api_version":"1","pools":[]}"#.into()),
        ),
        ("POST /v1/tasks", Answer::Json(404, body.to_string())),
    ]);
    let output = ask(&server, &["run", "x", "--model", "z", "--json"]);
    assert_exit(&output, 1);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["error"]["code"], "NOT_FOUND");
    let said = text(&output.stderr);
    assert!(
        said.contains("no pool serves `z` (NOT_FOUND)\n  there is: haiku\n"),
        "{said}"
    );
}

// spec: CLI-8009
#[test]
fn a_daemon_that_does_not_answer_is_named() {
    // A port that was free a moment ago: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}");
    for args in [
        &["pools"][..],
        &["cancel", ID],
        &["run", "x"],
        &["stream", ID],
    ] {
        let output = run(&[&["--url", &url], args].concat());
        assert_exit(&output, 4);
        let said = text(&output.stderr);
        assert!(
            said.contains(&url) && said.contains("llama-orch up"),
            "{said}"
        );
    }
}

#[test]
fn a_cancel_reaches_the_task() {
    let server = serving(Answer::Events(String::new()));
    let output = ask(&server, &["cancel", ID, "--json"]);
    assert_exit(&output, 0);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told, json!({ "task_id": ID, "canceled": true }));
    assert_eq!(server.bodies("POST /v1/tasks/ID/cancel").len(), 1);
}

#[test]
fn a_detached_run_prints_the_id_and_leaves() {
    let server = serving(Answer::Held {
        first: String::new(),
        until: "never",
        then: String::new(),
    });
    let output = ask(&server, &["run", "x", "--detach"]);
    assert_exit(&output, 0);
    let posted: Value = serde_json::from_str(&server.bodies("POST /v1/tasks")[0]).unwrap();
    assert_eq!(
        text(&output.stdout).trim(),
        posted["task_id"].as_str().unwrap()
    );
}

// spec: CLI-8005
#[test]
fn down_is_done_when_nothing_runs() {
    let home = tempfile::tempdir().unwrap();
    let config = "orchestratord:\n  auth:\n    open_on_loopback: true\n";
    std::fs::write(home.path().join("llama-orch.yaml"), config).unwrap();
    let output = program(home.path(), &["down", "--json"]).output().unwrap();
    assert_exit(&output, 0);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| json!({ "name": name, "was_running": false, "pid": null });
    assert_eq!(
        told["daemons"],
        json!([of("orchestratord"), of("pool-managerd")])
    );
}

#[test]
fn doctor_says_what_to_mend() {
    let output = run(&["doctor", "--json"]);
    assert_exit(&output, 1);
    let told = text(&output.stdout);
    let first: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["ok"], &first["findings"][0]["what"]),
        (&json!(false), &json!("config"))
    );
    assert!(
        first["findings"][0]["fix"]
            .as_str()
            .unwrap()
            .contains("model: file:")
    );
}
