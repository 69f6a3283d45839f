//! The programs that a build needs, and how to install one that is missing.

use std::fmt;
use std::path::PathBuf;

use contracts_api_types::kind::DeviceClass;

use super::error::ProvisionError;
use super::host::Host;
use super::source::Source;

/// A program that is needed and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTool {
    /// What is missing.
    pub what: &'static str,
    /// The command that installs it.
    pub install: String,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.install)
    }
}

/// Missing programs, one line each.
pub(super) fn listed(missing: &[MissingTool]) -> String {
    missing
        .iter()
        .map(|tool| format!("  {tool}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The programs that a build uses.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) python: PathBuf,
    pub(super) cc: PathBuf,
    pub(super) cxx: PathBuf,
    /// CUDA's compiler, where one is needed.
    pub(super) nvcc: Option<PathBuf>,
    /// `git` or `curl`, where the source needs it.
    pub(super) fetcher: Option<PathBuf>,
}

/// What may be missing, and its package on Debian and Ubuntu, Fedora, and Arch.
struct Need {
    what: &'static str,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

const PYTHON: Need = Need {
    what: "Python 3 with venv and pip",
    debian: "python3 python3-venv python3-pip",
    fedora: "python3 python3-pip",
    arch: "python python-pip",
};
const COMPILER: Need = Need {
    what: "a C and C++ compiler",
    debian: "build-essential",
    fedora: "gcc gcc-c++",
    arch: "base-devel",
};
const CUDA: Need = Need {
    what: "the CUDA toolkit (nvcc), for device_class: nvidia",
    debian: "nvidia-cuda-toolkit",
    fedora: "cuda-toolkit",
    arch: "cuda",
};
const GIT: Need = Need {
    what: "git",
    debian: "git",
    fedora: "git",
    arch: "git",
};
const CURL: Need = Need {
    what: "curl",
    debian: "curl",
    fedora: "curl",
    arch: "curl",
};
const TAR: Need = Need {
    what: "tar",
    debian: "tar",
    fedora: "tar gzip",
    arch: "tar gzip",
};

/// Finds every program of the build, or names all that are missing, not just the first.
///
/// # Errors
/// [`ProvisionError::MissingTools`].
// spec: OC-POOL-3165, OC-POOL-3151
pub(super) fn preflight(
    host: &Host,
    source: &Source,
    device: DeviceClass,
) -> Result<Tools, ProvisionError> {
    let mut missing = Vec::new();
    let mut need = |found: Option<PathBuf>, need: &Need| {
        if found.is_none() {
            missing.push(need.on(&host.os_release));
        }
        found.unwrap_or_default()
    };
    let nvidia = device == DeviceClass::Nvidia;
    let tools = Tools {
        python: need(python(host), &PYTHON),
        cc: need(host.find_first(&["cc", "gcc", "clang"]), &COMPILER),
        cxx: need(host.find_first(&["c++", "g++", "clang++"]), &COMPILER),
        nvcc: nvidia.then(|| need(host.find("nvcc"), &CUDA)),
        fetcher: match source {
            Source::Package => None,
            Source::Git { .. } => Some(need(host.find("git"), &GIT)),
            Source::Tarball { .. } => Some(need(host.find("curl"), &CURL)),
        },
    };
    if source.is_archive() {
        need(host.find("tar"), &TAR);
    }
    // A compiler suite that is missing as a whole is one thing to install.
    missing.dedup();
    if missing.is_empty() {
        Ok(tools)
    } else {
        Err(ProvisionError::MissingTools(missing))
    }
}

/// A Python that can make virtual environments with pip: Debian packs that apart.
fn python(host: &Host) -> Option<PathBuf> {
    let program = host.find("python3")?;
    host.ask(&program, &["-c", "import venv, ensurepip"])
        .map(|_| program)
}

impl Need {
    fn on(&self, os_release: &str) -> MissingTool {
        let install = match family(os_release) {
            Some(Family::Debian) => format!("sudo apt-get install -y {}", self.debian),
            Some(Family::Fedora) => format!("sudo dnf install -y {}", self.fedora),
            Some(Family::Arch) => format!("sudo pacman -S --needed {}", self.arch),
            None => format!(
                "install it with your system's packages (on Debian: apt-get install {})",
                self.debian
            ),
        };
        MissingTool {
            what: self.what,
            install,
        }
    }
}

enum Family {
    Debian,
    Fedora,
    Arch,
}

/// By `ID`, else by `ID_LIKE`, which derived systems set.
fn family(os_release: &str) -> Option<Family> {
    let value = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let names = format!("{} {}", value("ID"), value("ID_LIKE"));
    names.split_whitespace().find_map(|name| match name {
        "debian" | "ubuntu" => Some(Family::Debian),
        "fedora" | "rhel" | "centos" => Some(Family::Fedora),
        "arch" => Some(Family::Arch),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(os_release: &str) -> Host {
        Host {
            path: vec![],
            os_release: os_release.into(),
            cpu: "x".into(),
            jobs: 1,
        }
    }

    #[track_caller]
    fn missing(os_release: &str, source: &Source, device: DeviceClass) -> String {
        preflight(&bare(os_release), source, device)
            .unwrap_err()
            .to_string()
    }

    // spec: OC-POOL-3165, ORCH-3205
    #[test]
    fn every_missing_tool_is_named_with_the_command_of_this_system() {
        let text = missing(
            "NAME=\"x\"\nID=debian\n",
            &Source::Package,
            DeviceClass::CpuCi,
        );
        assert_eq!(
            text,
            "this machine lacks what llama-server is built with:\n  \
             Python 3 with venv and pip: sudo apt-get install -y python3 python3-venv python3-pip\n  \
             a C and C++ compiler: sudo apt-get install -y build-essential\n  \
             tar: sudo apt-get install -y tar"
        );
        let text = missing(
            "ID=rocky\nID_LIKE=\"rhel fedora\"",
            &Source::Package,
            DeviceClass::CpuCi,
        );
        assert!(text.contains("sudo dnf install -y gcc gcc-c++"), "{text}");
        let text = missing("ID=arch\n", &Source::Package, DeviceClass::CpuCi);
        assert!(
            text.contains("sudo pacman -S --needed base-devel"),
            "{text}"
        );
        let text = missing("ID=plan9\n", &Source::Package, DeviceClass::CpuCi);
        assert!(text.contains("with your system's packages"), "{text}");
    }

    // spec: OC-POOL-3151
    #[test]
    fn the_cuda_toolkit_is_needed_for_nvidia_only() {
        let text = missing("ID=ubuntu\n", &Source::Package, DeviceClass::Nvidia);
        assert!(
            text.contains("sudo apt-get install -y nvidia-cuda-toolkit"),
            "{text}"
        );
        let text = missing("ID=ubuntu\n", &Source::Package, DeviceClass::CpuCi);
        assert!(!text.contains("CUDA"), "{text}");
    }

    #[test]
    fn each_origin_asks_for_its_own_tools() {
        let git = Source::Git {
            url: "https://example.org/x".into(),
            reference: "v1".into(),
        };
        let text = missing("ID=arch\n", &git, DeviceClass::CpuCi);
        assert!(text.contains("git: sudo pacman"), "{text}");
        assert!(!text.contains("tar"), "{text}");
        let url = "https://example.org/x.tar.gz".into();
        let tarball = Source::Tarball {
            url,
            sha256: "0".repeat(64),
        };
        let text = missing("ID=arch\n", &tarball, DeviceClass::CpuCi);
        assert!(
            text.contains("curl: sudo pacman") && text.contains("tar: sudo"),
            "{text}"
        );
    }
}
