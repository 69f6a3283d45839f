//! What the machine offers: where its programs are, which system it is, what its CPU can do.
//!
//! Read once and passed on, so that everything that depends on it can be shown another machine.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The machine, as far as building depends on it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Where programs are looked up, in this order.
    pub(super) path: Vec<PathBuf>,
    /// Text of `/etc/os-release`.
    pub(super) os_release: String,
    /// Architecture and instruction sets.
    pub(super) cpu: String,
    /// CPUs that may be used.
    pub(super) jobs: usize,
}

impl Host {
    /// This machine.
    pub(super) fn detect() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            path: search_path(),
            os_release: std::fs::read_to_string("/etc/os-release").unwrap_or_default(),
            cpu: format!("{} {}", std::env::consts::ARCH, instruction_sets(&cpuinfo)),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The program of that name.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|dir| dir.join(name))
            .find(|file| is_program(file))
    }

    /// The first program that exists of several names.
    pub(super) fn find_first(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().find_map(|name| self.find(name))
    }

    /// `PATH` for commands, with the given folders first.
    pub(super) fn path_with(&self, first: &[PathBuf]) -> OsString {
        // A folder with a colon in its name cannot be said in PATH.
        std::env::join_paths(first.iter().chain(&self.path))
            .or_else(|_| std::env::join_paths(&self.path))
            .unwrap_or_default()
    }

    /// What a quick command prints, if it succeeds.
    pub(super) fn ask(&self, program: &Path, args: &[&str]) -> Option<String> {
        let output = Command::new(program)
            .args(args)
            .env("PATH", self.path_with(&[]))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }
}

/// `PATH`, and where the CUDA toolkit puts its compiler without being in `PATH`.
fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cuda = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(std::env::var_os);
    let cuda = cuda.chain([OsString::from("/usr/local/cuda")]);
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(cuda.map(|home| Path::new(&home).join("bin")))
        .collect()
}

pub(super) fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first CPU's instruction sets, sorted: their order in the kernel's text means nothing.
fn instruction_sets(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        matches!(name.trim(), "flags" | "Features").then_some(value)
    });
    let mut sets: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    sets.sort_unstable();
    sets.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_do_not_depend_on_their_order() {
        let amd = "processor : 0\nflags\t\t: sse2 avx fma\n\nprocessor : 1\nflags : x\n";
        assert_eq!(instruction_sets(amd), "avx fma sse2");
        assert_eq!(instruction_sets("Features : fp asimd\n"), "asimd fp");
        assert_eq!(instruction_sets(""), "");
    }

    #[test]
    fn only_executable_files_are_programs() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("notes"), "").unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let host = Host {
            path: vec![dir.path().into(), "/bin".into()],
            os_release: String::new(),
            cpu: String::new(),
            jobs: 1,
        };
        assert_eq!(host.find("notes"), None);
        assert_eq!(host.find("folder"), None);
        assert_eq!(host.find_first(&["notes", "sh"]), Some("/bin/sh".into()));
    }
}
