//! What a build consists of: source, flags, compilers, CPU. Their digest is the cache key.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use contracts_api_types::kind::DeviceClass;
use sha2::{Digest, Sha256};

use super::EngineRequest;
use super::cache;
use super::error::ProvisionError;
use super::host::Host;
use super::plan::{Action, Plan, Planned};
use super::source::{Source, shown};
use super::tools::{Tools, preflight};

/// The build tools in the private environment.
const PINNED_TOOLS: [&str; 3] = ["cmake==4.4.4", "ninja==1.13.2", "scikit-build-core==1.1.2"];

/// Flags of every build. What is off is not needed to serve text, or would download something, or
/// would let the engine run other programs.
// spec: OC-POOL-3160
const FLAGS: [&str; 11] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
];

/// Where things are, while a build runs and after it.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// All of llama.cpp's part of the cache.
    pub(super) root: PathBuf,
    /// The finished entry.
    pub(super) entry: PathBuf,
    /// Everything of an unfinished build.
    pub(super) partial: PathBuf,
    /// The private Python environment.
    pub(super) venv: PathBuf,
    /// The unpacked source.
    pub(super) source: PathBuf,
    /// CMake's build folder.
    pub(super) build: PathBuf,
    /// Held while the key is built.
    pub(super) lock: PathBuf,
    /// What all commands printed.
    pub(super) log: PathBuf,
}

impl Layout {
    pub(super) fn new(cache_dir: &Path, key: &str) -> Self {
        // CMake and venv want absolute paths.
        let cache_dir = std::path::absolute(cache_dir).unwrap_or_else(|_| cache_dir.into());
        let root = cache_dir.join("engines/llamacpp");
        let partial = root.join(format!("{key}.partial"));
        Self {
            entry: root.join(key),
            venv: partial.join("tools"),
            source: partial.join("source"),
            build: partial.join("build"),
            lock: root.join(format!("{key}.lock")),
            log: root.join(format!("{key}.log")),
            partial,
            root,
        }
    }

    /// What marks the processes of this build, so that those of a killed one are found.
    pub(super) fn mark(&self) -> String {
        let digest = Sha256::digest(self.partial.as_os_str().as_encoded_bytes());
        format!("build-{}", hex(&digest[..8]))
    }

    /// The program of the finished entry.
    pub(super) fn binary(&self) -> PathBuf {
        self.entry.join("llama-server")
    }

    /// The program that the build makes.
    pub(super) fn built(&self) -> PathBuf {
        self.build.join("bin/llama-server")
    }

    /// Where a fetched and checked source archive is kept.
    pub(super) fn archive(&self, sha256: &str) -> PathBuf {
        self.root
            .join("sources")
            .join(format!("{}.tar", &sha256[..sha256.len().min(16)]))
    }
}

/// One build.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) source: Source,
    pub(super) flags: Vec<String>,
    /// What each compiler calls itself.
    pub(super) compilers: Vec<String>,
    pub(super) cpu: String,
    pub(super) key: String,
    pub(super) layout: Layout,
    device: DeviceClass,
    tools: Tools,
    jobs: usize,
}

impl Recipe {
    /// # Errors
    /// [`ProvisionError`], for missing tools and a source that cannot be used.
    pub(super) fn new(host: &Host, request: &EngineRequest) -> Result<Self, ProvisionError> {
        let source = Source::new(&request.provisioning.source)?;
        let tools = preflight(host, &source, request.device_class)?;
        let compilers = compilers(host, &tools);
        let flags = flags(&source, &tools, &gpu_architectures(host, &tools));
        let key = key(&source, &flags, &compilers, &host.cpu);
        Ok(Self {
            layout: Layout::new(&request.cache_dir, &key),
            source,
            flags,
            compilers,
            cpu: host.cpu.clone(),
            key,
            device: request.device_class,
            tools,
            jobs: host.jobs,
        })
    }

