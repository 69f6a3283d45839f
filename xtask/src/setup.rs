//! What `demo`, `up` and `dev:loop` share: the small model's config and its engine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use contracts_api_types::kind::DeviceClass;
use serde_json::json;

use crate::say::Say;
use crate::subprocess::Subprocess;
use crate::workspace::Workspace;

/// Name of the one pool.
pub(crate) const POOL: &str = "haiku";

/// The model, by the name of its file.
pub(crate) const MODEL: &str = "haiku-tiny-q8_0";

/// A config and its daemons' addresses.
pub(crate) struct Setup<'a> {
    pub(crate) workspace: &'a Workspace,
    /// Folder for the config and all state.
    pub(crate) folder: PathBuf,
    pub(crate) device: DeviceClass,
    /// Addresses of orchestratord and pool-managerd; port 0 means a free one.
    pub(crate) bind: [SocketAddr; 2],
}

/// Ports that the system chooses.
pub(crate) const FREE_PORTS: [&str; 2] = ["127.0.0.1:0", "127.0.0.1:0"];

/// The ports of the manual.
const USUAL_PORTS: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:9200"];

impl<'a> Setup<'a> {
    pub(crate) fn new(
        workspace: &'a Workspace,
        folder: &Path,
        device: DeviceClass,
        bind: [&str; 2],
    ) -> Self {
        let bind = bind.map(|text| text.parse().expect("the addresses above are well formed"));
        Self {
            workspace,
            folder: folder.into(),
            device,
            bind,
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes the config. JSON is YAML too, and needs no care about quotes.
    pub(crate) fn write_config(&self) -> anyhow::Result<PathBuf> {
        let [orchestratord, pool_managerd] = self.bind;
        let config = json!({
            "orchestratord": {
                "bind": orchestratord,
                "data_dir": self.data_dir(),
                "auth": { "open_on_loopback": true },
            },
            "pool_managerd": {
                "bind": pool_managerd,
                "data_dir": self.data_dir(),
                "allow_cpu_ci": self.device == DeviceClass::CpuCi,
                "pools": [{
                    "id": POOL,
                    "engine": "llamacpp",
                    "model": format!("file:{}", self.workspace.model().display()),
                    "ctx": 512,
                    "slots": 2,
                    "threads": 1,
                    "device_class": self.device,
                }],
            },
        });
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        let path = self.folder.join("llama-orch.yaml");
        let text = serde_json::to_string_pretty(&config).context("a config is plain JSON")?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Obtains the engine, with the plan and the progress on standard error.
    pub(crate) async fn provision(&self, config: &Path) -> anyhow::Result<PathBuf> {
        let program = self.workspace.program("pool-managerd");
        let run = Subprocess::new(program).args(["provision", "--print-path", "--config"]);
        let path = run.args([config]).output().await?;
        Ok(PathBuf::from(path.trim_end()))
    }
}

/// A GPU where there is one, unless the CPU is asked for.
pub(crate) fn device(cpu: bool, say: Say) -> DeviceClass {
    let asked = Command::new("nvidia-smi")
        .arg("-L")
        .stdin(Stdio::null())
        .output();
    let seen = asked.ok().filter(|output| output.status.success());
    let gpus = seen.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let (device, shown) = choose(cpu, gpus.as_deref().unwrap_or_default());
    say.line(&shown);
    device
}

/// The device class for these GPUs, and what to say about it.
// spec: CLI-8014
fn choose(cpu: bool, gpus: &str) -> (DeviceClass, String) {
    let because = |why| format!("device class: cpu-ci ({why}); meant for trials and CI");
    match (cpu, gpus) {
        (true, _) => (DeviceClass::CpuCi, because("as asked for")),
        (false, "") => (DeviceClass::CpuCi, because("no NVIDIA GPU is seen")),
        (false, gpus) => (DeviceClass::Nvidia, format!("device class: nvidia\n{gpus}")),
    }
}

/// `cargo xtask up`: the small model at the usual ports until Ctrl-C.
pub(crate) async fn up(workspace: &Workspace, cpu: bool) -> anyhow::Result<()> {
    let say = Say::on_stderr();
    workspace.build(say).await?;
    let folder = workspace.scratch("up");
    let setup = Setup::new(workspace, &folder, device(cpu, say), USUAL_PORTS);
    let config = setup.write_config()?;
    say.line(&format!("config: {}", config.display()));
    let run = Subprocess::new(workspace.program("llama-orch")).args(["up", "--attach", "--config"]);
    run.args([&config]).run().await
}

#[cfg(test)]
mod tests {
    use contracts_config_schema::{Sources, load};

    use super::*;

    // spec: CLI-8014
    #[test]
    fn a_gpu_is_used_where_there_is_one_and_the_cpu_never_silently() {
        let (device, shown) = choose(false, "GPU 0: some card");
        assert_eq!(device, DeviceClass::Nvidia);
        assert!(shown.contains("some card"), "{shown}");
        for (cpu, gpus) in [(true, "GPU 0: some card"), (false, "")] {
            let (device, shown) = choose(cpu, gpus);
            assert_eq!(device, DeviceClass::CpuCi);
            assert!(shown.contains("cpu-ci"), "{shown}");
        }
    }

    // spec: OC-CONFIG-6002
    #[test]
    fn the_config_of_the_demo_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::find().unwrap();
        for device in [DeviceClass::CpuCi, DeviceClass::Nvidia] {
            let setup = Setup::new(&workspace, dir.path(), device, FREE_PORTS);
            let path = setup.write_config().unwrap();
            let loaded = load(&Sources {
                path: Some(path),
                env: vec![],
            })
            .unwrap();
            let pool = &loaded.config.pool_managerd.pools[0];
            assert_eq!((pool.id.as_str(), pool.device_class), (POOL, device));
            assert!(Path::new(pool.model.strip_prefix("file:").unwrap()).is_file());
        }
    }
}
