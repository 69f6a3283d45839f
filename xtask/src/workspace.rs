//! Where things are in this checkout and its build folder.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::say::Say;
use crate::subprocess::Subprocess;

/// The packages with the programs that the other commands run.
const PROGRAMS: [&str; 3] = ["orchestratord", "pool-managerd", "llama-orch-cli"];

/// The checkout.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// Its top folder.
    pub(crate) root: PathBuf,
    /// Where cargo puts programs; this one lies there too.
    programs: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let programs = own
            .parent()
            .context("this program is in no folder")?
            .to_owned();
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package
            .parent()
            .context("the package is in no workspace")?
            .to_owned();
        Ok(Self { root, programs })
    }

    /// One of the built programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A folder for what survives one run, below cargo's own.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        // `xtask` is the program itself.
        self.programs.join("xtask-state").join(name)
    }

    /// The small model of demos and tests.
    pub(crate) fn model(&self) -> PathBuf {
        self.root
            .join("test-harness/tiny-model/haiku-tiny-q8_0.gguf")
    }

    /// A run of cargo in the checkout.
    pub(crate) fn cargo(&self, args: &[&str]) -> Subprocess {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Subprocess::new(cargo).args(args).folder(&self.root)
    }

    /// Builds the programs.
    pub(crate) async fn build(&self, say: Say) -> anyhow::Result<()> {
        let mut args = vec!["build"];
        args.extend(PROGRAMS.iter().flat_map(|package| ["--package", package]));
        say.line(&format!("$ cargo {}", args.join(" ")));
        self.cargo(&args).run().await
    }
}
