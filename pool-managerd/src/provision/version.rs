//! Which version a llama-server is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::ProvisionError;

/// A program that has not said its version by then hangs; loading CUDA takes a second or two.
const LIMIT: Duration = Duration::from_secs(30);

/// What the program's `/props` will say as `build_info`.
///
/// # Errors
/// [`ProvisionError::Version`], if it does not run or says something else.
pub(super) async fn of(binary: &Path) -> Result<String, ProvisionError> {
    let failed = |problem: String| ProvisionError::Version {
        binary: binary.into(),
        problem,
    };
    let mut command = Command::new(binary);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .map_err(|_| failed(format!("no answer in {LIMIT:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let short = || text.chars().take(200).collect::<String>();
    build_info(&text).ok_or_else(|| failed(format!("{}, it says: {}", output.status, short())))
}

/// Reads `version: 0.5.0 (build 336, commit 0c1e57098)` or, of older versions,
/// `version: 4567 (0c1e570)`.
fn build_info(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("version: "))?;
    let (before, inside) = line.split_once(" (")?;
    let inside = inside.strip_suffix(')')?;
    let (number, commit) = match inside.strip_prefix("build ") {
        Some(rest) => rest.split_once(", commit ")?,
        None => (before, inside),
    };
    let whole = number.parse::<u64>().is_ok() && !commit.is_empty();
    whole.then(|| format!("b{number}-{commit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-POOL-3162
    #[test]
    fn both_ways_of_telling_the_version_are_read() {
        let now = "version: 0.5.0-dev (build 336, commit 0c1e57098)\nbuilt with GNU 12.2.0\n";
        assert_eq!(build_info(now).as_deref(), Some("b336-0c1e57098"));
        let older = "ggml_cuda_init: found 1 device\nversion: 4567 (d2fcd91)\nbuilt with cc\n";
        assert_eq!(build_info(older).as_deref(), Some("b4567-d2fcd91"));
    }

    #[test]
    fn other_programs_have_no_version() {
        for text in [
            "",
            "version: 1.2.3\n",
            "version: 1.2 (x)\n",
            "version: 5 ()\n",
            "GNU tar 1.34",
        ] {
            assert_eq!(build_info(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_program_that_does_not_run_is_named() {
        let error = of(Path::new("/nonexistent/llama-server"))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent/llama-server"), "{error}");
    }
}
