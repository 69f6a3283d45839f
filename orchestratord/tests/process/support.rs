//! A daemon of the test's own, and the calls to it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use contracts_sse::{Decoder, Event};
use http::{HeaderMap, Method, StatusCode};
use orchestratord::openapi::{self, Plane};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine, and still short of a hang.
pub(crate) const SOON: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Waits for what has to happen soon.
#[track_caller]
pub(crate) fn soon<F: Future>(what: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        timeout(SOON, what)
            .await
            .unwrap_or_else(|_| panic!("nothing came in time at {caller}"))
    }
}

/// Asks again until the answer is there.
#[track_caller]
pub(crate) fn eventually<T, F: Future<Output = Option<T>>>(
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    soon(async move {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    })
}

/// A running `orchestratord`. It is killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    home: TempDir,
    client: reqwest::Client,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a refusal of this kind, with everything a refusal has.
    #[track_caller]
    pub(crate) fn check_refused(&self, status: u16, code: &str, field: Option<&str>) {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status, status, "{text}");
        let body = self.json();
        assert_eq!(body["code"], code, "{text}");
        assert_eq!(body["details"]["field"].as_str(), field, "{text}");
        assert!(body["message"].as_str().unwrap().len() > 10, "{text}");
        assert_eq!(
            body["correlation_id"],
            self.header("x-correlation-id"),
            "{text}"
        );
        assert!(!self.header("x-correlation-id").is_empty());
    }
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts it with these lines below `orchestratord:` in its config. Callers on loopback need no
    /// key unless the lines say otherwise.
    pub(crate) async fn start_with(settings: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let open = if settings.contains("auth:") {
            ""
        } else {
            "auth: { open_on_loopback: true }"
        };
        let lines = [open, settings].into_iter().flat_map(str::lines);
        let config = lines.fold("orchestratord:\n".to_owned(), |mut text, line| {
            writeln!(text, "  {line}").unwrap();
            text
        });
        fs::write(home.path().join("config.yaml"), config).unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let child = command(&home).stderr(log).spawn().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Self {
            child,
            address: nowhere,
            home,
            client: reqwest::Client::new(),
        };
        daemon.address = daemon.announced().await;
        daemon
    }

    /// The address in the run file.
    async fn announced(&mut self) -> SocketAddr {
        let path = self.data_dir().join("run/orchestratord.json");
        let child = &mut self.child;
        let text = soon(async {
            loop {
                if let Ok(text) = fs::read_to_string(&path) {
                    return text;
                }
                assert_eq!(
                    child.try_wait().unwrap(),
                    None,
                    "the daemon ended at its start"
                );
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        let info: Value = serde_json::from_str(&text).unwrap();
        info["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A second instance with the same config, which has to fail.
    pub(crate) fn run_again(&self) -> std::process::Output {
        command(&self.home).stderr(Stdio::piped()).output().unwrap()
    }

    /// The log so far, line by line.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.home.path().join("log")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }

    pub(crate) fn node_token(&self) -> String {
        fs::read_to_string(self.data_dir().join("node.token"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Resolves when the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        soon(async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, |request| request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, |request| request.json(body))
            .await
    }

    pub(crate) async fn submit(&self, body: &Value) -> Reply {
        self.post("/v1/tasks", body).await
    }

    /// Submits a task that has to be admitted, and gives its id.
    #[track_caller]
    pub(crate) fn submitted(&self, body: &Value) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.submit(body).await;
            assert_eq!(reply.status, 202, "{caller}: {:?}", reply.body);
            reply.json()["task_id"].as_str().unwrap().to_owned()
        }
    }

    pub(crate) async fn cancel(&self, task: &str) -> Reply {
        self.call(
            Method::POST,
            &format!("/v1/tasks/{task}/cancel"),
            |request| request,
        )
        .await
    }

    pub(crate) async fn task(&self, task: &str) -> Value {
        self.get(&format!("/v1/tasks/{task}")).await.json()
    }

    /// The task once it is in this state.
    #[track_caller]
    pub(crate) fn task_in<'a>(
        &'a self,
        task: &'a str,
        state: &'a str,
    ) -> impl Future<Output = Value> {
        eventually(move || async move {
            Some(self.task(task).await).filter(|status| status["state"] == state)
        })
    }

    /// One call, held against the document: what is not documented must not happen.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        build: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Reply {
        let request = build(self.client.request(method.clone(), self.url(path)));
        let response = soon(request.send()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        check_documented(&method, path, status);
        let body = soon(response.bytes()).await.unwrap();
        Reply {
            status,
            headers,
            body,
        }
    }

    /// Follows a task, after the token of this id if there is one.
    pub(crate) async fn follow(&self, task: &str, last_event_id: Option<&str>) -> Follower {
        let mut request = self
            .client
            .get(self.url(&format!("/v1/tasks/{task}/stream")));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Follower {
            response,
            decoder: Decoder::new(),
            ready: Vec::new().into(),
            bytes: Vec::new(),
        }
    }

    /// The value of one series, by its name and labels as they are printed; 0 where it is not.
    pub(crate) async fn series(&self, series: &str) -> f64 {
        let reply = self.get("/metrics").await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            eprintln!("the daemon's log:\n{log}");
        }
    }
}

fn command(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestratord"));
    command
        .env_clear()
        .env("HOME", home.path())
        .env("LLORCH_LOG", "info")
        .env("LLORCH_LOG_FORMAT", "json")
        .args(["--bind", "127.0.0.1:0"])
        .arg("--config")
        .arg(home.path().join("config.yaml"))
        .arg("--data-dir")
        .arg(home.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// The operations of both documents: method, path template, documented statuses.
static OPERATIONS: LazyLock<Vec<(String, String, Vec<String>)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for plane in [Plane::Data, Plane::Control] {
        for (path, item) in openapi::document(plane)["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let statuses = operation["responses"].as_object().unwrap().keys().cloned();
                all.push((method.to_uppercase(), path.clone(), statuses.collect()));
            }
        }
    }
    all
});

fn check_documented(method: &Method, path: &str, status: StatusCode) {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (have, want): (Vec<_>, Vec<_>) =
            (path.split('/').collect(), template.split('/').collect());
        have.len() == want.len()
            && have
                .iter()
                .zip(want)
                .all(|(have, want)| want.starts_with('{') || *have == want)
    };
    let operation = OPERATIONS
        .iter()
        .find(|(name, template, _)| name == method.as_str() && fits(template));
    if let Some((_, template, statuses)) = operation {
        let known = statuses.iter().any(|known| known == status.as_str());
        assert!(
            known,
            "{method} {template} answered {status}, which is not documented"
        );
    }
}

