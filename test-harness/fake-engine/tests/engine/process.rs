//! The program: its one line, its exits, and signals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use std::os::unix::process::ExitStatusExt;
use test_harness_fake_engine::Dialect::{self, Llamacpp, Tgi, Triton, Vllm};
use test_harness_fake_engine::log::{self, Entry, Event};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::asking::{ALL, Ask, events, request};
use crate::client::{self, PATIENCE};

/// A `fake-engine` process. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    _files: tempfile::TempDir,
}

fn command(dialect: Dialect, script: &str, files: &tempfile::TempDir) -> Command {
    let path = files.path().join("script.yaml");
    std::fs::write(&path, script).unwrap();
    let name = serde_json::to_value(dialect).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-engine"));
    command
        .args(["--dialect", name.as_str().unwrap(), "--script"])
        .arg(path)
        .arg("--log")
        .arg(files.path().join("truth.jsonl"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Program {
    pub(crate) async fn start(dialect: Dialect, script: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let mut child = command(dialect, script, &files).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address: SocketAddr = told["address"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            told["metrics_address"].is_string(),
            dialect == Triton,
            "{line}"
        );
        let program = Self {
            child,
            address,
            log: files.path().join("truth.jsonl"),
            _files: files,
        };
        program.wait_for(|event| *event == Event::Ready).await;
        program
    }

    async fn wait_for(&self, what: impl Fn(&Event) -> bool) {
        let found = async {
            while !log::read(&self.log)
                .unwrap()
                .iter()
                .any(|entry| what(&entry.event))
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, found)
            .await
            .expect("the log says so in time");
    }

    fn signal(&self) {
        let pid = self.child.id().expect("it has not been reaped");
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    async fn exit(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("an exit in time")
            .unwrap()
    }

    /// Ends it, and gives its log.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, Vec<Entry>) {
        self.signal();
        (self.exit().await, log::read(&self.log).unwrap())
    }
}

/// Runs a program that ends by itself.
async fn run(dialect: Dialect, script: &str) -> Output {
    let files = tempfile::tempdir().unwrap();
    let output = command(dialect, script, &files).output();
    timeout(PATIENCE, output)
        .await
        .expect("an exit in time")
        .unwrap()
}

const SLOW: &str = "decode_tokens_per_s: 100";

// spec: OC-TEST-7302
#[tokio::test]
async fn an_idle_engine_ends_at_sigterm_with_0() {
    for dialect in ALL {
        let program = Program::start(dialect, "").await;
        // An idle connection must not hold it back.
        let _idle = TcpStream::connect(program.address).await.unwrap();
        assert!(program.terminate().await.0.success(), "{dialect:?}");
    }
}

/// Sends SIGTERM in the middle of a stream of 60 tokens and gives the stream's answer.
async fn terminated_mid_stream(dialect: Dialect) -> (client::Answer, Program) {
    let program = Program::start(dialect, SLOW).await;
    let ask = Ask {
        max_tokens: 60,
        ..Ask::default()
    };
    let mut stream = client::send(program.address, &request(dialect, ask)).await;
    program
        .wait_for(|event| matches!(event, Event::Token { count: 3.., .. }))
        .await;
    program.signal();
    program.wait_for(|event| *event == Event::Terminating).await;
    (
        timeout(PATIENCE, client::read_answer(&mut stream))
            .await
            .unwrap(),
        program,
    )
}

// spec: OC-TEST-7302
#[tokio::test]
async fn llamacpp_cuts_its_streams_at_sigterm() {
    let (answer, mut program) = terminated_mid_stream(Llamacpp).await;
    assert!(!answer.is_whole && !answer.text().contains("\"stop\":true"));
    assert!(program.exit().await.success());
}

// spec: OC-TEST-7302
#[tokio::test]
async fn vllm_aborts_its_streams_at_sigterm_and_says_done() {
    let (answer, mut program) = terminated_mid_stream(Vllm).await;
    let told = events(&answer);
    let reasons = told
        .iter()
        .map(|event| &event["choices"][0]["finish_reason"]);
    assert_eq!(reasons.filter(|reason| *reason == "abort").count(), 1);
    assert!(answer.is_whole && answer.text().ends_with("data: [DONE]\n\n"));
    assert!(program.exit().await.success());
}

// spec: OC-TEST-7302
#[tokio::test]
async fn tgi_and_triton_drain_their_streams_at_sigterm() {
    for dialect in [Tgi, Triton] {
        let (answer, mut program) = terminated_mid_stream(dialect).await;
        assert!(answer.is_whole, "{dialect:?}");
        assert_eq!(crate::asking::events(&answer).len(), 60, "{dialect:?}");
        assert!(program.exit().await.success(), "{dialect:?}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn while_draining_tgi_refuses_and_triton_closes_without_a_byte() {
    for dialect in [Tgi, Triton] {
        let program = Program::start(dialect, SLOW).await;
        let ask = Ask {
            max_tokens: 200,
            ..Ask::default()
        };
        let running = client::send(program.address, &request(dialect, ask)).await;
        program
            .wait_for(|event| matches!(event, Event::Token { .. }))
            .await;
        program.signal();
        program.wait_for(|event| *event == Event::Terminating).await;
        let turned_away = async {
            loop {
                let Ok(mut stream) = TcpStream::connect(program.address).await else {
                    return dialect == Tgi;
                };
                let answer = client::read_some(&mut stream, 1);
                if let Ok(bytes) = timeout(Duration::from_millis(200), answer).await {
                    return dialect == Triton && bytes.is_empty();
                }
            }
        };
        assert!(timeout(PATIENCE, turned_away).await.unwrap(), "{dialect:?}");
        drop(running);
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn sigterm_can_be_ignored() {
    let mut program = Program::start(Llamacpp, "on_sigterm: ignore").await;
    program.signal();
    assert!(
        timeout(Duration::from_millis(200), program.child.wait())
            .await
            .is_err()
    );
    assert_eq!(
        client::ask(program.address, &client::get("/health"))
            .await
            .status(),
        200
    );
    program.child.kill().await.unwrap();
}

// spec: OC-TEST-7302
#[tokio::test]
async fn the_process_dies_at_the_scripted_token_or_byte_and_the_log_says_so() {
    for dialect in ALL {
        for (at, fault, signal, code) in [
            ("token: 3", "kill", Some(9), None),
            ("byte: 0", "kill", Some(9), None),
            ("body_byte: 100", "{exit: {code: 17}}", None, Some(17)),
        ] {
            let script = format!("faults: [{{at: {{{at}}}, fault: {fault}}}]");
            let mut program = Program::start(dialect, &script).await;
            let answer = client::ask(program.address, &request(dialect, Ask::default())).await;
            assert!(!answer.is_whole, "{dialect:?} {at}");
            let status = program.exit().await;
            assert_eq!(
                (status.signal(), status.code()),
                (signal, code),
                "{dialect:?} {at}"
            );
            let log = log::read(&program.log).unwrap();
            assert_eq!(log.last().unwrap().event, Event::Stopped);
            let told = log.iter().rev().find_map(|entry| match entry.event {
                Event::Token { wire_bytes, .. } => Some(wire_bytes),
                _ => None,
            });
            assert!(
                answer.wire.len() as u64 >= told.unwrap_or(0),
                "{dialect:?}: what is logged was sent"
            );
        }
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn vllms_server_outlives_its_engine_by_half_a_second() {
    let mut program = Program::start(Vllm, "faults: [{at: {token: 3}, fault: engine_death}]").await;
    let answer = client::ask(program.address, &request(Vllm, Ask::default())).await;
    assert!(answer.is_whole && answer.text().contains("EngineCore encountered an issue"));
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    let late = client::ask(
        program.address,
        &request(
            Vllm,
            Ask {
                stream: false,
                ..Ask::default()
            },
        ),
    )
    .await;
    assert_eq!(late.status(), 500);
    assert_eq!(program.exit().await.code(), Some(1));
}

// spec: OC-TEST-7302
#[tokio::test]
async fn failed_starts_exit_with_their_reason_on_standard_error() {
    for (dialect, fail, code, word) in [
        (Llamacpp, "oom", 1, "out of memory"),
        (Vllm, "oom", 1, "CUDA out of memory"),
        (Tgi, "port_taken", 1, "AddrInUse"),
        (Triton, "wrong_model", 1, "failed to load"),
        (
            Llamacpp,
            "missing_library",
            127,
            "cannot open shared object file",
        ),
    ] {
        let output = run(dialect, &format!("start: {{load_ms: 20, fail: {fail}}}")).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{dialect:?} {fail}: {stderr}"
        );
        assert!(stderr.contains(word), "{dialect:?} {fail}: {stderr}");
    }
}

// spec: OC-TEST-7302
#[tokio::test]
async fn a_port_in_use_and_a_bad_script_are_refused() {
    let program = Program::start(Llamacpp, "").await;
    let files = tempfile::tempdir().unwrap();
    let output = command(Llamacpp, "", &files)
        .arg("--bind")
        .arg(program.address.to_string())
        .output();
    let output = timeout(PATIENCE, output).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("couldn't bind HTTP server socket")
    );
    let output = run(Vllm, "slots: 0").await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("slots"));
    assert!(output.stdout.is_empty());
}
