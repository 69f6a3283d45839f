//! Whatever is killed in the middle of a stream: nothing is left running that should not be, and
//! the next task succeeds without any other help.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use contracts_api_types::error::ErrorCode;
use rustix::process::Signal;
use serde_json::json;
use test_harness_e2e_haiku::fleet::PATIENCE;
use test_harness_e2e_haiku::processes::{self, wait_until};
use test_harness_e2e_haiku::tasks::{self, Transcript};
use test_harness_e2e_haiku::{Fleet, FleetOptions, models};

struct Scene {
    fleet: Fleet,
    guard: i32,
    engine: i32,
    engine_port: u16,
    stream: llama_orch_sdk::TaskStream,
    seen: Transcript,
    _model_dir: tempfile::TempDir,
}

/// A fleet with a long stream in full flow.
async fn streaming() -> Scene {
    let model_dir = tempfile::tempdir().unwrap();
    let model: PathBuf = models::long_stream(model_dir.path());
    let fleet = Fleet::start(&FleetOptions {
        model,
        ctx: 32_768,
        slots: 1,
    })
    .await;
    let (guard, engine) = fleet.guard_and_engine();
    let task = tasks::completion("Go on.", 30_000, json!({ "deadline_ms": 600_000 }));
    let admitted = fleet.client.submit(&task).await.unwrap();
    let mut stream = fleet.client.stream(admitted.task_id, None).await.unwrap();
    let mut seen = Transcript::default();
    while seen.pieces.len() < 20 {
        assert!(
            tasks::read_event(&mut stream, &mut seen).await.unwrap(),
            "ended: {seen:?}"
        );
    }
    let engine_port = port_of(&engine.command);
    let (guard, engine) = (guard.pid, engine.pid);
    Scene {
        fleet,
        guard,
        engine,
        engine_port,
        stream,
        seen,
        _model_dir: model_dir,
    }
}

fn port_of(command: &str) -> u16 {
    let mut words = command.split(' ');
    words
        .find(|word| *word == "--port")
        .expect("a port on the command line");
    words
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a port number")
}

impl Scene {
    /// The stream that lost its engine ends with exactly one error, after all it had.
    async fn assert_stream_was_reset(&mut self) {
        let mut events = 0;
        while tasks::read_event(&mut self.stream, &mut self.seen)
            .await
            .unwrap()
        {
            events += 1;
            assert!(events < 40_000, "the stream does not end");
        }
        let error = self.seen.error.as_ref().expect("an error event");
        assert_eq!(error.code, ErrorCode::WorkerReset, "{error:?}");
        assert!(error.partial && error.retriable, "{error:?}");
        assert!(self.seen.end.is_none(), "two terminal events");
    }

    /// Processes and port of the old engine are gone, and a new one is there.
    fn assert_engine_was_replaced(&self) {
        wait_until("the guard is gone", PATIENCE, || {
            !processes::runs(self.guard)
        });
        wait_until("the engine is gone", PATIENCE, || {
            !processes::runs(self.engine)
        });
        wait_until("a new engine runs", PATIENCE, || {
            let guards = processes::children(self.fleet.agent_pid());
            guards.len() == 1 && processes::children(guards[0].pid).len() == 1
        });
        let refused = TcpStream::connect(("127.0.0.1", self.engine_port)).is_err();
        let (_, engine) = self.fleet.guard_and_engine();
        assert!(
            refused || port_of(&engine.command) == self.engine_port,
            "the old port is taken"
        );
    }

    async fn assert_next_task_succeeds(self) {
        let short = tasks::completion("Once more.", 20, json!({ "deadline_ms": 60_000 }));
        let run = tokio::time::timeout(
            Duration::from_secs(60),
            tasks::run(&self.fleet.client, &short),
        );
        let transcript = run.await.expect("in time").unwrap();
        assert_eq!(transcript.end.expect("an end").tokens_out, 20);
        let ours = processes::of_data_dir(self.fleet.data_dir());
        assert_eq!(
            ours.len(),
            4,
            "two daemons, one guard, one engine: {ours:?}"
        );
        self.fleet.stop();
    }
}

// spec: ORCH-3017, OC-POOL-3011, OC-TEST-7325
#[tokio::test]
async fn a_killed_engine_comes_back_by_itself() {
    let mut scene = streaming().await;
    processes::signal(scene.engine, Signal::KILL);
    scene.assert_stream_was_reset().await;
    scene.assert_engine_was_replaced();
    scene.assert_next_task_succeeds().await;
}

// spec: ORCH-3017
#[tokio::test]
async fn a_killed_guard_takes_its_engine_along_and_both_come_back() {
    let mut scene = streaming().await;
    processes::signal(scene.guard, Signal::KILL);
    scene.assert_stream_was_reset().await;
    scene.assert_engine_was_replaced();
    scene.assert_next_task_succeeds().await;
}

// spec: ORCH-3403
#[tokio::test]
async fn a_killed_agent_takes_its_engines_along_and_serves_again_once_it_is_started() {
    let mut scene = streaming().await;
    scene.fleet.kill_agent();
    scene.assert_stream_was_reset().await;
    wait_until("guard and engine are gone", PATIENCE, || {
        !processes::runs(scene.guard) && !processes::runs(scene.engine)
    });
    let left = processes::of_data_dir(scene.fleet.data_dir());
    assert_eq!(left.len(), 1, "only orchestratord runs on: {left:?}");
    assert!(
        TcpStream::connect(("127.0.0.1", scene.engine_port)).is_err(),
        "the port is taken"
    );

    scene.fleet.start_agent();
    scene.fleet.wait_ready().await;
    scene.assert_next_task_succeeds().await;
}
