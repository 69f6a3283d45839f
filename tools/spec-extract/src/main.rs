//! `spec-extract`: writes the traceability files, or checks them with `--check`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tools_spec_extract::{Mode, run};

/// Traceability: from every requirement to its contract, its tests and its code.
#[derive(Parser)]
struct Arguments {
    /// Compare the emitted files instead of writing them.
    #[arg(long)]
    check: bool,
    /// The root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mode = if arguments.check {
        Mode::Check
    } else {
        Mode::Write
    };
    match run(&arguments.root, mode) {
        Ok(outcome) => {
            for problem in &outcome.problems {
                eprintln!("{problem}");
            }
            eprintln!(
                "{} MUSTs, {} of them open, {} problems",
                outcome.musts,
                outcome.open,
                outcome.problems.len()
            );
            ExitCode::from(u8::from(!outcome.problems.is_empty()))
        }
        Err(error) => {
            let cause = error
                .source()
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            eprintln!("{error}{cause}");
            ExitCode::from(2)
        }
    }
}
