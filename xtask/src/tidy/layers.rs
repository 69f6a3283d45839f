//! Layers: which crate may use which.
//!
//! Normal and build dependencies only: a test may use what it likes, as a client or a neighbour.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tools_spec_extract::Problem;

const ADAPTER: &[&str] = &[
    "contracts-sse",
    "orchestrator-core",
    "worker-adapters-adapter-api",
];
const DAEMON: &[&str] = &[
    "contracts-*",
    "orchestrator-core",
    "worker-adapters-adapter-api",
    "worker-adapters-llamacpp-http",
];

/// Which of our crates each of our crates may use. The first row that has the name counts.
const ROOMS: &[(&str, &[&str])] = &[
    ("contracts-api-types", &[]),
    ("contracts-data-dir", &[]),
    ("contracts-sse", &[]),
    ("contracts-config-schema", &["contracts-api-types"]),
    ("orchestrator-core", &[]),
    ("worker-adapters-adapter-api", &["orchestrator-core"]),
    ("worker-adapters-*", ADAPTER),
    ("orchestratord", DAEMON),
    ("pool-managerd", DAEMON),
    ("llama-orch-sdk", &["contracts-api-types", "contracts-sse"]),
    ("llama-orch-cli", &["contracts-*", "llama-orch-sdk"]),
    ("tools-*", &["contracts-*", "tools-*"]),
    ("xtask", &["contracts-*", "llama-orch-sdk", "tools-*"]),
    ("test-harness-*", &["*"]),
];

/// What a crate must not reach, over however many others.
const OUT_OF_REACH: &[(&str, &[&str])] = &[
    ("contracts-*", &["axum", "hyper", "reqwest", "tokio"]),
    (
        "orchestrator-core",
        &[
            "axum",
            "contracts-api-types",
            "hyper",
            "prometheus",
            "rand",
            "reqwest",
            "serde",
            "tokio",
            "tracing",
        ],
    ),
    (
        "worker-adapters-adapter-api",
        &["axum", "contracts-api-types", "hyper", "reqwest"],
    ),
    ("llama-orch-*", &["orchestratord", "pool-managerd"]),
];

/// Crates and what they use directly.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Our crates.
    members: BTreeSet<String>,
    /// Direct normal and build dependencies, foreign crates included.
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo. Linux only, so that nothing for other systems is fetched.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let target = "x86_64-unknown-linux-gnu";
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--format-version",
                "1",
                "--filter-platform",
                target,
            ])
            .current_dir(root)
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let metadata =
            serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
        Self::from_metadata(&metadata).context("cargo metadata has another form than expected")
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let mut names = BTreeMap::new();
        for package in metadata["packages"].as_array()? {
            names.insert(package["id"].as_str()?, package["name"].as_str()?);
        }
        let name = |id: &Value| names.get(id.as_str()?).map(|name| (*name).to_owned());
        let members = metadata["workspace_members"]
            .as_array()?
            .iter()
            .map(name)
            .collect::<Option<_>>()?;
        let mut uses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array()? {
            let used = uses.entry(name(&node["id"])?).or_default();
            for dependency in node["deps"].as_array()? {
                let kinds = dependency["dep_kinds"].as_array()?;
                if kinds.iter().any(|kind| kind["kind"] != "dev") {
                    used.insert(name(&dependency["pkg"])?);
                }
            }
        }
        Some(Self { members, uses })
    }

    fn uses(&self, name: &str) -> impl Iterator<Item = &str> {
        self.uses
            .get(name)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// How `from` comes to use `to`: the crates on the way, both ends included.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![from.to_owned()]];
        let mut seen = BTreeSet::from([from.to_owned()]);
        while let Some(way) = ways.pop() {
            let last = way.last().expect("a way has a beginning");
            if last == to {
                return Some(way);
            }
            for next in self
                .uses(last)
                .filter(|next| seen.insert((*next).to_owned()))
            {
                ways.push(way.iter().cloned().chain([next.to_owned()]).collect());
            }
        }
        None
    }
}

