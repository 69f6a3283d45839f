//! `readme-index`: writes the workspace map, or checks it with `--check`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tools_readme_index::run;
use tools_spec_extract::Mode;

/// The workspace map in `README_LLM.md`, written from the manifests.
#[derive(Parser)]
struct Arguments {
    /// Compare the map instead of writing it.
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error
                .source()
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            eprintln!("{error}{cause}");
            ExitCode::FAILURE
        }
    }
}
