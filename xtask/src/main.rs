//! `cargo xtask`: what developers of llama-orch run.
//!
//! | command | does |
//! |---|---|
//! | `demo` | everything from the build to a poem from a real engine, then cleans up |
//! | `up` | the same set-up, but it stays until Ctrl-C |
//! | `dev:loop` | every gate, in order, up to the first red one |
//! | `regen` | emits every committed file that follows from others |
//! | `tidy` | checks the rules of the house that no compiler checks |
//!
//! Not here: what the daemons do; they are run as programs.

mod demo;
mod dev_loop;
mod regen;
mod say;
mod setup;
mod subprocess;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use say::Say;
use workspace::Workspace;

/// Developer commands of llama-orch.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build everything, start a real engine, stream a haiku from it, and clean up
    Demo {
        /// End with one line of JSON on standard output; all else goes to standard error
        #[arg(long)]
        json: bool,
        /// Run on the CPU although there is a GPU
        #[arg(long)]
        cpu: bool,
    },
    /// Build everything and keep it running until Ctrl-C
    Up {
        /// Run on the CPU although there is a GPU
        #[arg(long)]
        cpu: bool,
    },
    /// Run every gate: format, lints, generated files, builds, the real engine, all tests
    #[command(name = "dev:loop")]
    DevLoop,
    /// Check layers, docs, wording, sizes, spec ids and links
    Tidy,
    /// Emit the OpenAPI documents, the config's JSON Schema, the traceability files and the
    /// workspace map
    Regen {
        /// Change nothing; fail if a committed file differs
        #[arg(long)]
        check: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Say::on_stderr().line(&format!("error: {error:#}"));
            let interrupted = error.downcast_ref::<subprocess::Interrupted>().is_some();
            ExitCode::from(if interrupted { 130 } else { 1 })
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Demo { json, cpu } => demo::demo(&workspace, json, cpu).await,
        Command::Up { cpu } => setup::up(&workspace, cpu).await,
        Command::DevLoop => dev_loop::dev_loop(&workspace).await,
        Command::Tidy => dev_loop::tidy(&workspace).await,
        Command::Regen { check } => regen::regen(&workspace, check, Say::on_stdout()).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        assert!(Args::try_parse_from(["cargo xtask", "dev:loop"]).is_ok());
    }
}
