//! Finding, reading and layering the file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Config;
use crate::validate::{Invalid, validate};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where values may come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub path: Option<PathBuf>,
    /// The environment. Only `LLORCH_…`, `HOME` are looked at.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// The given `--config` and this process's environment.
    #[must_use]
    pub fn from_process(path: Option<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            path,
            env: std::env::vars_os().filter_map(text).collect(),
        }
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// `--config`, else `LLORCH_CONFIG`, else the first of the usual places that exists.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let named = || self.var("LLORCH_CONFIG").map(PathBuf::from);
        let usual = || {
            let home = self.var("HOME").unwrap_or_default();
            let places = [
                PathBuf::from("llama-orch.yaml"),
                Path::new(home).join(".config/llama-orch/llama-orch.yaml"),
            ];
            places.into_iter().find(|place| place.is_file())
        };
        self.path.clone().or_else(named).or_else(usual)
    }
}

/// A checked config and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file, if there was one.
    pub path: Option<PathBuf>,
    /// What relative paths in the file are relative to.
    pub base_dir: PathBuf,
}

/// Why there is no usable config. The text names the file, the line or the field, and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be a config.
    #[error("the config {} is larger than 1MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no YAML, or has a field that is unknown or of the wrong type.
    #[error("the config {} is wrong\n{problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and an excerpt.
        problem: String,
    },
    /// A variable sets a field that does not exist, or to a value of the wrong type.
    #[error("the variable {name} is wrong: {problem}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A value cannot be accepted.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Reads, layers and checks the config.
///
/// # Errors
/// See [`ConfigError`].
// spec: OC-CONFIG-6001, HME-003
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let path = sources.file();
    let mut config = match &path {
        Some(path) => parse(path, &read(path)?)?,
        None => Config::default(),
    };
    for (name, value) in &sources.env {
        if let Some(field) = override_path(name) {
            config =
                with_override(&config, &field, value).map_err(|problem| ConfigError::Variable {
                    name: name.clone(),
                    problem,
                })?;
        }
    }
    expand_home(&mut config, sources.var("HOME").unwrap_or_default());
    validate(&config)?;
    let base_dir = path
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    Ok(Loaded {
        config,
        path,
        base_dir: base_dir.unwrap_or_default(),
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    // YAML 1.1 would read `no` as false; limits keep a hostile file from costing time.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_nodes: 50_000, max_depth: 64 },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// `LLORCH_ORCHESTRATORD__ADMISSION__MAX_BODY` names `orchestratord.admission.max_body`.
fn override_path(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix("LLORCH_")?;
    let path: Vec<_> = rest.split("__").map(str::to_ascii_lowercase).collect();
    let ours = matches!(path[0].as_str(), "orchestratord" | "pool_managerd");
    (ours && path.len() > 1).then_some(path)
}

fn with_override(config: &Config, path: &[String], text: &str) -> Result<Config, String> {
    let mut tree = serde_json::to_value(config).map_err(|error| error.to_string())?;
    let mut place = &mut tree;
    for step in path {
        let fields = place
            .as_object_mut()
            .ok_or_else(|| format!("`{step}` has no such parent"))?;
        place = fields
            .get_mut(step)
            .ok_or_else(|| format!("there is no field `{step}`"))?;
    }
    *place = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    serde_path_to_error::deserialize(tree).map_err(|error| error.to_string())
}

fn expand_home(config: &mut Config, home: &str) {
    let agent = &mut config.pool_managerd;
    for path in [
        &mut config.orchestratord.data_dir,
        &mut agent.data_dir,
        &mut agent.cache_dir,
    ] {
        if let Ok(rest) = path.strip_prefix("~") {
            *path = Path::new(home).join(rest);
        }
    }
}
