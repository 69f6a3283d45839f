//! `down`: stops both daemons.

use std::time::Duration;

use contracts_config_schema::Config;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::daemon::{Daemon, DaemonName, RunInfo};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::Output;

/// What a daemon may take beyond the time that it gives to running streams: to stop workers and
/// to write its files.
const MARGIN: Duration = Duration::from_secs(60);

/// How often a daemon that stops is looked at.
const POLL: Duration = Duration::from_millis(50);

#[derive(Serialize)]
struct Stopped {
    name: &'static str,
    /// Whether it ran before.
    was_running: bool,
    pid: Option<u32>,
}

/// orchestratord goes first: while it drains, it still needs the workers.
const ORDER: [DaemonName; 2] = [DaemonName::Orchestratord, DaemonName::PoolManagerd];

pub(crate) async fn down(context: &Context, output: &Output) -> Result<(), Failure> {
    let config = context.load()?.config;
    let mut interrupts = Interrupts::take()?;
    let mut stopped = Vec::new();
    for name in ORDER {
        let one = tokio::select! {
            stopped = stop(name, &config, output) => stopped?,
            () = interrupts.next() => return Err(Failure::interrupted()
                .hint(format!("{} goes on stopping", name.as_str()))),
        };
        stopped.push(one);
    }
    if output.is_json() {
        return output.document(&serde_json::json!({ "daemons": stopped }));
    }
    Ok(())
}

async fn stop(name: DaemonName, config: &Config, output: &Output) -> Result<Stopped, Failure> {
    let daemon = Daemon::of(name, config);
    let name = name.as_str();
    let end = Instant::now() + config.orchestratord.drain.0 + MARGIN;
    let Some(info) = announced(&daemon, end).await? else {
        output.say(&format!("{name} is not running"));
        return Ok(Stopped {
            name,
            was_running: false,
            pid: None,
        });
    };
    let mut waiting = output.waiting();
    waiting.show(&format!("{name} is stopping"));
    daemon.ask_to_stop();
    while daemon.is_alive() {
        if Instant::now() > end {
            let message = format!("{name} (pid {}) has not stopped", info.pid);
            return Err(Failure::failed(message)
                .hint(format!("its log is {}", daemon.log_path().display()))
                .hint("a second `llama-orch down` makes it stop at once"));
        }
        sleep(POLL).await;
    }
    drop(waiting);
    output.say(&format!("{name} has stopped"));
    Ok(Stopped {
        name,
        was_running: true,
        pid: Some(info.pid),
    })
}

/// What a living daemon says of itself. One that has just begun takes its lock first.
async fn announced(daemon: &Daemon, end: Instant) -> Result<Option<RunInfo>, Failure> {
    while daemon.is_alive() {
        if let Some(info) = daemon.announced() {
            return Ok(Some(info));
        }
        if Instant::now() > end {
            let name = daemon.name.as_str();
            return Err(
                Failure::failed(format!("{name} runs, but does not say its number"))
                    .hint(format!("its log is {}", daemon.log_path().display())),
            );
        }
        sleep(POLL).await;
    }
    Ok(None)
}
