//! The committed files that are emitted from the code.

use std::path::PathBuf;

use anyhow::Context;
use tools_spec_extract::Mode;

use crate::say::Say;
use crate::subprocess::Subprocess;
use crate::workspace::Workspace;

/// How many lines of a difference are shown.
const DIFF_LINES: usize = 8;

/// The OpenAPI documents: name, file, program, arguments.
const DOCUMENTS: [(&str, &str, &str, &[&str]); 3] = [
    (
        "data",
        "contracts/openapi/data.yaml",
        "orchestratord",
        &["openapi", "data"],
    ),
    (
        "control",
        "contracts/openapi/control.yaml",
        "orchestratord",
        &["openapi", "control"],
    ),
    (
        "pool",
        "contracts/openapi/pool.yaml",
        "pool-managerd",
        &["openapi"],
    ),
];

const SCHEMA: &str = "contracts/schemas/config.schema.json";

/// One file and what it should hold.
struct Emitted {
    path: PathBuf,
    text: String,
}

/// Writes the files, or compares them.
// spec: OC-CONFIG-6010
pub(crate) async fn regen(workspace: &Workspace, check: bool, say: Say) -> anyhow::Result<()> {
    workspace.build(Say::on_stderr()).await?;
    let mut documents = Vec::new();
    let mut files = Vec::new();
    for (name, path, program, args) in DOCUMENTS {
        let text = Subprocess::new(workspace.program(program))
            .args(args)
            .output()
            .await?;
        documents.push((name, text.clone()));
        files.push(Emitted {
            path: path.into(),
            text,
        });
    }
    for client in tools_openapi_client::generate::generate(&documents)? {
        files.push(Emitted {
            path: client.path,
            text: client.text,
        });
    }
    let schema = contracts_config_schema::schema_json();
    files.push(Emitted {
        path: SCHEMA.into(),
        text: schema,
    });
    let mut stale = Vec::new();
    for Emitted { path, text } in &files {
        let place = workspace.root.join(path);
        let present = std::fs::read_to_string(&place).unwrap_or_default();
        if present == *text {
            say.line(&format!("{}: up to date", path.display()));
        } else if check {
            say.line(&format!(
                "{} differs:\n{}",
                path.display(),
                first_difference(&present, text)
            ));
            stale.push(path.display().to_string());
        } else {
            let folder = place.parent().context("the files are in folders")?;
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&place, text))
                .with_context(|| format!("cannot write {}", place.display()))?;
            say.line(&format!("{}: written", path.display()));
        }
    }
    anyhow::ensure!(
        stale.is_empty(),
        "run `cargo xtask regen` and commit {}",
        stale.join(", ")
    );
    // These read the documents, so they come last.
    let mode = if check { Mode::Check } else { Mode::Write };
    trace(workspace, mode, say)?;
    Ok(tools_readme_index::run(&workspace.root, mode)?)
}

/// The traceability files: requirement, contract, tests, code.
fn trace(workspace: &Workspace, mode: Mode, say: Say) -> anyhow::Result<()> {
    let outcome = tools_spec_extract::run(&workspace.root, mode)?;
    for problem in &outcome.problems {
        say.line(&problem.to_string());
    }
    let count = outcome.problems.len();
    anyhow::ensure!(count == 0, "spec-extract found {count} problems");
    let (musts, open) = (outcome.musts, outcome.open);
    say.line(&format!("requirements: {musts} MUSTs, {open} of them open"));
    Ok(())
}

/// The lines from the first one that differs.
fn first_difference(present: &str, emitted: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (present.lines().collect(), emitted.lines().collect());
    let same = old
        .iter()
        .zip(&new)
        .take_while(|(old, new)| old == new)
        .count();
    let shown = |sign: char, lines: &[&str]| {
        let lines = lines.iter().skip(same).take(DIFF_LINES);
        lines
            .map(|line| format!("  {sign} {line}\n"))
            .collect::<String>()
    };
    format!(
        "  line {}:\n{}{}",
        same + 1,
        shown('-', &old),
        shown('+', &new)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_from_its_first_line() {
        let shown = first_difference("a\nb\nc\n", "a\nx\nc\n");
        assert_eq!(shown, "  line 2:\n  - b\n  - c\n  + x\n  + c\n");
        assert_eq!(first_difference("", "a\n"), "  line 1:\n  + a\n");
    }
}
