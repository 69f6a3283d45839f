//! Walls inside crates: which module may name which crate or module.
//!
//! Tests may cross them; a test of a daemon may name an engine.

use tools_spec_extract::Problem;
use tools_spec_extract::rust_source::RustFile;

/// The one place of each daemon that makes adapters: there, and nowhere else, engines have names.
const COMPOSITION_ROOTS: &[(&str, &str)] = &[
    ("orchestratord/src/", "orchestratord/src/main.rs"),
    ("pool-managerd/src/", "pool-managerd/src/engines.rs"),
];
const ADAPTER_CRATES: &str = "worker_adapters_";
const ADAPTER_SEAM: &str = "worker_adapters_adapter_api";

/// What must not be named below a folder, and why.
const WALLS: &[(&str, &[&str], &str)] = &[
    (
        "orchestrator-core/src/",
        &[
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::process",
            "std::thread",
        ],
        "the core does no I/O: take what it needs as an argument",
    ),
    (
        "orchestrator-core/src/",
        &["Instant", "SystemTime"],
        "the core has no clock: take `now: MonoTime`",
    ),
    (
        "orchestratord/src/services",
        &["crate::api"],
        "services are below the API: move it down",
    ),
    (
        "worker-adapters/",
        &["contracts_api_types"],
        "wire types stay at the edge: convert in the daemon",
    ),
];

/// Where `unsafe` code may be expected: the guard, and the NVML substitute of the test harness.
const UNSAFE_PLACES: &[&str] = &["pool-managerd/src/guard", "test-harness/nvml"];

// spec: ORCH-3523, ORCH-3532
pub(super) fn check(files: &[RustFile<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        for (number, _) in file
            .numbered()
            .filter(|(_, line)| mentions(&line.code, "unsafe_code"))
        {
            if !UNSAFE_PLACES
                .iter()
                .any(|place| file.path.starts_with(place))
            {
                let what = "names `unsafe_code`: only the guard may expect it, find a safe way";
                problems.push(Problem::at(file.path, number, what));
            }
        }
        for (number, line) in file.numbered().filter(|(_, line)| !line.is_test) {
            if let Some(home) = engine_home(file.path)
                && names_an_engine(&line.code)
            {
                let what = format!("names an engine crate: only {home} may");
                problems.push(Problem::at(file.path, number, what));
            }
            let walls = WALLS
                .iter()
                .filter(|(folder, ..)| file.path.starts_with(folder));
            for (_, names, why) in walls {
                for name in names.iter().filter(|name| mentions(&line.code, name)) {
                    let what = format!("names `{name}`, but {why}");
                    problems.push(Problem::at(file.path, number, what));
                }
            }
        }
    }
    problems
}

/// Where engines may be named instead, for a file of a daemon that is another one.
fn engine_home(path: &str) -> Option<&'static str> {
    let (_, home) = COMPOSITION_ROOTS
        .iter()
        .find(|(folder, _)| path.starts_with(folder))?;
    (path != *home).then_some(*home)
}

fn names_an_engine(code: &str) -> bool {
    code.match_indices(ADAPTER_CRATES)
        .any(|(at, _)| !code[at..].starts_with(ADAPTER_SEAM))
}

/// Whether the code has `name` as whole words, `use std::{fs, …}` included.
fn mentions(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |name: &str| {
        code.match_indices(name).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let after = code[at + name.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    };
    let is_grouped =
        |(root, leaf): (&str, &str)| code.contains(&format!("use {root}::{{")) && whole(leaf);
    whole(name) || name.rsplit_once("::").is_some_and(is_grouped)
}

#[cfg(test)]
mod tests {
    use super::check;
    use tools_spec_extract::rust_source::rust_files;
    use tools_spec_extract::tree::Tree;

    fn told(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[(path, text)]);
        check(&rust_files(&tree))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    // spec: ORCH-3532
    #[test]
    fn an_engine_outside_the_composition_root_is_named() {
        let text = "//! D.\nuse worker_adapters_llamacpp_http::LlamaCppAdapter;\n";
        assert_eq!(
            told("orchestratord/src/services/dispatch.rs", text),
            [
                "orchestratord/src/services/dispatch.rs:2: names an engine crate: only orchestratord/src/main.rs may"
            ]
        );
        assert_eq!(told("pool-managerd/src/api.rs", text).len(), 1);
        assert_eq!(told("orchestratord/src/main.rs", text), [""; 0]);
        let seam = "use worker_adapters_adapter_api::WorkerAdapter;\n";
        assert_eq!(
            told("orchestratord/src/services/dispatch.rs", seam),
            [""; 0]
        );
        let test = "#[cfg(test)]\nmod tests {\n    use worker_adapters_mock::MockAdapter;\n}\n";
        assert_eq!(
            told("orchestratord/src/services/dispatch.rs", test),
            [""; 0]
        );
    }

    // spec: ORCH-3532, OC-CORE-1100
    #[test]
    fn a_core_that_reaches_outside_is_named() {
        let path = "orchestrator-core/src/queue.rs";
        for code in [
            "use std::fs;",
            "use std::{collections::BTreeMap, fs};",
            "let a = std::env::var(x);",
            "use std::time::{Duration, Instant};",
            "fn f(now: SystemTime) {}",
        ] {
            assert_eq!(told(path, code).len(), 1, "{code}");
        }
        for fine in [
            "use std::time::Duration;",
            "struct InstantReplay;",
            "let fs = 1;",
            "// std::fs",
        ] {
            assert_eq!(told(path, fine), [""; 0], "{fine}");
        }
    }

    // spec: ORCH-3523
    #[test]
    fn unsafe_code_outside_the_guard_is_named_in_tests_too() {
        let text = "#[cfg(test)]\nmod tests {\n    #![expect(unsafe_code, reason = \"x\")]\n}\n";
        assert_eq!(told("a/src/lib.rs", text).len(), 1);
        assert_eq!(told("pool-managerd/src/guard/exec.rs", text), [""; 0]);
    }

    // spec: ORCH-3532
    #[test]
    fn services_that_reach_up_and_adapters_that_know_the_wire_are_named() {
        assert_eq!(
            told(
                "orchestratord/src/services/book.rs",
                "use crate::api::error;\n"
            )
            .len(),
            1
        );
        assert_eq!(
            told("orchestratord/src/api/tasks.rs", "use crate::api::error;\n"),
            [""; 0]
        );
        let wire = "use contracts_api_types::task::TaskRequest;\n";
        assert_eq!(told("worker-adapters/triton/src/lib.rs", wire).len(), 1);
    }
}
