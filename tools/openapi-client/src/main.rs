//! `openapi-client`: writes the generated client, or checks it with `--check`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tools_openapi_client::generate::{committed, generate, stale};

/// The Rust client of the committed OpenAPI documents.
#[derive(Parser)]
struct Arguments {
    /// Compare the client instead of writing it.
    #[arg(long)]
    check: bool,
    /// The root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.root, arguments.check) {
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

fn run(root: &Path, check: bool) -> Result<(), Box<dyn Error>> {
    let files = generate(&committed(root)?)?;
    let stale = stale(root, &files);
    for file in &stale {
        if !check {
            std::fs::write(root.join(&file.path), &file.text)?;
        }
        let verb = if check { "differs" } else { "was written" };
        eprintln!("{} {verb}", file.path.display());
    }
    if check && !stale.is_empty() {
        return Err("run `cargo run -p tools-openapi-client` and commit its files".into());
    }
    Ok(())
}
