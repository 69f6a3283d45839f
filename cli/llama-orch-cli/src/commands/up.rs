//! `up`: builds what is missing, starts both daemons, waits until the pools are ready.
//!
//! In the background the daemons get sessions of their own and outlive this command. With
//! `--attach` they end with it.

mod fleet;
mod ready;

use std::path::Path;
use std::process::Stdio;

use contracts_config_schema::Loaded;
use tokio::process::Command;

use crate::args::UpArgs;
use crate::context::{Context, client};
use crate::daemon::{Daemon, DaemonName, interrupt, program, url};
use crate::failure::{Failure, Kind};
use crate::interrupts::Interrupts;
use crate::output::{Output, Tone};

use fleet::{Fleet, Home};

// spec: CLI-8003, CLI-8006
pub(crate) async fn up(context: &Context, args: &UpArgs, output: &Output) -> Result<(), Failure> {
    let (loaded, path) = context.load_pools()?;
    if args.attach {
        refuse_running(&loaded)?;
    }
    let mut interrupts = Interrupts::take()?;
    provision(&path, &mut interrupts).await?;
    let home = if args.attach {
        Home::Here
    } else {
        Home::OwnSession
    };
    let mut fleet = Fleet::new(&loaded, &path, home);
    let started = tokio::select! {
        started = start(&mut fleet, &loaded, args, output) => started,
        () = interrupts.next() => Err(Failure::interrupted()),
    };
    let base = match started {
        Ok(base) => base,
        Err(failure) if failure.kind == Kind::Interrupted || args.attach => {
            fleet.stop(&mut interrupts, output).await?;
            return Err(failure);
        }
        // What does work is left running: another pool may be fine.
        Err(failure) => return Err(failure),
    };
    if output.is_json() {
        output.document(&serde_json::json!({ "url": base, "attached": args.attach }))?;
    }
    say_how_to_go_on(&base, output);
    if args.attach {
        output.say("Ctrl-C stops both daemons\n");
        fleet.watch(&mut interrupts).await?;
        fleet.stop(&mut interrupts, output).await?;
    }
    Ok(())
}

/// What runs already would neither be shown nor end with this command.
fn refuse_running(loaded: &Loaded) -> Result<(), Failure> {
    for name in [DaemonName::Orchestratord, DaemonName::PoolManagerd] {
        if let Some(info) = Daemon::of(name, &loaded.config).running() {
            let message = format!("{} runs already (pid {})", name.as_str(), info.pid);
            return Err(Failure::failed(message).hint("`llama-orch down` stops it"));
        }
    }
    Ok(())
}

async fn start(
    fleet: &mut Fleet,
    loaded: &Loaded,
    args: &UpArgs,
    output: &Output,
) -> Result<String, Failure> {
    let mut waiting = output.waiting();
    waiting.show("orchestratord is starting");
    let orchestratord = fleet.start(DaemonName::Orchestratord, &[]).await?;
    let base = url(orchestratord.address);
    // An address chosen by the system is in no config.
    let chosen = loaded.config.orchestratord.bind.port() == 0;
    let orchestrator = ["--orchestrator".to_owned(), base.clone()];
    waiting.show("pool-managerd is starting");
    fleet
        .start(
            DaemonName::PoolManagerd,
            if chosen { &orchestrator } else { &[] },
        )
        .await?;
    let wanted: Vec<_> = loaded
        .config
        .pool_managerd
        .pools
        .iter()
        .map(|p| p.id.as_str())
        .collect();
    ready::wait(
        fleet,
        &client(&base)?,
        &wanted,
        args.timeout.0,
        &mut waiting,
    )
    .await?;
    Ok(base)
}

/// Builds the engines in the foreground, so that the plan and the progress are seen.
async fn provision(config: &Path, interrupts: &mut Interrupts) -> Result<(), Failure> {
    let program = program(DaemonName::PoolManagerd)?;
    let cannot = |why| Failure::failed(format!("cannot run {}: {why}", program.display()));
    let mut child = Command::new(&program)
        .arg("provision")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        // Standard output is for this command's own data.
        .stdout(std::io::stderr())
        // The terminal's Ctrl-C goes to this command alone, which passes it on once.
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let mut stopped = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(cannot)?,
            // It cleans up and ends by itself.
            () = interrupts.next() => {
                stopped = true;
                child.id().into_iter().for_each(interrupt);
            }
        }
    };
    match status.code() {
        _ if stopped => Err(Failure::interrupted()),
        Some(0) => Ok(()),
        Some(2) => Err(Failure::new(
            Kind::Usage,
            "the config cannot be used, see above",
        )),
        _ => Err(
            Failure::failed("the engine could not be made ready, see above")
                .hint("`llama-orch doctor` looks for what is missing"),
        ),
    }
}

fn say_how_to_go_on(base: &str, output: &Output) {
    output.say(&format!(
        "{} at {base}\n\n  llama-orch run 'Write a haiku about the sea'\n  llama-orch pools\n  \
         llama-orch down\n",
        output.tone(Tone::Good, "llama-orch is ready")
    ));
}
