//! Whether an engine is llama.cpp's `llama-server`, and the process that answers is that program.
//!
//! # Invariants
//! - The evidence is the kernel's and the program's own, not what the daemons say of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::processes::Process;

/// What the program at `path` will say of its build, such as `b336-0c1e57098`.
///
/// # Errors
/// When it is missing, a script, or another program.
// spec: OC-TEST-7333
pub fn build_of(path: &Path) -> Result<String> {
    let named = path.display();
    let bytes = fs::read(path).with_context(|| format!("{named} is no llama-server"))?;
    ensure!(
        bytes.starts_with(b"\x7fELF"),
        "{named} is no llama-server: it is a script"
    );
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| format!("{named} is no llama-server"))?;
    // Builds differ in the stream that they tell their version on.
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    build_in(&told).with_context(|| format!("{named} is no llama-server: it says {told:?}"))
}

/// The build in `version: 0.5.0 (build 336, commit 0c1e57098)` or `version: 4567 (d2fcd91)`.
fn build_in(told: &str) -> Option<String> {
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("version: "))?;
    let (version, inner) = line.strip_suffix(')')?.split_once(" (")?;
    let (number, commit) = match inner.strip_prefix("build ") {
        Some(inner) => inner.split_once(", commit ")?,
        None => (version, inner),
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("b{number}-{commit}"))
}

/// Checks that `engine` runs the program at `path`, has `model` mapped, and that the listener of
/// its command line says the program's build.
///
/// # Errors
/// What speaks against it.
pub async fn check(engine: &Process, path: &Path, model: &Path) -> Result<()> {
    let proc = Path::new("/proc").join(engine.pid.to_string());
    let runs = fs::read_link(proc.join("exe")).context("the engine is gone")?;
    let (path, model) = (path.canonicalize()?, model.canonicalize()?);
    ensure!(
        runs == path,
        "the engine is {}, not {}",
        runs.display(),
        path.display()
    );
    let maps = fs::read_to_string(proc.join("maps")).context("the engine is gone")?;
    let is_mapped = maps
        .lines()
        .any(|line| line.ends_with(&*model.to_string_lossy()));
    ensure!(is_mapped, "the engine has not mapped {}", model.display());
    let (told, built) = (props_of(engine).await?, build_of(&path)?);
    ensure!(
        told == built,
        "the engine's /props say {told}, the program {built}"
    );
    Ok(())
}

/// `build_info` of the engine's own `/props`, asked without the daemons.
async fn props_of(engine: &Process) -> Result<String> {
    let environment = fs::read(format!("/proc/{}/environ", engine.pid))?;
    let environment = String::from_utf8_lossy(&environment);
    let mut variables = environment.split('\0');
    let key = variables.find_map(|variable| variable.strip_prefix("LLAMA_API_KEY="));
    let mut words = engine
        .command
        .split(' ')
        .skip_while(|word| *word != "--port");
    let port = words
        .nth(1)
        .context("the engine's command line names no port")?;
    let request = reqwest::Client::new().get(format!("http://127.0.0.1:{port}/props"));
    let answer = request.bearer_auth(key.unwrap_or_default()).send().await?;
    let props: serde_json::Value = answer.error_for_status()?.json().await?;
    let build = props["build_info"]
        .as_str()
        .context("/props have no build_info")?;
    Ok(build.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_version_are_read_and_nothing_else() {
        let said = |line| build_in(&format!("some log line\n{line}\nbuilt with GNU 12.2.0\n"));
        let now = "version: 0.5.0-dev (build 336, commit 0c1e57098)";
        assert_eq!(said(now).as_deref(), Some("b336-0c1e57098"));
        assert_eq!(
            said("version: 4567 (d2fcd91)").as_deref(),
            Some("b4567-d2fcd91")
        );
        for other in [
            "fake-engine 0.1.0",
            "version: 1",
            "version: x (y)",
            "version:  (y)",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
