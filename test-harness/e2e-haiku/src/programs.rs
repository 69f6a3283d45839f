//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The repository's top folder.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("two folders up is the top")
}

/// A program of this workspace, from the build that the running test belongs to.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile_dir = test
        .ancestors()
        .nth(2)
        .expect("tests lie in <profile>/deps");
    let path = profile_dir.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// The variable that demands a real engine and leaves no time to build one.
pub const REQUIRED: &str = "REQUIRE_REAL_LLAMA";

/// The variable that names the real engine.
pub const LLAMA_SERVER: &str = "LLORCH_TEST_LLAMA_SERVER";

/// The real `llama-server`: the one named by [`LLAMA_SERVER`], else provisioned by pool-managerd
/// into the user's cache, once per test process. With [`REQUIRED`] it must be named.
///
/// # Panics
/// When there is none and none can be built; the agent's own words say why.
// spec: OC-TEST-7333
#[must_use]
pub fn llama_server() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let named = std::env::var_os(LLAMA_SERVER);
        let required = std::env::var_os(REQUIRED).is_some_and(|value| value == "1");
        assert!(
            named.is_some() || !required,
            "{REQUIRED}=1, but {LLAMA_SERVER} names no llama-server"
        );
        named.map_or_else(provision, PathBuf::from)
    })
}

fn provision() -> PathBuf {
    let config = repository().join("contracts/config-schema/examples/cpu-ci.yaml");
    let output = Command::new(program("pool-managerd"))
        .arg("provision")
        .arg("--print-path")
        .arg("--config")
        .arg(config)
        .stderr(Stdio::inherit())
        .output()
        .expect("pool-managerd can be started");
    assert!(
        output.status.success(),
        "pool-managerd provision failed: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("a path in UTF-8");
    PathBuf::from(text.trim())
}
