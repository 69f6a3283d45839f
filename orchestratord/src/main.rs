//! The program: reads flags and config, wires the parts, serves, and stops in good order.
//!
//! ```text
//! serving ── first signal ──▶ draining ── idle, or drain over ──▶ closing ──▶ exit 0
//!                                └────────── second signal ────────┴───▶ exit 130 / 143
//! ```
//!
//! The only place that names engine crates.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use contracts_api_types::node::WorkerEndpoint;
use contracts_config_schema::{OrchestratordConfig, Sources, load, validate};
use contracts_data_dir::{DaemonName, Instance, node_token};
use orchestrator_core::engine::Engine;
use orchestrator_core::scheduler::Limits;
use orchestratord::api::auth::Auth;
use orchestratord::api::{self, Api};
use orchestratord::edge::{self, EdgeLimits, EdgeTokens};
use orchestratord::openapi::{self, Plane};
use orchestratord::services::adapters::{AdapterFactory, AdapterRegistry};
use orchestratord::services::{Bounds, Retention, Services, StopTokens};
use orchestratord::signals::{Signal, Signals};
use orchestratord::telemetry::logging::{self, LogFormat};
use orchestratord::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker_adapters_adapter_api::WorkerAdapter;
use worker_adapters_llamacpp_http::{ApiKey, LlamaCppAdapter, LlamaCppConfig};

/// After so much silence a stream gets a comment line.
// spec: ORCH-3444
const STREAM_PING: Duration = Duration::from_secs(15);
/// The time that closed streams get to flush their last bytes.
const CLOSING: Duration = Duration::from_secs(3);
/// The longest wait for a connection to a worker on the same host.
const WORKER_CONNECT: Duration = Duration::from_secs(5);

/// Exit code of bad usage or a bad config.
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "orchestratord",
    version,
    about = "Admits tasks, decides where they run, and streams their tokens.",
    after_help = "Workers are brought by pool-managerd, which registers here by itself.\n\n\
        Try it, with a config that lets callers on this host in without a key:\n  \
        printf 'orchestratord: { auth: { open_on_loopback: true } }\\n' > llama-orch.yaml\n  \
        orchestratord\n  \
        curl http://127.0.0.1:8080/readyz\n\n\
        Environment:\n  \
        LLORCH_CONFIG       the config, where --config is not given\n  \
        LLORCH_LOG          what is logged, for instance info or orchestratord=debug\n  \
        LLORCH_LOG_FORMAT   json or pretty\n  \
        LLORCH_NODE_TOKEN   the agents' secret; otherwise node.token in the data directory\n  \
        LLORCH_ORCHESTRATORD__…  any field of the config, for instance \
        LLORCH_ORCHESTRATORD__DRAIN=5s\n\n\
        A first SIGTERM or Ctrl-C lets running streams end; a second one exits at once."
)]
struct Cli {
    /// The config; else LLORCH_CONFIG, ./llama-orch.yaml or ~/.config/llama-orch/llama-orch.yaml
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Address of the API; port 0 means a free one, which run/orchestratord.json tells
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
    /// Where state is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints an OpenAPI document
    #[command(hide = true)]
    Openapi {
        /// data or control
        plane: Plane,
    },
}

/// Why the program ends early, with its exit code.
struct Failure {
    code: u8,
    why: anyhow::Error,
}

fn usage(why: impl Into<anyhow::Error>) -> Failure {
    Failure {
        code: USAGE,
        why: why.into(),
    }
}

fn fault(why: anyhow::Error) -> Failure {
    Failure { code: 1, why }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Openapi { plane }) => print_openapi(plane),
        None => run(cli),
    };
    done.unwrap_or_else(|Failure { code, why }| {
        eprintln!("orchestratord: {why:#}");
        ExitCode::from(code)
    })
}

fn print_openapi(plane: Plane) -> Result<ExitCode, Failure> {
    let text = openapi::to_yaml(plane);
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to stdout")
        .map_err(fault)?;
    Ok(ExitCode::SUCCESS)
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let config = config(cli)?;
    start_logging()?;
    let runtime = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .map_err(fault)?;
    let ended = runtime.block_on(daemon(config));
    // Whatever still runs was told to end; nothing is worth waiting for.
    runtime.shutdown_background();
    ended
}

fn config(cli: Cli) -> Result<OrchestratordConfig, Failure> {
    let mut config = load(&Sources::from_process(cli.config))
        .map_err(usage)?
        .config;
    if let Some(bind) = cli.bind {
        config.orchestratord.bind = bind;
    }
    if let Some(data_dir) = cli.data_dir {
        config.orchestratord.data_dir = data_dir;
    }
    // A flag can open what the file kept closed, so it is checked once more.
    validate::validate(&config).map_err(usage)?;
    Ok(config.orchestratord)
}

fn start_logging() -> Result<(), Failure> {
    let format = std::env::var("LLORCH_LOG_FORMAT").ok();
    let format = LogFormat::choose(format.as_deref(), std::io::stderr().is_terminal());
    let filter = std::env::var("LLORCH_LOG").ok();
    logging::init(filter.as_deref(), format.map_err(usage)?).map_err(usage)
}

