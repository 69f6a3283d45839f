//! The scripts beside this tool, run on trees with planted faults.
//!
//! They need `bash` and `python3`, as the gate itself does.

use std::fs;
use std::path::Path;
use std::process::Command;

const NOTICE: &str =
    "The key words MUST, MUST NOT, SHOULD, SHOULD NOT and MAY are to be read as in RFC 2119.";

/// Runs a script of the repository in a tree of the given files; its words, and whether it passed.
fn run(script: &str, files: &[(&str, &str)]) -> (String, bool) {
    let root = tempfile::tempdir().expect("a temporary folder can be made");
    let put = |path: &str, text: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("folders can be made");
        fs::write(path, text).expect("files can be written");
    };
    let place = format!("ci/scripts/{script}");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    put(
        &place,
        &fs::read(repository.join(&place)).expect("the script is there"),
    );
    for (path, text) in files {
        put(path, text.as_bytes());
    }
    let output = Command::new("bash")
        .arg(root.path().join(place))
        .output()
        .expect("bash is there");
    (
        String::from_utf8_lossy(&output.stderr).into_owned(),
        output.status.success(),
    )
}

#[track_caller]
fn assert_told(script: &str, files: &[(&str, &str)], what: &str) {
    let (words, passed) = run(script, files);
    assert!(
        words.lines().any(|line| line.contains(what)),
        "{what}: {words}"
    );
    assert!(!passed, "{words}");
}

fn spec(body: &str) -> String {
    format!("# S\n\n{NOTICE}\n\n- [AB-0001] It MUST be so.\n{body}")
}

#[test]
fn a_good_spec_passes() {
    let body = "- [AB-0002] It MAY, as AB-0001\n  and AB-000x say, be\n  [so](x.md).\n";
    let (words, passed) = run("spec_lint.sh", &[(".specs/x.md", &spec(body))]);
    assert!(passed, "{words}");
}

// spec: ORCH-3533
#[test]
fn each_fault_of_a_spec_is_named_with_its_line() {
    let long = format!("{}\n", "word ".repeat(21).trim_end());
    for (body, what) in [
        (
            "- [AB-0002] It is so.\n",
            ".specs/x.md:6: AB-0002 has no key word",
        ),
        (
            "- [AB-0002] It must be so, and it MAY.\n",
            ".specs/x.md:6: AB-0002 says `must`",
        ),
        (
            "- [AB-0002] It MUST be, or it MAY.\n",
            ".specs/x.md:6: AB-0002 has 2 key words",
        ),
        (
            "- [AB-0002] It MUST be REQUIRED.\n",
            ".specs/x.md:6: AB-0002 says REQUIRED",
        ),
        (
            "- [AB-2] It MUST be so.\n",
            ".specs/x.md:6: `AB-2` is no id",
        ),
        (
            "- [AB-0001] It MUST be so.\n",
            ".specs/x.md:6: AB-0001 is defined in .specs/x.md:5 too",
        ),
        (
            "As [AB-0001] says.\n",
            ".specs/x.md:6: an id in brackets defines it",
        ),
        (
            "As AB-0009 says.\n",
            ".specs/x.md:6: AB-0009 is defined nowhere",
        ),
        (
            "See [that](gone.md).\n",
            ".specs/x.md:6: link `gone.md` leads nowhere",
        ),
        (
            "See [that](https://a.b).\n",
            ".specs/x.md:6: link `https://a.b` is not relative",
        ),
        (long.as_str(), ".specs/x.md:6: has 104 columns"),
    ] {
        assert_told("spec_lint.sh", &[(".specs/x.md", &spec(body))], what);
    }
    let other = (".specs/y.md", "# Y\n\n- [AB-0001] It MUST be so.\n");
    assert_told(
        "spec_lint.sh",
        &[(".specs/x.md", &spec("")), other],
        ".specs/y.md:1: lacks the notice",
    );
    assert_told(
        "spec_lint.sh",
        &[(".specs/x.md", &spec("")), other],
        ".specs/y.md:3: AB-0001 is defined in",
    );
}

#[test]
fn good_links_pass_and_code_is_no_link() {
    let readme = "# One thing\n\n[a](docs/b.md#two-things), [b](#one-thing), [c](https://a.b/c.md), [d](docs)\n\n\
        `[e](gone.md)`\n\n```\n[f](gone.md)\n```\n\n[g]: docs/b.md\n";
    let (words, passed) = run(
        "check_links.sh",
        &[("README.md", readme), ("docs/b.md", "## Two *things*!\n")],
    );
    assert!(passed, "{words}");
    assert!(words.contains("5 links, 0 of them broken"), "{words}");
}

#[test]
fn each_broken_link_is_named_with_its_line() {
    for (link, what) in [
        ("[a](gone.md)", "README.md:3: link `gone.md` leads nowhere"),
        (
            "![a](gone.png)",
            "README.md:3: link `gone.png` leads nowhere",
        ),
        ("[a]: gone.md", "README.md:3: link `gone.md` leads nowhere"),
        ("[a](#gone)", "README.md:3: link `#gone` has no heading"),
        (
            "[a](/README.md)",
            "README.md:3: link `/README.md` is absolute",
        ),
        (
            "[a](../x.md)",
            "README.md:3: link `../x.md` leads out of the repository",
        ),
    ] {
        let text = format!("# R\n\n{link}\n");
        assert_told("check_links.sh", &[("README.md", &text)], what);
    }
}
