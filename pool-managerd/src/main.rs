//! The program: flags, config, and which of its parts runs.
//!
//! The guard's two stages come first, before any thread exists.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use contracts_config_schema::{Loaded, PoolConfig, Sources, load, validate};
use pool_managerd::agent::{self, AgentError, Ended, Settings};
use pool_managerd::daemon::start_logging;
use pool_managerd::provision::{self, Progress};
use pool_managerd::{api, guard};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of bad usage or a bad config.
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "pool-managerd",
    version,
    about = "Provisions, preloads, watches and restarts the engines of this host.",
    after_help = "Pools are in the config; it needs nothing else to start.\n\n\
        Try it:\n  \
        pool-managerd plan\n  \
        pool-managerd --config llama-orch.yaml\n  \
        curl http://127.0.0.1:9200/readyz\n\n\
        Environment:\n  \
        LLORCH_CONFIG       the config, where --config is not given\n  \
        LLORCH_LOG          what is logged, for instance info or pool_managerd=debug\n  \
        LLORCH_LOG_FORMAT   json or pretty\n  \
        LLORCH_NODE_TOKEN   this node's secret; otherwise node.token in the data directory\n  \
        LLORCH_POOL_MANAGERD__…  any field of the config\n\n\
        A first SIGTERM or Ctrl-C stops the workers; a second one exits at once."
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Flags {
    /// The config; else LLORCH_CONFIG, ./llama-orch.yaml or ~/.config/llama-orch/llama-orch.yaml
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    /// Address of the agent's API; port 0 means a free one, which run/pool-managerd.json tells
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
    /// Where state is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where orchestratord answers
    #[arg(long, value_name = "URL")]
    orchestrator: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints how the engines would be provisioned
    Plan {
        /// Only for this pool
        #[arg(long, value_name = "ID")]
        pool: Option<String>,
    },
    /// Provisions the engines
    Provision {
        /// Only for this pool
        #[arg(long, value_name = "ID")]
        pool: Option<String>,
        /// Prints the path of each engine on stdout
        #[arg(long)]
        print_path: bool,
    },
    /// Keeps one engine under guard
    #[command(hide = true)]
    Guard {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Becomes the engine
    #[command(hide = true)]
    GuardExec {
        #[arg(long)]
        guard: i32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Prints the OpenAPI document
    #[command(hide = true)]
    Openapi,
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

fn fault(why: impl Into<anyhow::Error>) -> Failure {
    Failure {
        code: 1,
        why: why.into(),
    }
}

fn main() -> ExitCode {
    let Cli { flags, command } = Cli::parse();
    let done = match command {
        Some(Command::Guard { command }) => guard::run(&command).map_err(fault),
        Some(Command::GuardExec { guard, command }) => Err(Failure {
            code: 127,
            why: guard::exec(guard, &command).into(),
        }),
        Some(Command::Openapi) => print(&api::to_yaml()),
        Some(Command::Plan { pool }) => plan(flags, pool.as_deref()),
        Some(Command::Provision { pool, print_path }) => {
            run_provision(flags, pool.as_deref(), print_path)
        }
        None => run_agent(flags),
    };
    done.unwrap_or_else(|Failure { code, why }| {
        eprintln!("pool-managerd: {why:#}");
        ExitCode::from(code)
    })
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    let written = std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to stdout");
    written.map(|()| ExitCode::SUCCESS).map_err(fault)
}

fn config(flags: Flags) -> Result<Loaded, Failure> {
    let mut loaded = load(&Sources::from_process(flags.config)).map_err(usage)?;
    let agent = &mut loaded.config.pool_managerd;
    if let Some(bind) = flags.bind {
        agent.bind = bind;
    }
    if let Some(data_dir) = flags.data_dir {
        agent.data_dir = data_dir;
    }
    if let Some(orchestrator) = flags.orchestrator {
        agent.orchestrator = orchestrator;
    }
    // A flag can open what the file kept closed, so it is checked once more.
    validate::validate(&loaded.config).map_err(usage)?;
    Ok(loaded)
}

fn run_agent(flags: Flags) -> Result<ExitCode, Failure> {
    let loaded = config(flags)?;
    let variable = |name| std::env::var(name).ok();
    start_logging(
        variable("LLORCH_LOG").as_deref(),
        variable("LLORCH_LOG_FORMAT").as_deref(),
        std::io::stderr().is_terminal(),
    )
    .map_err(usage)?;
    let settings = Settings {
        config: loaded.config.pool_managerd,
        base_dir: loaded.base_dir,
        node_token: variable("LLORCH_NODE_TOKEN"),
    };
    let runtime = runtime()?;
    let ended = runtime.block_on(agent::run(settings));
    // Whatever still runs was told to end, and the guards see the end of this process.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Stopped) => Ok(ExitCode::SUCCESS),
        Ok(Ended::AtOnce(code)) => Ok(ExitCode::from(code)),
        Err(AgentError::DataDir(why)) if why.is_usage() => Err(usage(why)),
        Err(why) => Err(fault(why)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .map_err(fault)
}

/// The pools that are meant: one, or all.
fn chosen<'a>(loaded: &'a Loaded, pool: Option<&str>) -> Result<Vec<&'a PoolConfig>, Failure> {
    let pools = &loaded.config.pool_managerd.pools;
    let chosen: Vec<_> = pools
        .iter()
        .filter(|config| pool.is_none_or(|id| config.id == id))
        .collect();
    match (chosen.is_empty(), pool) {
        (false, _) => Ok(chosen),
        (true, None) => Err(usage(anyhow::anyhow!(
            "the config has no pool: add one to pool_managerd.pools"
        ))),
        (true, Some(id)) => {
            let known: Vec<_> = pools.iter().map(|config| config.id.as_str()).collect();
            let known = known.join(", ");
            Err(usage(anyhow::anyhow!(
                "there is no pool `{id}` in the config: use one of {known}"
            )))
        }
    }
}

fn plan(flags: Flags, pool: Option<&str>) -> Result<ExitCode, Failure> {
    let loaded = config(flags)?;
    let source = agent::engine_source(&loaded.config.pool_managerd, &loaded.base_dir);
    for config in chosen(&loaded, pool)? {
        let plan = provision::plan(&source.request(config))
            .with_context(|| format!("pool {}", config.id))
            .map_err(fault)?;
        print(&format!("pool {}\n{plan}\n", config.id))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_provision(flags: Flags, pool: Option<&str>, print_path: bool) -> Result<ExitCode, Failure> {
    let loaded = config(flags)?;
    let source = agent::engine_source(&loaded.config.pool_managerd, &loaded.base_dir);
    let pools = chosen(&loaded, pool)?;
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        let on_interrupt = stop.clone();
        let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            on_interrupt.cancel();
        });
        for config in pools {
            let request = source.request(config);
            let plan = provision::plan(&request)
                .with_context(|| format!("pool {}", config.id))
                .map_err(fault)?;
            if !plan.ready {
                eprint!("{plan}");
            }
            let engine = provision::provision(&request, &shown_progress(), &stop).await;
            let engine = engine
                .with_context(|| format!("pool {}", config.id))
                .map_err(fault)?;
            eprintln!("pool {}: {} is ready", config.id, engine.engine_version);
            if print_path {
                print(&format!("{}\n", engine.binary.display()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows each step and its percents on stderr: in place on a terminal, else by tens.
fn shown_progress() -> impl Fn(Progress) + Send + Sync {
    let terminal = std::io::stderr().is_terminal();
    let last = Mutex::new(String::new());
    move |progress| {
        let percent = progress.fraction.map(|done| (done * 100.0) as u32);
        let shown = if terminal {
            percent
        } else {
            percent.map(|percent| percent / 10 * 10)
        };
        let text = match shown {
            Some(percent) => format!("{}: {percent} %", progress.step),
            None => progress.step,
        };
        let mut last = last.lock().expect("nothing panics while it holds the text");
        if *last != text {
            if terminal {
                eprint!("\r\x1b[K{text}")
            } else {
                eprintln!("{text}")
            }
            if terminal && percent.is_none_or(|percent| percent >= 100) {
                eprintln!();
            }
            *last = text;
        }
    }
}
