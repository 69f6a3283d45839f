//! The `fake-engine` program: one engine in a process of its own, to be attached as `external`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use test_harness_fake_engine::log::LogTo;
use test_harness_fake_engine::script::Script;
use test_harness_fake_engine::script::behaviour::OnSigterm;
use test_harness_fake_engine::{Dialect, FakeEngine, Mortality, Options, StartError};
use tokio::signal::unix::{SignalKind, signal};

/// A scripted inference engine for tests. Prints its address as one line of JSON, then serves until
/// SIGTERM, or until its script says that it dies.
#[derive(Debug, Parser)]
#[command(name = "fake-engine")]
struct Arguments {
    /// Whose language to speak.
    #[arg(long, value_enum)]
    dialect: Dialect,
    /// The script, in YAML or JSON. Without one the engine behaves well.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Where to listen. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Where to write the ground truth, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// One thread: an engine that needs more would prove nothing about its clients.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err((problem, code)) => {
            eprintln!("{problem}");
            ExitCode::from(code)
        }
    }
}

/// The exit code for wrong usage.
const USAGE: u8 = 2;

async fn run(arguments: Arguments) -> Result<(), (String, u8)> {
    let Arguments {
        dialect,
        script,
        bind,
        log,
    } = arguments;
    let usage = |problem: &dyn std::error::Error| (with_sources(problem), USAGE);
    let script = match script {
        Some(path) => Script::load(&path, dialect).map_err(|error| usage(&error))?,
        None => Script::default(),
    };
    let ignores_sigterm = script.on_sigterm == OnSigterm::Ignore;
    // Before the address is told: whoever reads it may send a signal at once.
    let mut sigterm = signal(SignalKind::terminate()).map_err(|error| usage(&error))?;
    let options = Options {
        dialect,
        script,
        bind,
        log: log.map_or(LogTo::Nowhere, LogTo::File),
        mortality: Mortality::Process,
    };
    let engine = FakeEngine::start(options)
        .await
        .map_err(|error| match error {
            StartError::Refused { text, code } => (text, code),
            other => usage(&other),
        })?;
    announce(&engine);
    loop {
        tokio::select! {
            _ = sigterm.recv() => {}
            () = engine.died() => return Ok(()),
        }
        if !ignores_sigterm {
            engine.terminate().await;
            return Ok(());
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the one line that a caller reads the address from"
)]
fn announce(engine: &FakeEngine) {
    let metrics = match engine.metrics_address() {
        Some(address) => format!(",\"metrics_address\":\"{address}\""),
        None => String::new(),
    };
    println!("{{\"address\":\"{}\"{metrics}}}", engine.address());
}

fn with_sources(problem: &dyn std::error::Error) -> String {
    let mut text = problem.to_string();
    let mut source = problem.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
