//! The two daemons of a demo, as children of this process.
//!
//! This process is made the reaper of everything below it. Whatever outlives its parent becomes
//! its child, so "no process is left" is the same as "no child is left".

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use contracts_api_types::node::WorkerPhase;
use contracts_api_types::pool::PoolSummary;
use llama_orch_sdk::{Client, SdkError};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::say::Say;
use crate::subprocess::{Interrupts, terminate};
use crate::workspace::Workspace;

const POLL: Duration = Duration::from_millis(50);

/// From the start of a daemon to its run file.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(60);

/// From the start of pool-managerd to a worker that takes work; the model loads in milliseconds.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// From SIGTERM to the end: more than any grace time inside.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What may still be ending when both daemons have.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(5);

/// How many lines of each log are shown after a failure.
const LOG_LINES: usize = 15;

/// The run file.
#[derive(Deserialize)]
struct RunInfo {
    pid: u32,
    address: std::net::SocketAddr,
}

struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

/// The daemons, in the order of their start.
pub(super) struct Daemons {
    workspace: Workspace,
    config: PathBuf,
    data_dir: PathBuf,
    running: Vec<Daemon>,
}

impl Daemons {
    pub(super) fn new(
        workspace: &Workspace,
        config: &Path,
        data_dir: &Path,
    ) -> anyhow::Result<Self> {
        set_child_subreaper(Some(rustix::process::getpid()))
            .context("cannot become the reaper of the daemons")?;
        Ok(Self {
            workspace: workspace.clone(),
            config: config.into(),
            data_dir: data_dir.into(),
            running: Vec::new(),
        })
    }

    /// Starts both and gives the address of orchestratord.
    pub(super) async fn start(&mut self, say: Say) -> anyhow::Result<String> {
        let address = self.spawn("orchestratord", &[]).await?;
        let base = format!("http://{address}");
        say.line(&format!("orchestratord runs at {base}"));
        let address = self
            .spawn("pool-managerd", &["--orchestrator", &base])
            .await?;
        say.line(&format!("pool-managerd runs at http://{address}"));
        Ok(base)
    }

    async fn spawn(
        &mut self,
        name: &'static str,
        more: &[&str],
    ) -> anyhow::Result<std::net::SocketAddr> {
        let log = self.config.with_file_name(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(self.workspace.program(name))
            .arg("--config")
            .arg(&self.config)
            .args(more)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot open a log twice")?)
            .stderr(file)
            // Ctrl-C is for this process, which stops them in their order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let pid = child.id();
        self.running.push(Daemon { name, log, child });
        let run_file = self.data_dir.join("run").join(format!("{name}.json"));
        let announced = || {
            let info: RunInfo = serde_json::from_slice(&std::fs::read(&run_file).ok()?).ok()?;
            (info.pid == pid).then_some(info.address)
        };
        let end = Instant::now() + ANNOUNCE_LIMIT;
        loop {
            if let Some(address) = announced() {
                return Ok(address);
            }
            self.check()?;
            anyhow::ensure!(Instant::now() < end, "{name} does not come up");
            sleep(POLL).await;
        }
    }

    fn check(&mut self) -> anyhow::Result<()> {
        for daemon in &mut self.running {
            if let Some(status) = daemon.child.try_wait()? {
                anyhow::bail!("{} has ended by itself ({status})", daemon.name);
            }
        }
        Ok(())
    }

    /// Waits until the pool has a worker that takes work.
    pub(super) async fn wait_ready(
        &mut self,
        client: &Client,
        pool: &str,
        say: Say,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + READY_LIMIT;
        let mut last = String::new();
        loop {
            self.check()?;
            let standing = match client.pools().await {
                Ok(pools) => standing(&pools, pool)?,
                Err(SdkError::Transport { .. }) => Some("orchestratord does not answer yet".into()),
                Err(error) => return Err(error.into()),
            };
            let Some(standing) = standing else {
                say.line(&format!("pool {pool}: ready"));
                return Ok(());
            };
            anyhow::ensure!(Instant::now() < end, "pool {pool} is not ready: {standing}");
            if standing != last {
                say.line(&format!("pool {pool}: {standing}"));
                last = standing;
            }
            sleep(POLL).await;
        }
    }

    /// Stops both, orchestratord first, and makes sure that nothing is left. A further wish to
    /// stop makes them end at once.
    pub(super) async fn stop(&mut self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let mut problems = Vec::new();
        for daemon in &mut self.running {
            if let Err(problem) = stop(daemon, interrupts).await {
                problems.push(problem.to_string());
            }
        }
        problems.extend(end_leftovers().await);
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("; "));
        Ok(())
    }