    /// The steps, in order.
    pub(super) fn steps(&self) -> Vec<Planned> {
        let mut steps = vec![self.environment()];
        steps.extend(self.source.steps(&self.layout, &self.tools));
        steps.push(Planned::new(
            "configure llama.cpp",
            Action::Configure(self.cmake()),
        ));
        steps.push(Planned::new(
            "compile llama-server",
            Action::Run(vec![self.ninja()]),
        ));
        steps.push(Planned::new(
            format!(
                "check the program and keep it as {}",
                self.layout.binary().display()
            ),
            Action::Keep,
        ));
        steps
    }

    /// What would be done, for people.
    pub(super) fn plan(&self) -> Plan {
        Plan {
            title: format!(
                "llama-server for {}, from {}",
                self.device,
                self.source.title()
            ),
            key: Some(self.key.clone()),
            binary: self.layout.binary(),
            ready: cache::looks_whole(&self.layout),
            steps: self.steps().iter().map(|step| step.shown(self)).collect(),
        }
    }

    fn environment(&self) -> Planned {
        let venv = shown(&self.layout.venv);
        let make = vec![shown(&self.tools.python), "-m".into(), "venv".into(), venv];
        let mut fill = vec![shown(&self.layout.venv.join("bin/pip")), "install".into()];
        fill.extend(["--quiet".into(), "--disable-pip-version-check".into()]);
        fill.extend(PINNED_TOOLS.map(String::from));
        let title = "get the build tools into a private Python environment";
        Planned::new(title, Action::Run(vec![make, fill]))
    }

    /// The configure command for a source tree.
    pub(super) fn cmake_in(&self, tree: &Path) -> Vec<String> {
        let mut command = vec![shown(&self.layout.venv.join("bin/cmake")), "-G".into()];
        command.extend(["Ninja".into(), "-S".into(), shown(tree)]);
        command.extend(["-B".into(), shown(&self.layout.build)]);
        command.extend(self.flags.iter().cloned());
        command
    }

    fn cmake(&self) -> Vec<String> {
        self.cmake_in(&self.trees()[0])
    }

    /// Where the source may have llama.cpp: the package has it inside, the others are it.
    pub(super) fn trees(&self) -> Vec<PathBuf> {
        match self.source {
            Source::Package => vec![self.layout.source.join("vendor/llama.cpp")],
            Source::Git { .. } | Source::Tarball { .. } => {
                vec![
                    self.layout.source.clone(),
                    self.layout.source.join("vendor/llama.cpp"),
                ]
            }
        }
    }

    fn ninja(&self) -> Vec<String> {
        // Whoever uses this machine meanwhile goes first.
        let ninja = shown(&self.layout.venv.join("bin/ninja"));
        let mut command: Vec<String> = vec!["nice".into(), "-n".into(), "10".into(), ninja];
        command.extend(["-C".into(), shown(&self.layout.build), "-j".into()]);
        command.extend([self.jobs.to_string(), "llama-server".into()]);
        command
    }
}

/// What each compiler calls itself, with its version.
fn compilers(host: &Host, tools: &Tools) -> Vec<String> {
    let version = |program: &PathBuf| {
        let text = host.ask(program, &["--version"]).unwrap_or_default();
        // CUDA's says its release in the last lines, the others in the first.
        let line = text
            .lines()
            .find(|line| line.contains("release"))
            .or(text.lines().next());
        line.unwrap_or_default().trim().to_owned()
    };
    [&tools.cc, &tools.cxx]
        .into_iter()
        .chain(&tools.nvcc)
        .map(version)
        .collect()
}

