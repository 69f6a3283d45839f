//! Both daemons, started as a user starts them, and taken down whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use llama_orch_sdk::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::processes::{self, Process, wait_until};
use crate::programs::{llama_server, program};

/// Longest wait for a daemon or a pool. Machines under test are small and busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The device class of the machines under test.
const CPU_CI: &str = "cpu-ci";

/// What to start.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// The model file.
    pub model: PathBuf,
    /// Context of one task.
    pub ctx: u32,
    /// Generations at once.
    pub slots: u32,
}

/// A running fleet of one orchestratord, one pool-managerd and one pool named `e2e`.
#[derive(Debug)]
pub struct Fleet {
    dir: TempDir,
    orchestratord: Child,
    agent: Option<Child>,
    base: String,
    /// A client of this fleet.
    pub client: Client,
}

impl Fleet {
    /// Starts both daemons and waits until the pool takes work.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`]; the daemons' logs are printed.
    pub async fn start(options: &FleetOptions) -> Self {
        Self::start_with(options, |_| {}).await
    }

    /// The same, on devices of this class.
    ///
    /// # Panics
    /// As [`Fleet::start`].
    pub async fn start_on(device_class: &str, options: &FleetOptions) -> Self {
        Self::start_with(options, |config| {
            config["pool_managerd"]["allow_cpu_ci"] = json!(device_class == CPU_CI);
            config["pool_managerd"]["pools"][0]["device_class"] = json!(device_class);
        })
        .await
    }

    /// The same on the CPU, after `change` has been made to the config.
    ///
    /// # Panics
    /// As [`Fleet::start`].
    pub async fn start_with(options: &FleetOptions, change: impl FnOnce(&mut Value)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(dir.path(), options);
        change(&mut config);
        fs::write(dir.path().join("llama-orch.yaml"), config.to_string()).expect("a config file");
        let orchestratord = spawn("orchestratord", dir.path(), &["--bind", "127.0.0.1:0"]);
        let address = address_of("orchestratord", dir.path());
        let base = format!("http://{address}");
        let client = Client::new(&base, None).expect("a client");
        let mut fleet = Self {
            dir,
            orchestratord,
            agent: None,
            base,
            client,
        };
        fleet.start_agent();
        fleet.wait_ready().await;
        fleet
    }

    /// Starts pool-managerd, which must not be running.
    pub fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "the agent runs already");
        let arguments = ["--bind", "127.0.0.1:0", "--orchestrator", &self.base];
        self.agent = Some(spawn("pool-managerd", self.dir.path(), &arguments));
    }

    /// Waits until the pool takes work.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`].
    pub async fn wait_ready(&self) {
        self.wait_pool("the pool is ready", |ready| ready).await;
    }

    /// Waits until the pool is seen not to take work.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`].
    pub async fn wait_unready(&self) {
        self.wait_pool("the pool is not ready", |ready| !ready)
            .await;
    }

    async fn wait_pool(&self, what: &str, wanted: impl Fn(bool) -> bool) {
        let start = std::time::Instant::now();
        loop {
            let health = self.client.pool_health("e2e").await;
            if health
                .as_ref()
                .is_ok_and(|health| wanted(health.live && health.ready))
            {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: {health:?}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The base URL of orchestratord.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The data directory of both daemons.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The agent's process id.
    #[must_use]
    pub fn agent_pid(&self) -> i32 {
        let child = self.agent.as_ref().expect("the agent runs");
        i32::try_from(child.id()).expect("process ids are small")
    }

    /// The guard that the agent has started, and the engine under it.
    ///
    /// # Panics
    /// When there is not exactly one of each.
    #[must_use]
    pub fn guard_and_engine(&self) -> (Process, Process) {
        let guards = processes::children(self.agent_pid());
        let [guard] = guards.as_slice() else {
            panic!("not one guard: {guards:?}")
        };
        let engines = processes::children(guard.pid);
        let [engine] = engines.as_slice() else {
            panic!("not one engine: {engines:?}")
        };
        (guard.clone(), engine.clone())
    }

    /// Kills the agent without a word to it, and reaps it.
    pub fn kill_agent(&mut self) {
        let mut child = self.agent.take().expect("the agent runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be reaped");
    }

    /// Stops everything as an operator does, and checks that nothing is left.
    ///
    /// # Panics
    /// When a daemon does not exit with 0, or leaves a process.
    pub fn stop(mut self) {
        for name in ["pool-managerd", "orchestratord"] {
            let child = match name {
                "pool-managerd" => self.agent.as_mut(),
                _ => Some(&mut self.orchestratord),
            };
            let Some(child) = child else { continue };
            processes::signal(i32::try_from(child.id()).expect("small"), Signal::TERM);
            let mut status = None;
            wait_until(&format!("{name} stops"), PATIENCE, || {
                status = child.try_wait().expect("it can be waited for");
                status.is_some()
            });
            assert!(status.is_some_and(|s| s.success()), "{name}: {status:?}");
        }
        let left = processes::of_data_dir(self.dir.path());
        assert!(left.is_empty(), "left running: {left:?}");
    }

    /// The daemons' logs, for a failing test.
    #[must_use]
    pub fn logs(&self) -> String {
        let read = |name: &str| {
            let path = self.dir.path().join(format!("{name}.log"));
            format!(
                "--- {name}\n{}",
                fs::read_to_string(path).unwrap_or_default()
            )
        };
        ["orchestratord", "pool-managerd"].map(read).join("\n")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for child in self.agent.iter_mut().chain([&mut self.orchestratord]) {
            let _stopped_already = child.kill();
            let _reaped_already = child.wait();
        }
        // Guards end their engines when the agent is gone; what a defect left behind ends here.
        for process in processes::of_data_dir(self.dir.path()) {
            processes::signal(process.pid, Signal::KILL);
        }
    }
}

fn config(dir: &Path, options: &FleetOptions) -> Value {
    // JSON is YAML, and it quotes paths by itself.
    json!({
        "orchestratord": { "data_dir": dir, "auth": { "open_on_loopback": true } },
        "pool_managerd": {
            "data_dir": dir,
            "node_id": "e2e-host",
            "allow_cpu_ci": true,
            "allow_downloads": false,
            "pools": [{
                "id": "e2e",
                "engine": "llamacpp",
                "model": format!("file:{}", options.model.display()),
                "aliases": ["e2e"],
                "device_class": CPU_CI,
                "ctx": options.ctx,
                "slots": options.slots,
                "threads": 1,
                "provisioning": { "mode": "binary", "binary": llama_server() },
                "restart": { "backoff": { "min": "100ms", "max": "1s" } },
            }],
        },
    })
}

fn spawn(name: &str, dir: &Path, arguments: &[&str]) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join(format!("{name}.log")))
        .expect("a log file");
    Command::new(program(name))
        .arg("--config")
        .arg(dir.join("llama-orch.yaml"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("the daemon can be started")
}

/// Waits for the run file that a daemon writes once it listens.
fn address_of(name: &str, dir: &Path) -> String {
    let path = dir.join("run").join(format!("{name}.json"));
    let mut address = None;
    wait_until(&format!("{name} listens"), PATIENCE, || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let run: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        address = run["address"].as_str().map(str::to_owned);
        address.is_some()
    });
    address.expect("just seen")
}