/// One reader of a stream.
pub(crate) struct Follower {
    response: reqwest::Response,
    decoder: Decoder,
    ready: std::collections::VecDeque<Event>,
    pub(crate) bytes: Vec<u8>,
}

impl Follower {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The next event, or none when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let chunk = soon(self.response.chunk()).await.unwrap()?;
            self.bytes.extend_from_slice(&chunk);
            self.ready.extend(self.decoder.push(&chunk).unwrap());
        }
    }

    /// The next event of this name; others are passed over.
    pub(crate) async fn event(&mut self, name: &str) -> Event {
        loop {
            let event = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended without `{name}`"));
            if event.name == name {
                return event;
            }
        }
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

pub(crate) fn data(event: &Event) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

/// The text of all tokens.
pub(crate) fn text(events: &[Event]) -> String {
    let tokens = events.iter().filter(|event| event.name == "token");
    tokens
        .map(|event| data(event)["t"].as_str().unwrap().to_owned())
        .collect()
}

/// A good task, with these fields changed; `null` takes one out.
pub(crate) fn task(changes: Value) -> Value {
    let mut body = json!({
        "workload": "completion", "model_ref": "haiku", "engine": "llamacpp",
        "prompt": "moon", "max_tokens": 32, "seed": 7,
    });
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(field)),
            value => body[field] = value.clone(),
        }
    }
    body
}