async fn daemon(config: OrchestratordConfig) -> Result<ExitCode, Failure> {
    let mut signals = Signals::take().map_err(|why| fault(why.into()))?;
    let instance = Instance::claim(DaemonName::Orchestratord, &config.data_dir).map_err(usage)?;
    let token = std::env::var("LLORCH_NODE_TOKEN").ok();
    let token = node_token(&config.data_dir, token.as_deref()).map_err(usage)?;
    let auth = Auth::new(&config.auth, &token).map_err(usage)?;
    let listener = TcpListener::bind(config.bind)
        .await
        .with_context(|| {
            format!(
                "cannot listen on {}: free it, or choose another with --bind",
                config.bind
            )
        })
        .map_err(fault)?;
    let address = listener
        .local_addr()
        .context("cannot tell the address")
        .map_err(fault)?;
    let daemon = Daemon::start(&config, auth, listener);
    let run_file = instance
        .announce(address)
        .map_err(|why| fault(why.into()))?;
    tracing::info!(%address, human = format!("ready for requests on http://{address}"), "listening");
    let ended = daemon.serve(&mut signals, config.drain.0).await;
    drop(run_file);
    ended
}

/// The running parts, and the tokens that stop them.
struct Daemon {
    services: Services,
    stop: StopTokens,
    edge: EdgeTokens,
    close_streams: CancellationToken,
    tracker: TaskTracker,
    server: tokio::task::JoinHandle<()>,
}

impl Daemon {
    fn start(config: &OrchestratordConfig, auth: Auth, listener: TcpListener) -> Self {
        let tracker = TaskTracker::new();
        let stop = StopTokens::default();
        let metrics = Arc::new(Metrics::new());
        let services = Services::start(
            bounds(config),
            engines(),
            Arc::clone(&metrics),
            &stop,
            &tracker,
        );
        let close_streams = CancellationToken::new();
        let router = api::router(Api {
            tasks: services.tasks.clone(),
            nodes: services.nodes.clone(),
            metrics,
            auth: Arc::new(auth),
            body_bytes_max: usize::try_from(config.admission.max_body.0).unwrap_or(usize::MAX),
            stream_ping: STREAM_PING,
            close_streams: close_streams.clone(),
        });
        let edge = EdgeTokens {
            stop: CancellationToken::new(),
            force: CancellationToken::new(),
        };
        let serving = edge::serve(listener, router, EdgeLimits::STANDARD, edge.clone());
        let server = tracker.spawn(serving);
        Self {
            services,
            stop,
            edge,
            close_streams,
            tracker,
            server,
        }
    }

    /// Serves until a signal, and then stops in good order.
    // spec: OC-CTRL-2130, ORCH-3437
    async fn serve(mut self, signals: &mut Signals, drain: Duration) -> Result<ExitCode, Failure> {
        let first = tokio::select! {
            signal = signals.next() => signal,
            why = self.died() => return Err(why),
        };
        tracing::info!(signal = ?first, human = "stopping: running streams may end", "draining");
        tokio::select! {
            () = self.stop_in_order(drain) => Ok(ExitCode::SUCCESS),
            second = signals.next() => Ok(at_once(second)),
        }
    }

    /// Resolves only when a part that must not end has ended.
    async fn died(&mut self) -> Failure {
        let (part, why) = tokio::select! {
            ended = &mut self.services.owner => ("the scheduler", ended),
            ended = &mut self.server => ("the server", ended),
        };
        let how = why.map_or_else(|why| why.to_string(), |()| "it returned".to_owned());
        fault(anyhow::anyhow!(
            "{part} ended unexpectedly: {how}; please report this"
        ))
    }

    // spec: ORCH-3437, ORCH-3438
    async fn stop_in_order(&mut self, drain: Duration) {
        self.stop.admission.cancel();
        if tokio::time::timeout(drain, self.services.tasks.idle())
            .await
            .is_err()
        {
            tracing::warn!(
                human = "some tasks did not end in time; their readers may come back",
                "drain is over"
            );
        }
        self.close_streams.cancel();
        self.edge.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(CLOSING, &mut self.server)
            .await
            .is_err()
        {
            self.edge.force.cancel();
        }
        self.stop.halt.cancel();
        self.tracker.wait().await;
        tracing::info!(human = "everything has ended", "stopped");
    }
}

fn at_once(signal: Signal) -> ExitCode {
    tracing::warn!(
        ?signal,
        human = "a second signal: exiting at once",
        "stopped"
    );
    ExitCode::from(signal.exit_code())
}

fn bounds(config: &OrchestratordConfig) -> Bounds {
    let kept = &config.retention;
    Bounds {
        core: Limits::STANDARD,
        retention: Retention {
            stream: kept.stream.0,
            task: kept.task.0,
            bytes: kept.bytes.0,
            tasks: kept.tasks as usize,
        },
        default_deadline: config.admission.default_deadline.0,
    }
}

/// Every engine that this program can speak to.
fn engines() -> AdapterRegistry {
    let llamacpp: AdapterFactory = Arc::new(connect_llamacpp);
    AdapterRegistry::new([(Engine::LlamaCpp, llamacpp)])
}

fn connect_llamacpp(endpoint: &WorkerEndpoint) -> Result<Arc<dyn WorkerAdapter>, String> {
    let config = LlamaCppConfig {
        base_url: endpoint.url.clone(),
        api_key: endpoint.api_key.clone().map(ApiKey::new),
        connect_timeout: WORKER_CONNECT,
    };
    match LlamaCppAdapter::new(config) {
        Ok(adapter) => Ok(Arc::new(adapter)),
        Err(why) => Err(format!("its endpoint cannot be used: {why}")),
    }
}
