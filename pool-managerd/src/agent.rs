//! The agent from its first breath to its last: what is taken, started, served and put away, in
//! order.
//!
//! ```text
//! lock ─▶ leftovers removed ─▶ address bound ─▶ workers ─▶ serving
//!      ── first signal ──▶ workers stopped ─▶ last push ─▶ run file removed ─▶ exit 0
//!      ── second signal ─▶ exit at once; the guards remove what is left
//! ```
//!
//! # Invariants
//! - Nothing is started or counted before what an earlier life left behind is gone.
//! - The end of this function means that no worker lives any more.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contracts_config_schema::PoolManagerdConfig;
use contracts_data_dir::{DaemonName, DataDirError, Instance, RunFile, node_token};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, NodeToken};
use crate::clock::MonoClock;
use crate::daemon;
use crate::edge::{self, EdgeLimits};
use crate::fleet;
use crate::gpu::Gpus;
use crate::gpu::placement::Ledger;
use crate::host::{EngineSource, Host};
use crate::marker::{self, Owner, RemovalError};
use crate::metrics::Counters;
use crate::model::Digests;
use crate::node::{Node, Target, push};

/// The longest wait for what an earlier life left behind.
const LEFTOVERS: Duration = Duration::from_secs(10);
/// The longest wait for the workers at a stop: SIGTERM, its grace time, SIGKILL and the rest.
const STOP: Duration = Duration::from_secs(30);

/// What the agent is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agent's part of the config.
    pub config: PoolManagerdConfig,
    /// What relative paths of the config are relative to.
    pub base_dir: PathBuf,
    /// `LLORCH_NODE_TOKEN`.
    pub node_token: Option<String>,
}

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After a first signal, in good order.
    Stopped,
    /// By a second signal, with this exit code.
    AtOnce(u8),
}

/// Why the agent cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It has no place on this machine.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Workers of an earlier life cannot be removed.
    #[error("what an earlier pool-managerd left behind cannot be removed")]
    Leftovers(#[source] RemovalError),
    /// Its address is taken.
    #[error("cannot listen on {address}: is something else there? Choose another with --bind")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system refuses something else.
    #[error("cannot {doing}")]
    System {
        /// What was tried, as a verb.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A worker's task ended although nothing asked it to.
    #[error("a defect ended the task of a worker: please report it with the log")]
    TaskLost,
    /// Workers do not end.
    #[error("workers still run after {STOP:?}")]
    NotStopped,
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> AgentError {
    move |source| AgentError::System { doing, source }
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// [`AgentError`]; nothing is left running then either.
pub async fn run(settings: Settings) -> Result<Ended, AgentError> {
    let mut signals = Signals::take()?;
    let config = &settings.config;
    let data_dir =
        std::path::absolute(&config.data_dir).map_err(system("find the data directory"))?;
    let instance = Instance::claim(DaemonName::PoolManagerd, &data_dir)?;
    let owner = Owner::of(&data_dir).map_err(system("read the data directory"))?;
    remove_leftovers(&owner).await?;
    let token = node_token(&data_dir, settings.node_token.as_deref())?;
    let (listener, _announced, address) = listen(&instance, config.bind).await?;
    let host = Arc::new(host(&settings, data_dir, owner)?);
    let stop = CancellationToken::new();
    let (pools, workers) = fleet::start(&config.pools, &host, &stop);
    let node = Arc::new(Node::new(
        format!("http://{address}"),
        pools,
        Arc::clone(&host),
    ));
    let router = api::router(Arc::clone(&node), NodeToken::of(&token));
    let target = Target {
        orchestrator: config.orchestrator.clone(),
        node_id: config.node_id.clone().unwrap_or_else(daemon::host_name),
        token,
    };
    tracing::info!(%address, node_id = target.node_id, pools = config.pools.len(), "agent is up");
    let last = CancellationToken::new();
    let (serving, pushing) = (TaskTracker::new(), TaskTracker::new());
    serving.spawn(edge::serve(
        listener,
        router,
        EdgeLimits::STANDARD,
        last.clone(),
    ));
    let pushed = (Arc::clone(&node), last.clone());
    pushing.spawn(async move { push(&pushed.0, target, pushed.1).await });
    let ended = until_stopped(&mut signals, workers, &stop).await;
    last.cancel();
    if let Ok(Ended::Stopped) = ended {
        serving.close();
        pushing.close();
        tokio::join!(serving.wait(), pushing.wait(), host.tracker_done());
        tracing::info!("agent has stopped");
    }
    ended
}

// spec: OC-POOL-3105
async fn remove_leftovers(owner: &Owner) -> Result<(), AgentError> {
    let owner = owner.clone();
    let removed = spawn_blocking(move || marker::remove_all(&owner, LEFTOVERS)).await;
    let count = removed
        .map_err(|_| AgentError::TaskLost)?
        .map_err(AgentError::Leftovers)?;
    if count > 0 {
        tracing::warn!(count, "processes of an earlier life were removed");
    }
    Ok(())
}

async fn listen(
    instance: &Instance,
    bind: SocketAddr,
) -> Result<(TcpListener, RunFile, SocketAddr), AgentError> {
    let failed = |source| AgentError::Bind {
        address: bind,
        source,
    };
    let listener = TcpListener::bind(bind).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let announced = instance.announce(address)?;
    Ok((listener, announced, address))
}

fn host(settings: &Settings, data_dir: PathBuf, owner: Owner) -> Result<Host, AgentError> {
    let config = &settings.config;
    Ok(Host {
        clock: MonoClock::start(),
        owner,
        digests: Digests::kept_in(data_dir.join("digests.json")),
        data_dir,
        engines: engine_source(config, &settings.base_dir),
        gpus: Gpus::watch(None).map_err(system("start a thread"))?,
        ledger: Ledger::default(),
        provisioning: Mutex::new(()),
        tracker: TaskTracker::new(),
        counters: Counters::new(),
        changed: Notify::new(),
    })
}

/// Where the engines of `config` come from.
#[must_use]
pub fn engine_source(config: &PoolManagerdConfig, base_dir: &Path) -> EngineSource {
    EngineSource {
        cache_dir: config.cache_dir.clone(),
        allow_downloads: config.allow_downloads,
        base_dir: base_dir.to_owned(),
    }
}

/// Waits for a signal, stops the workers and waits for them.
// spec: OC-POOL-3167
async fn until_stopped(
    signals: &mut Signals,
    workers: Vec<JoinHandle<()>>,
    stop: &CancellationToken,
) -> Result<Ended, AgentError> {
    let mut workers: FuturesUnordered<_> = workers.into_iter().collect();
    tokio::select! {
        _ = signals.next() => {}
        Some(_) = workers.next() => return Err(AgentError::TaskLost),
    }
    tracing::info!("stopping the workers");
    stop.cancel();
    let all_gone = async { while workers.next().await.is_some() {} };
    tokio::select! {
        code = signals.next() => Ok(Ended::AtOnce(code)),
        gone = tokio::time::timeout(STOP, all_gone) => {
            gone.map(|()| Ended::Stopped).map_err(|_| AgentError::NotStopped)
        }
    }
}

/// The signals that stop the agent.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn take() -> Result<Self, AgentError> {
        let of = |kind| signal(kind).map_err(system("receive signals"));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    /// The next one, as the exit code of a process that it ends.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
