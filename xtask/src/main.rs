//! `cargo xtask`: what developers of llama-orch run.
//!
//! | command | does |
//! |---|---|
//! | `demo` | everything from the build to a poem from a real engine, then cleans up |
//! | `up` | the same set-up, but it stays until Ctrl-C |
//! | `dev:loop` | every gate, in order, up to the first red one |
//! | `regen` | emits every committed file that follows from others |
//! | `docs:index` | writes the workspace map of `README_LLM.md` |
//! | `tidy` | checks the rules of the house that no compiler checks |
//! | `ci:haiku:cpu`, `ci:haiku:gpu` | the anti-cheat gate alone, on one class of devices |
//! | `ci:extra` | the gates that are too slow for `dev:loop` |
//!
//! Not here: what the daemons do; they are run as programs.

mod ci;
mod demo;
mod dev_loop;
mod regen;
mod say;
mod setup;
mod subprocess;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use say::Say;
use tools_spec_extract::Mode;
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
    /// Write the workspace map of README_LLM.md
    #[command(name = "docs:index")]
    DocsIndex,
    /// Ask a real llama-server on the CPU for a haiku that nobody can have recorded
    #[command(name = "ci:haiku:cpu")]
    HaikuCpu {
        /// Another model than the small one
        #[arg(long)]
        model: Option<PathBuf>,
    },
    /// The same on an NVIDIA GPU, with a general model
    #[command(name = "ci:haiku:gpu")]
    HaikuGpu {
        /// What `ci/scripts/fetch_model.sh` has fetched; the small model does not count here
        #[arg(long)]
        model: PathBuf,
    },
    /// Run the slow gates: plant mistakes, and see each of them found
    #[command(name = "ci:extra")]
    Extra,
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
        Command::DocsIndex => Ok(tools_readme_index::run(&workspace.root, Mode::Write)?),
        Command::HaikuCpu { model } => ci::haiku_on_cpu(&workspace, model.as_deref()).await,
        Command::HaikuGpu { model } => ci::haiku_on_gpu(&workspace, &model).await,
        Command::Extra => ci::extra(&workspace).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        for name in ["dev:loop", "docs:index", "ci:haiku:cpu", "ci:extra"] {
            assert!(
                Args::try_parse_from(["cargo xtask", name]).is_ok(),
                "{name}"
            );
        }
    }

    // spec: OC-TEST-7334
    #[test]
    fn the_gate_on_a_gpu_has_no_model_of_its_own() {
        assert!(Args::try_parse_from(["cargo xtask", "ci:haiku:gpu"]).is_err());
    }
}
