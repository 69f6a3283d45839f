//! Whole runs with scripted tools: what is built once, what is rebuilt, what is left behind.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use contracts_config_schema::agent::{SourceConfig, SourceOrigin};

use super::*;

const SERVER: &str = r#"#!/bin/sh
echo "version: 1.2.3 (build 7, commit abc)"
"#;

const PYTHON: &str = r#"#!/bin/sh
case "$1" in
-c) exit 0 ;;
-m) mkdir -p "$3/bin" && cp "$(dirname "$0")"/venv/* "$3/bin/" ;;
esac
"#;

/// Does what the file `mode` says. Like the real one it gives a job a process group of its own.
const NINJA: &str = r#"#!/bin/sh
home=$(cat "$(dirname "$0")/home")
echo built >> "$home/builds"
echo "[1/2] Building CXX object a.o"
echo "a.cpp:1: warning: it is late"
case "$(cat "$home/mode")" in
hang) set -m; sleep 600 & echo $! > "$home/child"; echo waiting; wait ;;
fail) i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo "line $i"; done; exit 3 ;;
esac
mkdir -p "$2/bin" && cp "$home/server" "$2/bin/llama-server"
echo "[2/2] Linking CXX executable bin/llama-server"
"#;

/// Cannot go on with half a file, like some servers.
const CURL: &str = r#"#!/bin/sh
home=$(cat "$(dirname "$0")/home")
while [ "$1" != --output ]; do shift; done
if [ -e "$2" ]; then echo "curl: (33) no ranges"; exit 33; fi
cp "$home/source.tar" "$2"
"#;

/// A machine of scripts in a folder of its own.
struct Machine {
    dir: tempfile::TempDir,
    sha256: String,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["tools/venv", "tree/tools/server"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("tree/tools/server/CMakeLists.txt"), "").unwrap();
        pack(dir.path(), "tree");
        let home = dir.path().display().to_string();
        script(&at("tools/python3"), PYTHON);
        script(&at("tools/c++"), "#!/bin/sh\necho fake c++ 1\n");
        script(&at("tools/cc"), "#!/bin/sh\necho fake cc 1\n");
        script(&at("tools/curl"), CURL);
        script(&at("tools/venv/pip"), "#!/bin/sh\n");
        script(&at("tools/venv/cmake"), "#!/bin/sh\n");
        script(&at("tools/venv/ninja"), NINJA);
        script(&at("server"), SERVER);
        std::fs::write(at("tools/home"), &home).unwrap();
        std::fs::write(at("tools/venv/home"), home).unwrap();
        std::fs::write(at("mode"), "build").unwrap();
        std::fs::write(at("builds"), "").unwrap();
        let sha256 = cache::sha256(&at("source.tar")).unwrap();
        Self { dir, sha256 }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn host(&self) -> Host {
        Host {
            path: vec![self.at("tools"), "/usr/bin".into(), "/bin".into()],
            os_release: "ID=debian".into(),
            cpu: "x86_64 avx2".into(),
            jobs: 4,
        }
    }

    fn request(&self) -> EngineRequest {
        let source = SourceConfig {
            origin: SourceOrigin::Tarball,
            url: Some("https://example.org/b7.tar".into()),
            sha256: Some(self.sha256.clone()),
            ..SourceConfig::default()
        };
        EngineRequest {
            engine: EngineName::LlamaCpp,
            device_class: DeviceClass::CpuCi,
            provisioning: ProvisioningConfig {
                source,
                ..ProvisioningConfig::default()
            },
            cache_dir: self.at("cache"),
            allow_downloads: true,
            base_dir: self.dir.path().into(),
        }
    }

    fn set_mode(&self, mode: &str) {
        std::fs::write(self.at("mode"), mode).unwrap();
    }

    fn builds(&self) -> usize {
        std::fs::read_to_string(self.at("builds"))
            .unwrap()
            .lines()
            .count()
    }

    async fn provision(&self) -> Result<ProvisionedEngine, ProvisionError> {
        provision_on(
            self.host(),
            &self.request(),
            &|_| {},
            &CancellationToken::new(),
        )
        .await
    }

    /// Names in the cache, but for logs, locks and sources.
    fn entries(&self) -> Vec<String> {
        let root = self.at("cache/engines/llamacpp");
        let names = std::fs::read_dir(root).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept = |name: &String| !name.ends_with(".log") && !name.ends_with(".lock");
        names
            .filter(|name| kept(name) && name != "sources")
            .collect()
    }
}

/// Packs what stands in the folder as the tarball that is fetched.
fn pack(dir: &Path, name: &str) {
    let mut tar = Command::new("tar");
    let tar = tar.current_dir(dir).args(["-cf", "source.tar", name]);
    assert!(tar.status().unwrap().success());
}

/// Written by another process: a file that this one has open for writing, or a fork of it by
/// another test, could not be run.
fn script(path: &Path, text: &str) {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(shell.wait().unwrap().success());
}

fn engine_of(machine: &Machine) -> ProvisionedEngine {
    let plan = plan_on(&machine.host(), &machine.request()).unwrap();
    ProvisionedEngine {
        binary: plan.binary,
        engine_version: "b7-abc".into(),
    }
}

// spec: OC-POOL-3165, ORCH-3206, OC-POOL-3160
#[test]
fn a_plan_names_every_command_and_is_the_same_each_time() {
    let machine = Machine::new();
    let plan = plan_on(&machine.host(), &machine.request()).unwrap();
    assert_eq!(plan, plan_on(&machine.host(), &machine.request()).unwrap());
    let key = plan.key.clone().unwrap();
    let text = plan
        .to_string()
        .replace(&machine.dir.path().display().to_string(), "/M")
        .replace(&machine.sha256, "SHA")
        .replace(&machine.sha256[..16], "SHA16")
        .replace(&machine.sha256[..9], "SHA9")
        .replace(&key, "KEY");
    assert_eq!(text, include_str!("tests/plan.txt"));
}

// spec: OC-POOL-3161, ORCH-3202
#[tokio::test]
async fn what_was_built_is_found_by_the_next_run() {
    let machine = Machine::new();
    assert_eq!(machine.provision().await.unwrap(), engine_of(&machine));
    let entry = engine_of(&machine).binary.parent().unwrap().to_owned();
    let manifest = std::fs::read_to_string(entry.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["engine_version"], "b7-abc");
    assert_eq!(
        manifest["binary_sha256"],
        cache::sha256(&entry.join("llama-server")).unwrap()
    );
    assert_eq!(
        manifest["compilers"],
        serde_json::json!(["fake cc 1", "fake c++ 1"])
    );
    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().unwrap().push(progress.line);
    let stop = CancellationToken::new();
    let mut request = machine.request();
    request.allow_downloads = false;
    let again = provision_on(machine.host(), &request, &watch, &stop)
        .await
        .unwrap();
    assert_eq!(again, engine_of(&machine));
    assert_eq!(machine.builds(), 1);
    assert!(seen.lock().unwrap()[0].starts_with("found "));
    assert_eq!(machine.entries().len(), 1);
}

#[tokio::test]
async fn another_compiler_or_cpu_is_another_entry() {
    let machine = Machine::new();
    machine.provision().await.unwrap();
    let mut host = machine.host();
    host.cpu = "x86_64 sse2".into();
    let stop = CancellationToken::new();
    provision_on(host, &machine.request(), &|_| {}, &stop)
        .await
        .unwrap();
    script(&machine.at("tools/c++"), "#!/bin/sh\necho fake c++ 2\n");
    machine.provision().await.unwrap();
    assert_eq!((machine.builds(), machine.entries().len()), (3, 3));
}

#[tokio::test]
async fn progress_tells_the_step_and_its_share() {
    let machine = Machine::new();
    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().unwrap().push(progress);
    let stop = CancellationToken::new();
    provision_on(machine.host(), &machine.request(), &watch, &stop)
        .await
        .unwrap();
    let seen = seen.into_inner().unwrap();
    let half = seen
        .iter()
        .find(|progress| progress.fraction == Some(0.5))
        .unwrap();
    assert_eq!(half.step, "5/6 compile llama-server");
    assert_eq!(half.line, "[1/2] Building CXX object a.o");
}

#[tokio::test]
async fn two_at_once_build_one_and_the_second_says_that_it_waits() {
    let machine = Machine::new();
    let waits = Mutex::new(0);
    let watch = |progress: Progress| {
        if progress.line.contains("waiting for it") {
            *waits.lock().unwrap() += 1;
        }
    };
    let (request, stop) = (machine.request(), CancellationToken::new());
    let one = provision_on(machine.host(), &request, &watch, &stop);
    let other = provision_on(machine.host(), &request, &watch, &stop);
    let (one, other) = tokio::join!(one, other);
    assert_eq!(one.unwrap(), engine_of(&machine));
    assert_eq!(other.unwrap(), engine_of(&machine));
    assert_eq!(machine.builds(), 1);
    assert_eq!(*waits.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_broken_entry_is_built_again() {
    let machine = Machine::new();
    let engine = machine.provision().await.unwrap();
    let garbage = "#".repeat(SERVER.len());
    for (nth, damage) in [None, Some("short"), Some(garbage.as_str())]
        .into_iter()
        .enumerate()
    {
        match damage {
            None => std::fs::remove_file(&engine.binary).unwrap(),
            Some(text) => script(&engine.binary, text),
        }
        assert_eq!(machine.provision().await.unwrap(), engine);
        assert_eq!(machine.builds(), nth + 2);
        assert_eq!(machine.entries().len(), 1);
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_build_do_not_matter() {
    let machine = Machine::new();
    let key = plan_on(&machine.host(), &machine.request())
        .unwrap()
        .key
        .unwrap();
    let partial = machine
        .at("cache/engines/llamacpp")
        .join(format!("{key}.partial"));
    std::fs::create_dir_all(partial.join("build/bin/llama-server")).unwrap();
    assert_eq!(machine.provision().await.unwrap(), engine_of(&machine));
    assert_eq!(machine.entries(), [key]);
}

// spec: OC-POOL-3105
#[tokio::test]
async fn commands_of_a_killed_build_are_ended_before_the_next_one() {
    let machine = Machine::new();
    let key = plan_on(&machine.host(), &machine.request())
        .unwrap()
        .key
        .unwrap();
    let layout = recipe::Layout::new(&machine.at("cache"), &key);
    let mut left_over = std::process::Command::new("sleep")
        .arg("600")
        .env(crate::marker::VARIABLE, layout.mark())
        .spawn()
        .unwrap();
    assert_eq!(machine.provision().await.unwrap(), engine_of(&machine));
    let status = left_over.wait().unwrap();
    assert!(!status.success(), "it went on: {status}");
}

#[tokio::test]
async fn a_failed_build_shows_its_last_lines_and_leaves_no_entry() {
    let machine = Machine::new();
    machine.set_mode("fail");
    let error = machine.provision().await.unwrap_err();
    let ProvisionError::StepFailed { tail, log, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(tail.lines().count(), 30);
    assert!(
        tail.starts_with("  line 21\n") && tail.ends_with("  line 50"),
        "{tail}"
    );
    let text = error.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains(&log.display().to_string()),
        "{text}"
    );
    let log = std::fs::read_to_string(log).unwrap();
    assert!(
        log.contains("\nline 1\n") && log.contains("$ nice -n 10 "),
        "{log}"
    );
    assert_eq!(machine.entries(), [""; 0]);
    machine.set_mode("build");
    assert_eq!(machine.provision().await.unwrap(), engine_of(&machine));
}

#[tokio::test]
async fn a_stopped_build_leaves_no_process_and_no_entry() {
    let machine = Machine::new();
    machine.set_mode("hang");
    let stop = CancellationToken::new();
    let watch = |progress: Progress| {
        if progress.line == "waiting" {
            stop.cancel();
        }
    };
    let ended = provision_on(machine.host(), &machine.request(), &watch, &stop).await;
    assert!(matches!(ended, Err(ProvisionError::Stopped)), "{ended:?}");
    let child = std::fs::read_to_string(machine.at("child")).unwrap();
    wait_until_gone(child.trim());
    assert_eq!(machine.entries(), [""; 0]);
}

#[tokio::test]
async fn a_dropped_build_leaves_no_process_and_no_entry() {
    let machine = Machine::new();
    machine.set_mode("hang");
    let (seen, stop) = (tokio::sync::Notify::new(), CancellationToken::new());
    let watch = |progress: Progress| {
        if progress.line == "waiting" {
            seen.notify_one();
        }
    };
    let request = machine.request();
    tokio::select! {
        ended = provision_on(machine.host(), &request, &watch, &stop) => panic!("{ended:?}"),
        () = seen.notified() => {}
    }
    wait_until_gone(std::fs::read_to_string(machine.at("child")).unwrap().trim());
    assert_eq!(machine.entries(), [""; 0]);
}

/// A process that is dead counts as gone also while nobody has reaped it.
#[track_caller]
fn wait_until_gone(pid: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while alive() {
        assert!(Instant::now() < end, "process {pid} still runs");
        std::thread::yield_now();
    }
}

// spec: OC-POOL-3163
#[tokio::test]
async fn a_file_with_another_digest_is_refused_and_removed() {
    let machine = Machine::new();
    std::fs::write(machine.at("source.tar"), "something else").unwrap();
    let error = machine.provision().await.unwrap_err();
    let ProvisionError::DigestMismatch { file, expected, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*expected, machine.sha256);
    assert!(!file.exists());
    assert_eq!((machine.builds(), machine.entries().len()), (0, 0));
}

#[tokio::test]
async fn a_damaged_kept_archive_is_fetched_again() {
    let machine = Machine::new();
    machine.provision().await.unwrap();
    let kept = machine.at("cache/engines/llamacpp/sources");
    let kept = std::fs::read_dir(kept)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&kept, "damaged").unwrap();
    std::fs::remove_dir_all(engine_of(&machine).binary.parent().unwrap()).unwrap();
    assert_eq!(machine.provision().await.unwrap(), engine_of(&machine));
    assert_eq!(cache::sha256(&kept).unwrap(), machine.sha256);
}

// spec: OC-POOL-3163
#[tokio::test]
async fn half_a_download_that_cannot_go_on_begins_again() {
    let machine = Machine::new();
    let key = plan_on(&machine.host(), &machine.request())
        .unwrap()
        .key
        .unwrap();
    let root = machine.at("cache/engines/llamacpp");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join(format!("{key}.download")), "half").unwrap();
    assert_eq!(machine.provision().await.unwrap(), engine_of(&machine));
    assert_eq!(machine.entries(), [key]);
}

// spec: REF-1009
#[tokio::test]
async fn nothing_is_fetched_when_downloads_are_not_allowed() {
    let machine = Machine::new();
    let mut request = machine.request();
    request.allow_downloads = false;
    let stop = CancellationToken::new();
    let error = provision_on(machine.host(), &request, &|_| {}, &stop)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProvisionError::DownloadsForbidden { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("pool_managerd.allow_downloads: true"),
        "{error}"
    );
    assert_eq!(machine.builds(), 0);
}

#[tokio::test]
async fn a_source_without_llama_cpp_is_named() {
    let machine = Machine::new();
    pack(machine.dir.path(), "mode");
    let mut request = machine.request();
    request.provisioning.source.sha256 = cache::sha256(&machine.at("source.tar")).ok();
    let stop = CancellationToken::new();
    let error = provision_on(machine.host(), &request, &|_| {}, &stop)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProvisionError::NotLlamaCpp { .. }),
        "{error}"
    );
}

// spec: ORCH-3201
#[tokio::test]
async fn an_installed_program_is_used_from_the_config_or_from_path() {
    let machine = Machine::new();
    let mut request = machine.request();
    request.provisioning.mode = ProvisioningMode::Binary;
    let mut host = machine.host();
    host.path = vec![machine.at("bin")];
    let stop = CancellationToken::new();
    let error = provision_on(host.clone(), &request, &|_| {}, &stop)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("on PATH") && error.contains("mode: source"),
        "{error}"
    );
    std::fs::create_dir(machine.at("bin")).unwrap();
    script(&machine.at("bin/llama-server"), SERVER);
    let found = provision_on(host.clone(), &request, &|_| {}, &stop)
        .await
        .unwrap();
    assert_eq!(found.binary, machine.at("bin/llama-server"));
    request.provisioning.binary = Some("server".into());
    let found = provision_on(host.clone(), &request, &|_| {}, &stop)
        .await
        .unwrap();
    assert_eq!(
        (found.binary, found.engine_version.as_str()),
        (machine.at("server"), "b7-abc")
    );
    request.provisioning.binary = Some("missing".into());
    let error = provision_on(host.clone(), &request, &|_| {}, &stop)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&machine.at("missing").display().to_string()),
        "{error}"
    );
    assert!(plan_on(&host, &request).is_err());
}

#[test]
fn other_engines_are_refused() {
    let machine = Machine::new();
    let mut request = machine.request();
    request.engine = EngineName::Vllm;
    let error = plan_on(&machine.host(), &request).unwrap_err().to_string();
    assert!(
        error.contains("vllm") && error.contains("use llamacpp"),
        "{error}"
    );
}