/// The compute capabilities of the GPUs that are there, as CMake names them.
fn gpu_architectures(host: &Host, tools: &Tools) -> Vec<String> {
    let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
    let smi = tools.nvcc.as_ref().and_then(|_| host.find("nvidia-smi"));
    let answer = smi
        .and_then(|smi| host.ask(&smi, &query))
        .unwrap_or_default();
    let mut found: Vec<_> = answer
        .lines()
        .map(|line| line.trim().replace('.', ""))
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

// spec: OC-POOL-3151, OC-POOL-3160, OC-POOL-3162
fn flags(source: &Source, tools: &Tools, gpus: &[String]) -> Vec<String> {
    let mut flags: Vec<String> = FLAGS.map(String::from).into();
    flags.push(format!("-DCMAKE_C_COMPILER={}", shown(&tools.cc)));
    flags.push(format!("-DCMAKE_CXX_COMPILER={}", shown(&tools.cxx)));
    match &tools.nvcc {
        Some(nvcc) => {
            flags.push("-DGGML_CUDA=ON".into());
            flags.push(format!("-DCMAKE_CUDA_COMPILER={}", shown(nvcc)));
            if !gpus.is_empty() {
                flags.push(format!("-DCMAKE_CUDA_ARCHITECTURES={}", gpus.join(";")));
            }
        }
        None => flags.push("-DGGML_CUDA=OFF".into()),
    }
    let (number, commit) = source.build();
    flags.push(format!("-DLLAMA_BUILD_NUMBER={number}"));
    flags.push(format!("-DLLAMA_BUILD_COMMIT={commit}"));
    flags
}

/// Everything that the bytes of the program depend on, in 16 hex digits.
// spec: OC-POOL-3161
fn key(source: &Source, flags: &[String], compilers: &[String], cpu: &str) -> String {
    let mut hash = Sha256::new();
    let lists = [
        &[source.identity()][..],
        flags,
        compilers,
        &[cpu.to_owned()][..],
    ];
    for list in lists {
        hash.update(list.len().to_le_bytes());
        for text in list {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
    }
    hex(&hash.finalize()[..8])
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: OC-POOL-3161
    #[test]
    fn the_key_changes_with_each_part_and_with_nothing_else() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let (flags, compilers) = (words(&["-DA=1"]), words(&["gcc 12", "g++ 12"]));
        let usual = key(&Source::Package, &flags, &compilers, "avx2");
        assert_eq!(usual, key(&Source::Package, &flags, &compilers, "avx2"));
        assert_eq!(usual.len(), 16);
        let git = Source::Git {
            url: "https://x".into(),
            reference: "b1".into(),
        };
        let others = [
            key(&git, &flags, &compilers, "avx2"),
            key(&Source::Package, &words(&["-DA=2"]), &compilers, "avx2"),
            key(
                &Source::Package,
                &flags,
                &words(&["gcc 12", "g++ 13"]),
                "avx2",
            ),
            key(&Source::Package, &flags, &compilers, "avx512f"),
            key(
                &Source::Package,
                &words(&["-DA=1", "gcc 12"]),
                &words(&["g++ 12"]),
                "avx2",
            ),
        ];
        for other in &others {
            assert_ne!(&usual, other);
        }
    }

    // spec: OC-POOL-3151
    #[test]
    fn cuda_is_built_where_its_compiler_is_wanted() {
        let mut tools = Tools {
            python: "python3".into(),
            cc: "cc".into(),
            cxx: "c++".into(),
            nvcc: None,
            fetcher: None,
        };
        let cpu = flags(&Source::Package, &tools, &[]);
        assert!(cpu.contains(&"-DGGML_CUDA=OFF".into()));
        tools.nvcc = Some("/opt/cuda/bin/nvcc".into());
        let gpu = flags(&Source::Package, &tools, &["80".into(), "90".into()]);
        assert!(gpu.contains(&"-DGGML_CUDA=ON".into()));
        assert!(gpu.contains(&"-DCMAKE_CUDA_COMPILER=/opt/cuda/bin/nvcc".into()));
        assert!(gpu.contains(&"-DCMAKE_CUDA_ARCHITECTURES=80;90".into()));
    }
}