// spec: ORCH-3532
pub(super) fn check(graph: &Graph) -> Vec<Problem> {
    let mut problems = Vec::new();
    for member in &graph.members {
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| fits(name, member)) else {
            let what = "has no row in ROOMS of tidy: say which of our crates it may use";
            problems.push(Problem::of(member, what));
            continue;
        };
        let ours = graph
            .uses(member)
            .filter(|used| graph.members.contains(*used));
        for used in ours.filter(|used| !allowed.iter().any(|name| fits(name, used))) {
            let what = format!("uses {used}, which is not below it: see ROOMS of tidy");
            problems.push(Problem::of(member, what));
        }
        let bans = OUT_OF_REACH.iter().filter(|(name, _)| fits(name, member));
        for banned in bans.flat_map(|(_, banned)| *banned) {
            if let Some(way) = graph.way(member, banned) {
                let what = format!("reaches {banned} ({}): cut the way", way.join(" → "));
                problems.push(Problem::of(member, what));
            }
        }
    }
    problems
}

/// Whether `name` is `pattern`, or begins with it where it ends in `*`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, check};
    use serde_json::json;
    use std::collections::BTreeSet;

    fn graph(members: &[&str], uses: &[(&str, &[&str])]) -> Graph {
        let own = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        Graph {
            members: own(members),
            uses: uses
                .iter()
                .map(|(name, used)| ((*name).to_owned(), own(used)))
                .collect(),
        }
    }

    fn told(members: &[&str], uses: &[(&str, &[&str])]) -> Vec<String> {
        check(&graph(members, uses))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    // spec: ORCH-3532, OC-CORE-1100
    #[test]
    fn a_core_that_reaches_a_runtime_is_named_with_the_way() {
        let uses: &[(&str, &[&str])] = &[
            ("orchestrator-core", &["thiserror"]),
            ("thiserror", &["tokio"]),
        ];
        assert_eq!(
            told(&["orchestrator-core"], uses),
            [
                "orchestrator-core: reaches tokio (orchestrator-core → thiserror → tokio): cut the way"
            ]
        );
    }

    // spec: ORCH-3532, OC-TEST-7301, SDK-8102
    #[test]
    fn a_use_against_the_layers_is_named() {
        let cases: &[(&str, &str)] = &[
            ("contracts-api-types", "contracts-sse"),
            ("worker-adapters-triton", "contracts-api-types"),
            ("worker-adapters-triton", "worker-adapters-mock"),
            ("orchestratord", "worker-adapters-mock"),
            ("orchestratord", "pool-managerd"),
            ("llama-orch-sdk", "orchestrator-core"),
            ("xtask", "orchestratord"),
        ];
        for (user, used) in cases {
            let told = told(&[user, used], &[(user, &[used])]);
            let expected = format!("{user}: uses {used}, which is not below it");
            assert!(
                told.iter().any(|line| line.starts_with(&expected)),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_use_along_the_layers_is_fine() {
        let cases: &[(&str, &str)] = &[
            ("orchestratord", "worker-adapters-llamacpp-http"),
            ("worker-adapters-triton", "contracts-sse"),
            ("test-harness-chaos", "orchestratord"),
            ("orchestrator-core", "thiserror"),
        ];
        for (user, used) in cases {
            assert_eq!(told(&[user], &[(user, &[used])]), [""; 0], "{user} {used}");
        }
    }

    #[test]
    fn a_crate_without_a_room_is_named() {
        assert!(told(&["orch-utils"], &[])[0].starts_with("orch-utils: has no row in ROOMS"));
    }

    #[test]
    fn metadata_gives_normal_and_build_dependencies_and_no_dev_ones() {
        let dep = |pkg: &str, kind: serde_json::Value| json!({ "pkg": pkg, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                { "id": "1", "name": "a" }, { "id": "2", "name": "b" },
                { "id": "3", "name": "c" }, { "id": "4", "name": "d" },
            ],
            "workspace_members": ["1"],
            "resolve": { "nodes": [
                { "id": "1", "deps": [dep("2", json!(null)), dep("3", json!("build")), dep("4", json!("dev"))] },
            ] },
        });
        let graph = Graph::from_metadata(&metadata).unwrap();
        assert_eq!(graph.members, BTreeSet::from(["a".to_owned()]));
        assert_eq!(graph.uses("a").collect::<Vec<_>>(), ["b", "c"]);
    }
}
