//! What every crate has: a name from the list, the lints of the workspace, and a README.

use tools_spec_extract::Problem;
use tools_spec_extract::tree::Tree;

const UMBRELLA: &str = ".specs/00_llama-orch.md";
const ROOT: &str = "Cargo.toml";
const UNSAFE_IS_DENIED: &str = "\nunsafe_code = \"deny\"\n";
const PACKAGES: &str = "\nPackages: ";

/// Crates beyond the list of the umbrella spec, each with the reason for it.
const FURTHER: &[(&str, &str)] = &[
    (
        "contracts-data-dir",
        "both daemons write locks, run files and the token, and the CLI reads them",
    ),
    (
        "contracts-sse",
        "the daemon writes frames, adapters and SDK read them: one framing, below all three",
    ),
];

// spec: ORCH-3523, ORCH-3531, ORCH-3536
pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let listed = listed_packages(tree);
    let mut problems = Vec::new();
    if tree
        .get(ROOT)
        .is_some_and(|root| !root.contains(UNSAFE_IS_DENIED))
    {
        let what = format!("does not deny unsafe code: write `{UNSAFE_IS_DENIED}` in its lints");
        problems.push(Problem::of(ROOT, what));
    }
    for folder in tree.crate_folders() {
        let path = format!("{folder}Cargo.toml");
        let manifest = tree.get(&path).unwrap_or_default();
        let Some(name) = package_name(manifest) else {
            continue;
        };
        if !listed.contains(&name) && FURTHER.iter().all(|(further, _)| *further != name) {
            let what = format!(
                "`{name}` is not among the packages of {UMBRELLA}: give a reason in FURTHER of tidy"
            );
            problems.push(Problem::of(&path, what));
        }
        if !manifest.contains("[lints]\nworkspace = true\n") {
            let what =
                "does not take the lints of the workspace: add `[lints]` with `workspace = true`";
            problems.push(Problem::of(&path, what));
        }
        problems.extend(readme_problems(tree, folder));
    }
    problems
}

fn package_name(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[package]\n")?;
    let name = package
        .lines()
        .find_map(|line| line.strip_prefix("name = \""))?;
    name.strip_suffix('"')
}

/// The names in back quotes of the paragraph below the Traceability Map.
fn listed_packages(tree: &Tree) -> Vec<&str> {
    let umbrella = tree.get(UMBRELLA).unwrap_or_default();
    let paragraph = umbrella.split_once(PACKAGES).map_or("", |(_, rest)| rest);
    let paragraph = paragraph.split("\n\n").next().unwrap_or_default();
    paragraph.split('`').skip(1).step_by(2).collect()
}

fn readme_problems(tree: &Tree, folder: &str) -> Vec<Problem> {
    let path = format!("{folder}README.md");
    let Some(text) = tree.get(&path) else {
        let what = "is missing: say why the crate exists and what it is not";
        return vec![Problem::of(&path, what)];
    };
    let wanted = [
        ("\n## Why it exists\n", "has no `## Why it exists`: say it"),
        (
            "\n## What this crate is not\n",
            "has no `## What this crate is not`: say it",
        ),
        (
            ".specs/",
            "does not link its spec: name the file of `.specs/` it serves",
        ),
    ];
    let missing = wanted.iter().filter(|(part, _)| !text.contains(part));
    missing.map(|(_, what)| Problem::of(&path, *what)).collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use tools_spec_extract::tree::Tree;

    const SPEC: &str = "# U\n\nPackages: `a`,\n`b-c`.\n\nMore `x`.\n";
    const ROOT_MANIFEST: &str =
        "[workspace]\n\n[workspace.lints.rust]\nunsafe_code = \"deny\"\nmissing_docs = \"warn\"\n";
    const MANIFEST: &str = "[package]\nname = \"b-c\"\n\n[lints]\nworkspace = true\n";
    const README: &str =
        "# b\n\n## Why it exists\n\n[law](../.specs/x.md)\n\n## What this crate is not\n\n- x\n";

    fn told(manifest: &str, readme: Option<&str>) -> Vec<String> {
        let mut files = vec![
            (".specs/00_llama-orch.md", SPEC),
            ("Cargo.toml", ROOT_MANIFEST),
            ("b/Cargo.toml", manifest),
        ];
        files.extend(readme.map(|text| ("b/README.md", text)));
        check(&Tree::of(&files))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_crate_with_all_that_it_needs_is_fine() {
        assert_eq!(told(MANIFEST, Some(README)), [""; 0]);
    }

    #[test]
    fn a_crate_without_the_lints_is_named() {
        let told = told(&MANIFEST.replace("[lints]", "[other]"), Some(README));
        assert!(
            told[0].starts_with("b/Cargo.toml: does not take the lints"),
            "{told:?}"
        );
    }

    // spec: ORCH-3523
    #[test]
    fn a_workspace_that_lets_unsafe_code_pass_is_named() {
        let tree = Tree::of(&[("Cargo.toml", "[workspace]\n")]);
        assert!(check(&tree)[0].what.contains("does not deny unsafe code"));
    }

    // spec: ORCH-3531
    #[test]
    fn a_crate_that_no_list_names_is_named() {
        for stranger in ["x", "c"] {
            let manifest = MANIFEST.replace("b-c", stranger);
            assert!(told(&manifest, Some(README))[0].contains("is not among the packages"));
        }
        assert_eq!(
            told(&MANIFEST.replace("b-c", "contracts-sse"), Some(README)),
            [""; 0]
        );
    }

    // spec: ORCH-3536
    #[test]
    fn a_readme_says_why_what_not_and_which_law() {
        assert!(told(MANIFEST, None)[0].starts_with("b/README.md: is missing"));
        for part in ["Why it exists", "What this crate is not", ".specs/"] {
            let told = told(MANIFEST, Some(&README.replace(part, "Other")));
            assert_eq!(told.len(), 1, "{part}: {told:?}");
            assert!(told[0].contains(part), "{told:?}");
        }
    }
}
