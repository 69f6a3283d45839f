//! `cargo xtask dev:loop`: every gate, in order, up to the first red one.
//!
//! # Invariants
//! - The last line is `N passed, N failed`; a red gate that is no test counts as one failed.

mod tally;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use contracts_api_types::kind::DeviceClass;

use crate::ci;
use crate::regen;
use crate::say::Say;
use crate::setup::{FREE_PORTS, Setup};
use crate::subprocess::{Interrupted, Subprocess};
use crate::workspace::Workspace;

use tally::Tally;

/// Where tests find the real llama-server.
pub(crate) const LLAMA_SERVER: &str = "LLORCH_TEST_LLAMA_SERVER";

/// How long all gates may take on two cores once everything is built: people run this before
/// every change.
const WARM: Duration = Duration::from_mins(6);

/// How long they may take on a fresh machine, llama-server's build included.
const COLD: Duration = Duration::from_mins(35);

/// The gates. Lints come before builds because they are the quicker answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Format,
    Tidy,
    Lints,
    Build,
    Generated,
    Engine,
    Tests,
}

// spec: ORCH-3526
const GATES: [Gate; 7] = [
    Gate::Format,
    Gate::Tidy,
    Gate::Lints,
    Gate::Build,
    Gate::Generated,
    Gate::Engine,
    Gate::Tests,
];

impl Gate {
    const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Tidy => "tidy",
            Self::Lints => "lints",
            Self::Build => "build",
            Self::Generated => "generated files",
            Self::Engine => "real llama-server",
            Self::Tests => "tests and e2e",
        }
    }
}

/// What one run has come to.
#[derive(Default)]
struct Loop {
    engine: PathBuf,
    tally: Tally,
    rows: Vec<(Gate, Duration, bool)>,
}

pub(crate) async fn dev_loop(workspace: &Workspace) -> anyhow::Result<()> {
    let say = Say::on_stdout();
    let mut run = Loop::default();
    let mut ended = Ok(());
    for gate in GATES {
        say.line(&format!("\n=== {} ===", gate.name()));
        let since = Instant::now();
        ended = run.pass(gate, workspace, say).await;
        run.rows.push((gate, since.elapsed(), ended.is_ok()));
        if ended.is_err() {
            break;
        }
    }
    say.text(&run.summary());
    if let Err(error) = &ended {
        let red = run.rows.last().map_or("", |(gate, ..)| gate.name());
        say.line(&format!("RED: {red}: {error:#}"));
        if run.tally.failed == 0 && error.downcast_ref::<Interrupted>().is_none() {
            run.tally.failed = 1;
        }
    }
    say.line(&run.tally.to_string());
    ended
}

/// The rules of the house, then the form of specs and links.
pub(crate) async fn tidy(workspace: &Workspace) -> anyhow::Result<()> {
    crate::tidy::run(&workspace.root)?;
    for script in ["spec_lint.sh", "check_links.sh"] {
        let path = workspace.root.join("ci/scripts").join(script);
        Subprocess::new(path).folder(&workspace.root).run().await?;
    }
    Ok(())
}

impl Loop {
    async fn pass(&mut self, gate: Gate, workspace: &Workspace, say: Say) -> anyhow::Result<()> {
        match gate {
            Gate::Format => workspace.cargo(&["fmt", "--all", "--check"]).run().await,
            Gate::Tidy => tidy(workspace).await,
            Gate::Lints => {
                let args = [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ];
                workspace.cargo(&args).run().await
            }
            Gate::Build => workspace.build(Say::on_stderr()).await,
            Gate::Generated => regen::regen(workspace, true, say).await,
            Gate::Engine => {
                // Tests need no GPU, so this needs no CUDA toolkit.
                let folder = workspace.scratch("dev-loop");
                let setup = Setup::new(workspace, &folder, DeviceClass::CpuCi, FREE_PORTS);
                self.engine = setup.provision(&setup.write_config()?).await?;
                say.line(&self.engine.display().to_string());
                Ok(())
            }
            Gate::Tests => self.test(workspace, say).await,
        }
    }

    /// All tests, also behind the first red one, so that the count is whole.
    async fn test(&mut self, workspace: &Workspace, say: Say) -> anyhow::Result<()> {
        let tally = &mut self.tally;
        let run = workspace.cargo(&["test", "--workspace", "--no-fail-fast"]);
        run.env(LLAMA_SERVER, &self.engine)
            .env("REQUIRE_REAL_LLAMA", "1")
            .env("TZ", ci::TIME_ZONE)
            .run_with(|line| {
                tally.line(line);
                say.line(line);
            })
            .await
    }

    fn summary(&self) -> String {
        let row = |(gate, time, green): &(Gate, Duration, bool)| {
            let mark = if *green { "ok " } else { "RED" };
            format!("{mark} {:<20} {:>7.1} s\n", gate.name(), time.as_secs_f64())
        };
        let rows: String = self.rows.iter().map(row).collect();
        let skipped = GATES.iter().skip(self.rows.len());
        let skipped: String = skipped
            .map(|gate| format!("--  {}\n", gate.name()))
            .collect();
        format!("\n{rows}{skipped}{}\n", self.budget())
    }

    /// The time of all gates beside what they may take.
    // spec: ORCH-3527
    fn budget(&self) -> String {
        let total: Duration = self.rows.iter().map(|(_, time, _)| *time).sum();
        let verdict = match total {
            total if total < WARM => "within both budgets",
            total if total < COLD => "within the cold budget, over the warm one",
            _ => "OVER both budgets",
        };
        format!(
            "    {:<20} {:>7.1} s, {verdict} ({} s warm, {} s cold, on two cores)",
            "all gates",
            total.as_secs_f64(),
            WARM.as_secs(),
            COLD.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ORCH-3526
    #[test]
    fn the_summary_names_every_gate_also_those_not_reached() {
        let rows = vec![
            (Gate::Format, Duration::from_millis(1240), true),
            (Gate::Tidy, Duration::from_secs(61), false),
        ];
        let run = Loop {
            rows,
            ..Loop::default()
        };
        assert_eq!(
            run.summary(),
            "\nok  format                   1.2 s\n\
             RED tidy                    61.0 s\n\
             --  lints\n--  build\n--  generated files\n--  real llama-server\n--  tests and e2e\n    \
             all gates               62.2 s, within both budgets (360 s warm, 2100 s cold, on two \
             cores)\n"
        );
    }

    // spec: ORCH-3527
    #[test]
    fn a_loop_over_its_budget_says_so() {
        for (seconds, verdict) in [
            (359, "within both"),
            (360, "over the warm one"),
            (2099, "within the cold budget"),
            (2100, "OVER both"),
        ] {
            let half = (Gate::Tests, Duration::from_secs(seconds) / 2, true);
            let run = Loop {
                rows: vec![half, half],
                ..Loop::default()
            };
            assert!(
                run.budget().contains(verdict),
                "{seconds}: {}",
                run.budget()
            );
        }
    }
}
