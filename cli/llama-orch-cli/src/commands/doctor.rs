//! `doctor`: looks at everything that `up` and `run` need. Changes nothing.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use contracts_api_types::kind::DeviceClass;
use contracts_api_types::node::WorkerPhase;
use contracts_config_schema::{Loaded, PoolConfig};
use serde::Serialize;

use crate::context::Context;
use crate::daemon::{Daemon, DaemonName, program};
use crate::failure::Failure;
use crate::output::{Output, Tone};

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    ok: bool,
    /// What was seen.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ok: true,
            detail: detail.into(),
            fix: None,
        }
    }

    fn bad(what: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ok: false,
            detail: detail.into(),
            fix: Some(fix.into()),
        }
    }

    fn line(&self, output: &Output) -> String {
        let mark = match self.ok {
            true => output.data_tone(Tone::Good, "ok "),
            false => output.data_tone(Tone::Bad, "FIX"),
        };
        let fix = self
            .fix
            .as_ref()
            .map(|fix| format!("\n      -> {fix}"))
            .unwrap_or_default();
        format!("{mark} {}: {}{fix}\n", self.what, self.detail)
    }
}

pub(crate) async fn doctor(context: &Context, output: &Output) -> Result<(), Failure> {
    let findings = look(context).await;
    let bad = findings.iter().filter(|finding| !finding.ok).count();
    if output.is_json() {
        output.document(&serde_json::json!({ "ok": bad == 0, "findings": findings }))?;
    } else {
        for finding in &findings {
            output.data(&finding.line(output))?;
        }
    }
    match bad {
        0 => Ok(()),
        1 => Err(Failure::failed("one thing needs to be mended")),
        more => Err(Failure::failed(format!("{more} things need to be mended"))),
    }
}

async fn look(context: &Context) -> Vec<Finding> {
    let (loaded, path) = match context.load_pools() {
        Ok(found) => found,
        Err(failure) => {
            return vec![Finding::bad(
                "config",
                failure.message,
                failure.hints.join("\n      "),
            )];
        }
    };
    let mut findings = vec![Finding::good("config", path.display().to_string())];
    let pools = &loaded.config.pool_managerd.pools;
    findings.extend(pools.iter().map(|pool| model(pool, &loaded.base_dir)));
    if pools
        .iter()
        .any(|pool| pool.device_class == DeviceClass::Nvidia)
    {
        findings.push(gpu());
    }
    findings.push(tools(&path));
    let running =
        [DaemonName::Orchestratord, DaemonName::PoolManagerd].map(|name| daemon(name, &loaded));
    let all_run = running.iter().all(|finding| finding.ok);
    findings.extend(running);
    if all_run {
        findings.extend(served(context).await);
    }
    findings
}

fn model(pool: &PoolConfig, base_dir: &Path) -> Finding {
    let what = format!("model of pool {}", pool.id);
    let file = base_dir.join(pool.model.strip_prefix("file:").unwrap_or(&pool.model));
    match std::fs::File::open(&file) {
        Ok(_) => Finding::good(what, file.display().to_string()),
        Err(why) => Finding::bad(
            what,
            format!("{}: {why}", file.display()),
            "correct `model` in the config, or put the file there",
        ),
    }
}

fn gpu() -> Finding {
    let asked = Command::new("nvidia-smi")
        .arg("-L")
        .stdin(Stdio::null())
        .output();
    let listed = asked.ok().filter(|output| output.status.success());
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match listed.filter(|text| !text.is_empty()) {
        Some(text) => Finding::good("GPU", text.replace('\n', ", ")),
        None => Finding::bad(
            "GPU",
            "no NVIDIA GPU is seen (`nvidia-smi -L` lists none), and a pool has device_class: nvidia",
            "install NVIDIA's driver; for a trial without a GPU set allow_cpu_ci: true and \
             device_class: cpu-ci",
        ),
    }
}

/// The tools and the engine, as pool-managerd sees them.
fn tools(config: &Path) -> Finding {
    let what = "engine and its build tools";
    let program = match program(DaemonName::PoolManagerd) {
        Ok(program) => program,
        Err(failure) => return Finding::bad(what, failure.message, failure.hints.join("; ")),
    };
    let mut command = Command::new(program);
    let asked = command
        .arg("plan")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => {
            let plan = String::from_utf8_lossy(&output.stdout);
            let state = plan.lines().find_map(|line| line.strip_prefix("program: "));
            Finding::good(
                what,
                state.unwrap_or("everything needed is there").to_owned(),
            )
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Finding::bad(
                what,
                "not complete",
                text.trim().replace('\n', "\n         "),
            )
        }
        Err(why) => Finding::bad(what, why.to_string(), "check the installation"),
    }
}

/// Runs, or could: its port is free.
fn daemon(name: DaemonName, loaded: &Loaded) -> Finding {
    let what = name.as_str();
    let daemon = Daemon::of(name, &loaded.config);
    if let Some(info) = daemon.running() {
        return Finding::good(what, format!("runs at {} (pid {})", info.address, info.pid));
    }
    let address = match name {
        DaemonName::Orchestratord => loaded.config.orchestratord.bind,
        DaemonName::PoolManagerd => loaded.config.pool_managerd.bind,
    };
    match free(address) {
        Ok(()) => Finding::bad(what, "does not run", "llama-orch up"),
        Err(why) => Finding::bad(
            what,
            format!("does not run, and {address} cannot be used: {why}"),
            format!(
                "end the program that uses port {}, or choose another `bind`",
                address.port()
            ),
        ),
    }
}

fn free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

async fn served(context: &Context) -> Vec<Finding> {
    let answer = match context.client() {
        Ok(client) => client.pools().await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let pools = match answer {
        Ok(pools) => pools,
        Err(failure) => {
            return vec![Finding::bad(
                "API",
                failure.message,
                failure.hints.join("; "),
            )];
        }
    };
    let replicas = pools.iter().flat_map(|pool| &pool.replicas);
    replicas
        .map(|replica| {
            let what = format!("worker {}", replica.id);
            let cause = replica
                .cause
                .clone()
                .unwrap_or_else(|| "no cause given yet".into());
            match replica.phase {
                WorkerPhase::Ready => Finding::good(what, "ready"),
                phase => Finding::bad(what, phase.to_string(), cause),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_seen() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert!(free(address).is_err());
        drop(taken);
        assert!(free(address).is_ok());
    }

    #[test]
    fn a_finding_shows_its_fix() {
        let output = Output::new(false);
        let bad = Finding::bad("GPU", "none", "buy one").line(&output);
        assert!(
            bad.contains("FIX") && bad.ends_with("GPU: none\n      -> buy one\n"),
            "{bad}"
        );
        assert!(
            Finding::good("config", "x.yaml")
                .line(&output)
                .ends_with("config: x.yaml\n")
        );
    }
}
