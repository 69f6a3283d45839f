//! Both daemons after a scripted load: their series and their lines are those of the contract.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use llama_orch_sdk::Client;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_harness_e2e_haiku::{Fleet, FleetOptions, models, processes, programs, tasks};
use test_harness_metrics_contract::exposition::{self, Families};
use test_harness_metrics_contract::lint::Lint;
use test_harness_metrics_contract::log::{self, Line};
use test_harness_metrics_contract::series::{self, Contract, Installation};
use test_harness_metrics_contract::spec::Spec;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const API_KEY: &str = "a very secret key of a client";
const PROMPT: &str = "Of marmalade and seven lanterns";

struct Scene {
    fleet: Fleet,
    http: reqwest::Client,
    /// The worker's key, as the engine was given it.
    worker_key: String,
    /// A digest of the model.
    digest: String,
    _model_dir: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let model_dir = tempfile::tempdir().unwrap();
        let options = FleetOptions {
            model: models::long_stream(model_dir.path()),
            ctx: 32_768,
            slots: 1,
        };
        let fleet = Fleet::start_with(&options, |config| {
            let digest: String = Sha256::digest(API_KEY).iter().map(|byte| format!("{byte:02x}")).collect();
            config["orchestratord"]["auth"]["keys"] = json!([
                { "name": "tester", "tenant": "home", "sha256": digest, "scopes": ["data", "control"] },
            ]);
            config["pool_managerd"]["pools"][0]["queue"] = json!({ "capacity": 1 });
        })
        .await;
        let worker_key = worker_key(&fleet);
        let mut scene = Self {
            fleet,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            worker_key,
            digest: String::new(),
            _model_dir: model_dir,
        };
        scene.digest = scene.read("/v1/pools").await[0]["model_digest"]
            .as_str()
            .unwrap()
            .to_owned();
        scene
    }

    async fn read(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.fleet.base());
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    fn agent(&self) -> String {
        let path = self.fleet.data_dir().join("run/pool-managerd.json");
        let run: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        format!("http://{}", run["address"].as_str().unwrap())
    }

    /// The families of both daemons together.
    async fn families(&self) -> Families {
        let mut all = Families::new();
        for base in [self.fleet.base().to_owned(), self.agent()] {
            let text = self
                .http
                .get(format!("{base}/metrics"))
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            for (name, family) in exposition::parse(&text).unwrap() {
                assert!(
                    all.insert(name.clone(), family).is_none(),
                    "both daemons export {name}"
                );
            }
        }
        all
    }

    /// Waits until a metric has a series.
    async fn wait_for(&self, metric: &str) {
        let begun = Instant::now();
        loop {
            let families = self.families().await;
            if families
                .get(metric)
                .is_some_and(|family| !family.series.is_empty())
            {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "no {metric}: {:?}",
                families.keys()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Submits a task as it is and tells how it was answered.
    async fn submit(&self, task: &Value) -> (StatusCode, Value) {
        let url = format!("{}/v1/tasks", self.fleet.base());
        let request = self.http.post(url).bearer_auth(API_KEY).json(task);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Submits a task that is admitted.
    async fn admit(&self, changes: Value) -> Uuid {
        let (status, answer) = self.submit(&task(changes)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer["task_id"].as_str().unwrap().parse().unwrap()
    }
}

/// The key that the running engine was given.
fn worker_key(fleet: &Fleet) -> String {
    let (_, engine) = fleet.guard_and_engine();
    let environment = fs::read(format!("/proc/{}/environ", engine.pid)).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let mut variables = environment.split('\0');
    let key = variables.find_map(|variable| variable.strip_prefix("LLAMA_API_KEY="));
    key.expect("the engine has a key").to_owned()
}

fn task(changes: Value) -> Value {
    let mut task = json!({
        "workload": "completion", "engine": "llamacpp", "model_ref": "e2e", "prompt": PROMPT,
        "max_tokens": 8, "deadline_ms": 60_000, "labels": { "client": "marmalade-label" },
    });
    for (name, value) in changes.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

/// What the load has come to.
struct Load {
    admitted: f64,
    canceled: f64,
    answers: Vec<String>,
}

/// A little of everything that leaves a series or a line.
async fn load(scene: &Scene) -> Load {
    let client: &Client = &scene.fleet.client;
    let mut answers = Vec::new();
    let kinds = [
        json!({}),
        json!({ "priority": "batch" }),
        json!({ "model_ref": scene.digest }),
        json!({}),
    ];
    for changes in &kinds {
        let id = scene.admit(changes.clone()).await;
        let transcript = tasks::read_all(client, id).await.unwrap();
        assert!(transcript.end.is_some(), "{transcript:?}");
        answers.push(transcript.text());
    }
    let rejected = refuse(scene).await;

    // The worker is lost and comes back; its next task runs.
    let (_, engine) = scene.fleet.guard_and_engine();
    processes::signal(engine.pid, Signal::KILL);
    scene.wait_for("worker_restarts_total").await;
    scene.fleet.wait_ready().await;
    let id = scene.admit(json!({})).await;
    answers.push(tasks::read_all(client, id).await.unwrap().text());
    Load {
        admitted: (kinds.len() + 1) as f64 + rejected,
        canceled: rejected,
        answers,
    }
}

/// Bad input, a full queue and cancels; tells how many tasks were admitted and canceled for it.
async fn refuse(scene: &Scene) -> f64 {
    let client = &scene.fleet.client;
    let running = scene.admit(json!({ "max_tokens": 30_000 })).await;
    let mut stream = client.stream(running, None).await.unwrap();
    let mut seen = tasks::Transcript::default();
    while seen.pieces.len() < 3 {
        assert!(tasks::read_event(&mut stream, &mut seen).await.unwrap());
    }
    let queued = scene.admit(json!({ "max_tokens": 30_000 })).await;
    for (changes, status) in [
        (json!({}), StatusCode::TOO_MANY_REQUESTS),
        (json!({ "model_ref": "nobody" }), StatusCode::NOT_FOUND),
        (json!({ "ctx": 1_000_000 }), StatusCode::BAD_REQUEST),
        (json!({ "task_id": running }), StatusCode::CONFLICT),
        (json!({ "colour": "marmalade" }), StatusCode::BAD_REQUEST),
    ] {
        let (answered, body) = scene.submit(&task(changes)).await;
        assert_eq!(answered, status, "{body}");
    }
    for id in [queued, running] {
        client.cancel(id).await.unwrap();
    }
    scene.wait_for("cancel_to_slot_free_ms").await;
    2.0
}

fn spec_and_lint() -> (Spec, Lint) {
    let read = |path: &str| fs::read_to_string(programs::repository().join(path)).unwrap();
    let spec = Spec::parse(&read(".specs/metrics/otel-prom.md")).unwrap();
    (
        spec,
        serde_json::from_str(&read("ci/metrics.lint.json")).unwrap(),
    )
}

async fn installation(scene: &Scene) -> Installation {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |label: &str, value: &Value| {
        let text = value.as_str().unwrap().to_owned();
        values.entry(label.to_owned()).or_default().insert(text);
    };
    for pool in scene.read("/v1/pools").await.as_array().unwrap() {
        add("pool_id", &pool["id"]);
        add("engine_version", &pool["engine_version"]);
        for replica in pool["replicas"].as_array().unwrap() {
            add("replica_id", &replica["id"]);
        }
    }
    Installation { values }
}

/// The series that tell of the load tell it right.
fn check_counts(families: &Families, load: &Load) {
    let total = |name: &str, label| {
        let family = families
            .get(name)
            .unwrap_or_else(|| panic!("no daemon exports `{name}`"));
        family.total(label)
    };
    assert_eq!(total("tasks_enqueued_total", None), load.admitted);
    assert_eq!(
        total("tasks_enqueued_total", Some(("priority", "batch"))),
        1.0
    );
    assert_eq!(
        total("tasks_canceled_total", Some(("reason", "client"))),
        load.canceled
    );
    // One canceled task never ran.
    assert_eq!(total("tasks_started_total", None), load.admitted - 1.0);
    assert_eq!(
        total(
            "admission_backpressure_events_total",
            Some(("policy", "reject"))
        ),
        1.0
    );
    for reason in [
        "ADMISSION_REJECT",
        "NOT_FOUND",
        "CONFLICT",
        "INVALID_PARAMS",
    ] {
        assert_eq!(
            total("tasks_rejected_total", Some(("reason", reason))),
            1.0,
            "{reason}"
        );
    }
    assert_eq!(total("queue_depth", None), 0.0);
    assert_eq!(total("worker_restarts_total", None), 1.0);
    assert!(total("tokens_out_total", None) >= 8.0 * load.answers.len() as f64);
}

fn read_log(scene: &Scene, daemon: &str) -> String {
    fs::read_to_string(scene.fleet.data_dir().join(format!("{daemon}.log"))).unwrap()
}

/// Every task that ran has left each line of its life.
fn check_lives(lines: &[Line], load: &Load) {
    for message in log::LIFE {
        let told = lines
            .iter()
            .filter(|line| log::text(line, "message") == message)
            .count();
        let expected = match message {
            "task admitted" | "stream ended" => load.admitted,
            _ => load.admitted - 1.0,
        };
        assert_eq!(told as f64, expected, "{message}");
    }
}

// spec: OC-METRICS-7101, OC-METRICS-7102, OC-METRICS-7120, OC-METRICS-7121, OC-METRICS-7122, OC-METRICS-7124
// spec: ORCH-3027, ORCH-3028, ORCH-3029, ORCH-3300, ORCH-3302, ORCH-3303, OC-CTRL-2041, OC-CTRL-2050
#[tokio::test]
async fn series_and_lines_of_both_daemons_are_those_of_the_contract() {
    let scene = Scene::set().await;
    let load = load(&scene).await;
    let families = scene.families().await;
    let (spec, lint) = spec_and_lint();
    let installation = installation(&scene).await;
    let contract = Contract {
        spec: &spec,
        lint: &lint,
        installation: &installation,
    };
    let mut problems = series::problems(contract, &families);
    check_counts(&families, &load);

    let token = fs::read_to_string(scene.fleet.data_dir().join("node.token")).unwrap();
    let mut secrets = vec![
        ("the node token", token.trim()),
        ("a worker's key", &scene.worker_key),
        ("a client's key", API_KEY),
        ("a prompt", PROMPT),
        ("a client's label", "marmalade-label"),
    ];
    secrets.extend(
        load.answers
            .iter()
            .map(|answer| ("an answer", answer.as_str())),
    );
    for daemon in ["orchestratord", "pool-managerd"] {
        let text = read_log(&scene, daemon);
        let lines = log::parse(&text).unwrap();
        let found = log::problems(&spec, &lint, &lines)
            .into_iter()
            .chain(log::leaks(&text, &secrets));
        problems.extend(found.map(|what| format!("{daemon}: {what}")));
        if daemon == "orchestratord" {
            check_lives(&lines, &load);
        }
    }
    scene.fleet.stop();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
