//! `cargo xtask ci:…`: the gates that run by themselves, beside `dev:loop`.
//!
//! # Invariants
//! - The engine is a real llama-server, obtained as a user's would be.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use contracts_api_types::kind::DeviceClass;

use crate::dev_loop::LLAMA_SERVER;
use crate::say::Say;
use crate::setup::{FREE_PORTS, Setup};
use crate::subprocess::Subprocess;
use crate::workspace::Workspace;

/// Where the Haiku gate reads the minute off the clock.
pub(crate) const TIME_ZONE: &str = "Europe/Amsterdam";

const MUTATIONS: &str = "ci/scripts/mutate_gates.sh";

/// The gate on the CPU, with the small model where no other is given.
pub(crate) async fn haiku_on_cpu(
    workspace: &Workspace,
    model: Option<&Path>,
) -> anyhow::Result<()> {
    let small = workspace.model();
    haiku(workspace, DeviceClass::CpuCi, model.unwrap_or(&small)).await
}

/// The gate on a GPU, which shows that a general model runs there.
pub(crate) async fn haiku_on_gpu(workspace: &Workspace, model: &Path) -> anyhow::Result<()> {
    ensure_general(workspace, model)?;
    haiku(workspace, DeviceClass::Nvidia, model).await
}

/// Asks the script that fetches general models whether this is one: the small model does not count.
// spec: OC-TEST-7334
fn ensure_general(workspace: &Workspace, model: &Path) -> anyhow::Result<()> {
    let script = workspace.root.join("ci/scripts/fetch_model.sh");
    let output = Command::new(script).arg("--check").arg(model).output();
    let output = output.context("cannot run fetch_model.sh")?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", why.trim());
    Ok(())
}

async fn haiku(workspace: &Workspace, device: DeviceClass, model: &Path) -> anyhow::Result<()> {
    workspace.build(Say::on_stderr()).await?;
    let folder = workspace.scratch("haiku");
    let setup = Setup::new(workspace, &folder, device, FREE_PORTS);
    let engine = setup.provision(&setup.write_config()?).await?;
    let model = model
        .canonicalize()
        .with_context(|| format!("cannot find {}", model.display()))?;
    // The gate needs fake-engine too, to show that it fails on it.
    let args = ["build", "--package", "test-harness-fake-engine"];
    workspace.cargo(&args).run().await?;
    let args = [
        "test",
        "--package",
        "test-harness-e2e-haiku",
        "--test",
        "haiku",
    ];
    let gate = workspace.cargo(&args).env(LLAMA_SERVER, &engine);
    gate.env("REQUIRE_REAL_LLAMA", "1")
        .env("TZ", TIME_ZONE)
        .env("LLORCH_HAIKU_MODEL", model)
        .env("LLORCH_HAIKU_DEVICE", device.as_str())
        .run()
        .await
}

/// The gates that are too slow for `dev:loop`.
// spec: ORCH-3528
pub(crate) async fn extra(workspace: &Workspace) -> anyhow::Result<()> {
    let script = workspace.root.join(MUTATIONS);
    Subprocess::new(script)
        .args(["--full"])
        .folder(&workspace.root)
        .run()
        .await
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::Args;

    // spec: OC-TEST-7334
    #[test]
    fn the_small_model_does_not_count_on_a_gpu_whatever_its_name() {
        let workspace = Workspace::find().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("qwen2.5-0.5b-instruct-q4_k_m.gguf");
        fs::copy(workspace.model(), &copy).unwrap();
        for (model, why) in [
            (copy, "is no general model that counts"),
            (dir.path().join("missing"), "is no file"),
        ] {
            let refusal = ensure_general(&workspace, &model).unwrap_err().to_string();
            assert!(refusal.contains(why), "{refusal}");
        }
    }

    // spec: ORCH-3529
    #[test]
    fn the_gate_of_a_change_runs_the_loop_and_the_slow_gates() {
        let root = Workspace::find().unwrap().root;
        let gate = fs::read_to_string(root.join(".ci/run")).unwrap();
        let runs: Vec<_> = gate
            .lines()
            .filter(|line| line.starts_with("cargo "))
            .collect();
        assert_eq!(runs, ["cargo xtask dev:loop", "cargo xtask ci:extra"]);
        assert!(root.join(MUTATIONS).is_file());
    }

    #[test]
    fn the_pipelines_call_commands_that_exist() {
        let root = Workspace::find().unwrap().root;
        let pipelines = fs::read_to_string(root.join("ci/pipelines.yml")).unwrap();
        let runs = pipelines.lines();
        let runs: Vec<_> = runs.filter_map(|line| line.split_once("- run: ")).collect();
        assert!(runs.len() > 8, "{runs:?}");
        for (_, run) in runs {
            let mut words = run.split(' ');
            match words.next() {
                Some("cargo") if words.next() == Some("xtask") => {
                    let args = ["cargo xtask"].into_iter().chain(words);
                    assert!(Args::try_parse_from(args).is_ok(), "{run}");
                }
                Some("cargo") => {}
                Some(script) => assert!(root.join(script).is_file(), "{run}"),
                None => panic!("an empty command"),
            }
        }
    }
}