    /// The last lines of both logs.
    pub(super) fn last_words(&self) -> String {
        let words = self.running.iter().map(|daemon| {
            let text = std::fs::read_to_string(&daemon.log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
            format!("the log of {} ends with:\n  {last}\n", daemon.name)
        });
        words.collect()
    }
}

impl Drop for Daemons {
    /// For ends that skipped [`Daemons::stop`]; the workers end with their agent.
    fn drop(&mut self) {
        for daemon in &mut self.running {
            // A child that was waited for is left alone.
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
    }
}

/// None when it is ready.
fn standing(pools: &[PoolSummary], wanted: &str) -> anyhow::Result<Option<String>> {
    let Some(pool) = pools.iter().find(|pool| pool.id == wanted) else {
        return Ok(Some("not registered yet".into()));
    };
    if pool
        .replicas
        .iter()
        .any(|replica| replica.phase == WorkerPhase::Ready)
    {
        return Ok(None);
    }
    let Some(replica) = pool.replicas.first() else {
        return Ok(Some("no worker yet".into()));
    };
    let cause = replica
        .cause
        .as_deref()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let text = format!("{}{cause}", replica.phase);
    anyhow::ensure!(
        replica.phase != WorkerPhase::Broken,
        "pool {wanted} is {text}"
    );
    Ok(Some(text))
}

async fn stop(daemon: &mut Daemon, interrupts: &mut Interrupts) -> anyhow::Result<()> {
    let name = daemon.name;
    let mut ended = daemon.child.try_wait()?;
    if ended.is_none() {
        terminate(Some(daemon.child.id()));
    }
    let end = Instant::now() + STOP_LIMIT;
    loop {
        if let Some(status) = ended {
            anyhow::ensure!(status.success(), "{name} ended with {status}");
            return Ok(());
        }
        if Instant::now() > end {
            daemon.child.kill()?;
            daemon.child.wait()?;
            anyhow::bail!("{name} did not stop and was killed");
        }
        tokio::select! {
            () = interrupts.next() => terminate(Some(daemon.child.id())),
            () = sleep(POLL) => {}
        }
        ended = daemon.child.try_wait()?;
    }
}

/// Waits for what is just ending; names and kills what is not.
async fn end_leftovers() -> Vec<String> {
    let end = Instant::now() + LEFTOVER_LIMIT;
    loop {
        // Zombies are gone once they are reaped.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left = children();
        if left.is_empty() || Instant::now() > end {
            return left.into_iter().map(kill).collect();
        }
        sleep(POLL).await;
    }
}

/// The children of this process.
fn children() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let lists = lists.collect::<Vec<_>>();
    let words = lists
        .iter()
        .flatten()
        .flat_map(|list| list.split_whitespace());
    words.filter_map(|word| word.parse().ok()).collect()
}

fn kill(pid: i32) -> String {
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if let Some(pid) = Pid::from_raw(pid) {
        // It is our child and not reaped, so the number is still its own.
        let _ = kill_process(pid, Signal::KILL);
    }
    format!(
        "a process was left: {pid} {}",
        command.replace('\0', " ").trim_end()
    )
}
