//! `llama-orch`: everything an operator or a developer does from a terminal.
//!
//! # Invariants
//! - Data goes to standard output, words about it go to standard error.
//! - With `--json`, standard output carries one JSON document, or one per line for streams.
//! - Every way to fail has one of the exit codes of `--help`.
//!
//! Not here: HTTP (the SDK), and anything a daemon decides.

mod args;
mod commands;
mod context;
mod daemon;
mod failure;
mod interrupts;
mod output;

use std::process::ExitCode;

use clap::Parser;

use args::Args;
use output::Output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    match commands::run(args, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
