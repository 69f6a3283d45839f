//! What most commands start from: the config, the daemons it describes, and a client.

use std::path::PathBuf;

use contracts_config_schema::{Loaded, OrchestratordConfig, Sources, load};
use llama_orch_sdk::Client;

use crate::daemon::{self, Daemon, DaemonName};
use crate::failure::{Failure, Kind};

/// A first config, complete and small.
pub(crate) const EXAMPLE: &str = "\
orchestratord:
  auth:
    open_on_loopback: true
pool_managerd:
  pools:
    - id: main
      engine: llamacpp
      model: file:/path/to/model.gguf
      ctx: 4096
      slots: 2
";

/// The options that stand before every command.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Option<PathBuf>,
    pub(crate) url: Option<String>,
}

impl Context {
    fn sources(&self) -> Sources {
        Sources::from_process(self.config.clone())
    }

    /// The config of this host.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let sources = self.sources();
        if sources.file().is_none() {
            let failure = Failure::new(Kind::Usage, "there is no config");
            return Err(with_example(failure).hint(
                "it is looked for in this folder, in ~/.config/llama-orch, and where --config or \
                 LLORCH_CONFIG says",
            ));
        }
        Ok(load(&sources)?)
    }

    /// The config, which has to name at least one pool, and its file.
    pub(crate) fn load_pools(&self) -> Result<(Loaded, PathBuf), Failure> {
        let loaded = self.load()?;
        let path = loaded.path.clone().unwrap_or_default();
        if loaded.config.pool_managerd.pools.is_empty() {
            let message = format!("the config {} has no pools", path.display());
            return Err(with_example(Failure::new(Kind::Usage, message)));
        }
        let path = std::path::absolute(&path)
            .map_err(|why| Failure::failed(format!("cannot find this folder: {why}")))?;
        Ok((loaded, path))
    }

    /// A client of the daemon at `--url`, else of the one that runs, else of the configured one.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.address()?,
        };
        client(&url)
    }

    fn address(&self) -> Result<String, Failure> {
        // Without a config the daemon may run elsewhere, at its usual address.
        if self.sources().file().is_none() {
            return Ok(daemon::url(OrchestratordConfig::default().bind));
        }
        let loaded = self.load()?;
        let running = Daemon::of(DaemonName::Orchestratord, &loaded.config).running();
        let address = running.map_or(loaded.config.orchestratord.bind, |info| info.address);
        if address.port() == 0 {
            let message = "orchestratord is not running, and its config lets it choose a free port";
            return Err(Failure::new(Kind::Unreachable, message).hint("`llama-orch up` starts it"));
        }
        Ok(daemon::url(address))
    }
}

fn with_example(failure: Failure) -> Failure {
    failure
        .hint(format!(
            "write this to llama-orch.yaml, with the path of a model:\n\n{EXAMPLE}"
        ))
        .hint(
            "without an NVIDIA GPU, add `allow_cpu_ci: true` under `pool_managerd` and \
             `device_class: cpu-ci` under the pool; that is meant for trials",
        )
}

/// A client with the token of the environment.
// spec: CLI-8013
pub(crate) fn client(url: &str) -> Result<Client, Failure> {
    let token = std::env::var("LLORCH_API_TOKEN")
        .ok()
        .filter(|token| !token.is_empty());
    Ok(Client::new(url, token)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-CONFIG-6002
    #[test]
    fn the_example_is_a_config() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("llama-orch.yaml");
        std::fs::write(&path, EXAMPLE).unwrap();
        let loaded = load(&Sources {
            path: Some(path),
            env: vec![],
        })
        .unwrap();
        assert_eq!(loaded.config.pool_managerd.pools[0].id, "main");
    }
}
