//! Carrying out a plan of mode `source`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cache::{self, Lock};
use super::command::{self, Log, Setting};
use super::error::ProvisionError;
use super::host::Host;
use super::plan::{Action, Planned};
use super::recipe::{Layout, Recipe};
use super::{Progress, ProvisionedEngine, Report, version};
use crate::marker;

/// No fetch of tens of megabytes takes that long on a line that works.
const FETCH_LIMIT: Duration = Duration::from_secs(3600);

/// A CUDA build on two slow cores takes an hour; this is for what never ends.
const BUILD_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// Killed processes are gone at once, unless the kernel waits for a disk on their behalf.
const LEFT_OVER_LIMIT: Duration = Duration::from_secs(30);

/// Who is told, and who may stop it.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) progress: Report<'a>,
    pub(super) stop: &'a CancellationToken,
}

impl Run<'_> {
    fn say(&self, step: &str, fraction: Option<f64>, line: impl Into<String>) {
        (self.progress)(Progress {
            step: step.into(),
            fraction,
            line: line.into(),
        });
    }
}

/// The engine from the cache, else built into it.
///
/// # Errors
/// [`ProvisionError`].
pub(super) async fn provision(
    host: &Host,
    recipe: &Recipe,
    allow_downloads: bool,
    run: Run<'_>,
) -> Result<ProvisionedEngine, ProvisionError> {
    if let Some(engine) = cache::entry(&recipe.layout).await {
        run.say(
            "look into the cache",
            Some(1.0),
            format!("found {}", engine.binary.display()),
        );
        return Ok(engine);
    }
    let layout = &recipe.layout;
    let sources = layout.root.join("sources");
    fs::create_dir_all(&sources).map_err(ProvisionError::io("create", &sources))?;
    let waiting = || {
        let line = "another process builds this engine; waiting for it";
        run.say("wait for the other build", None, line);
    };
    let _lock = Lock::take(&layout.lock, run.stop, waiting).await?;
    // Whoever held the lock may have made it.
    if let Some(engine) = cache::entry(layout).await {
        run.say(
            "look into the cache",
            Some(1.0),
            format!("found {}", engine.binary.display()),
        );
        return Ok(engine);
    }
    if !allow_downloads {
        return Err(ProvisionError::DownloadsForbidden {
            key: recipe.key.clone(),
        });
    }
    // Holding the lock means that leftovers belong to a build that was killed.
    remove_left_over(layout.mark()).await?;
    let scratch = Scratch::at(layout)?;
    let built = Builder {
        host,
        recipe,
        run,
        log: Log::create(&layout.log)?,
    }
    .build()
    .await;
    drop(scratch);
    built
}

/// Ends the commands of a build whose own process was killed: they would go on writing.
// spec: OC-POOL-3105
async fn remove_left_over(mark: String) -> Result<(), ProvisionError> {
    let remove = move || marker::remove_marked(&mark, LEFT_OVER_LIMIT);
    let removed = tokio::task::spawn_blocking(remove)
        .await
        .expect("looking at /proc cannot panic");
    removed.map(drop).map_err(ProvisionError::LeftOver)
}

/// The folder of an unfinished build: there while this lives, gone with it.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn at(layout: &Layout) -> Result<Self, ProvisionError> {
        let path = layout.partial.clone();
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ProvisionError::io("remove", &path)(error));
            }
            _ => {}
        }
        for dir in [&path.join("download"), &layout.source, &layout.build] {
            fs::create_dir_all(dir).map_err(ProvisionError::io("create", dir))?;
        }
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next build of this key.
        let _ = fs::remove_dir_all(&self.path);
    }
}

struct Builder<'a> {
    host: &'a Host,
    recipe: &'a Recipe,
    run: Run<'a>,
    log: Log,
}

impl Builder<'_> {
    async fn build(mut self) -> Result<ProvisionedEngine, ProvisionError> {
        let steps = self.recipe.steps();
        for (index, step) in steps.iter().enumerate() {
            let title = format!("{}/{} {}", index + 1, steps.len(), step.title);
            self.run.say(&title, None, "");
            self.step(&title, step).await?;
        }
        let binary = self.recipe.layout.binary();
        let engine_version = version::of(&binary).await?;
        Ok(ProvisionedEngine {
            binary,
            engine_version,
        })
    }

    async fn step(&mut self, title: &str, step: &Planned) -> Result<(), ProvisionError> {
        match &step.action {
            Action::Run(commands) => self.commands(title, commands, BUILD_LIMIT).await,
            Action::Fetch {
                run,
                fetched,
                archive,
                sha256,
            } => {
                if archive.is_file() && digest(archive).await? == *sha256 {
                    self.run.say(
                        title,
                        Some(1.0),
                        format!("kept already: {}", archive.display()),
                    );
                    return Ok(());
                }
                self.fetch(title, run, fetched).await?;
                accept(fetched, archive, sha256).await
            }
            Action::Configure(_) => {
                let command = self.recipe.cmake_in(&self.tree()?);
                self.commands(title, &[command], BUILD_LIMIT).await
            }
            Action::Keep => self.keep().await,
        }
    }

    /// Goes on with half a download if there is one, and begins again if that fails.
    async fn fetch(
        &mut self,
        title: &str,
        command: &Vec<String>,
        fetched: &Path,
    ) -> Result<(), ProvisionError> {
        let half = fetched.exists();
        let commands = std::slice::from_ref(command);
        match self.commands(title, commands, FETCH_LIMIT).await {
            Err(ProvisionError::StepFailed { .. }) if half => {
                fs::remove_file(fetched).map_err(ProvisionError::io("remove", fetched))?;
                self.commands(title, commands, FETCH_LIMIT).await
            }
            ended => ended,
        }
    }

    async fn commands(
        &mut self,
        title: &str,
        commands: &[Vec<String>],
        limit: Duration,
    ) -> Result<(), ProvisionError> {
        let layout = &self.recipe.layout;
        let mark = layout.mark();
        let run = self.run;
        // What compilers say in between does not change how far the step is.
        let share = Mutex::new(None);
        let on_line = |line: &str| {
            let mut share = share
                .lock()
                .expect("nothing panics while it holds a number");
            *share = done_share(line).or(*share);
            run.say(title, *share, line);
        };
        for command in commands {
            let setting = Setting {
                step: title,
                mark: &mark,
                // CMake and pip's build hooks look for ninja there.
                path: self.host.path_with(&[layout.venv.join("bin")]),
                folder: &layout.partial,
                limit,
                stop: self.run.stop,
            };
            command::run(command, &setting, &mut self.log, &on_line).await?;
        }
        Ok(())
    }

    /// Where llama.cpp is in the source.
    fn tree(&self) -> Result<PathBuf, ProvisionError> {
        let trees = self.recipe.trees();
        let found = trees
            .iter()
            .find(|tree| tree.join("tools/server/CMakeLists.txt").is_file());
        found.cloned().ok_or_else(|| ProvisionError::NotLlamaCpp {
            places: trees
                .iter()
                .map(|tree| tree.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    async fn keep(&self) -> Result<(), ProvisionError> {
        let engine_version = version::of(&self.recipe.layout.built()).await?;
        let recipe = self.recipe.clone();
        tokio::task::spawn_blocking(move || cache::keep(&recipe, &engine_version))
            .await
            .expect("keeping an entry does not panic")
    }
}

/// Keeps a fetched archive if it is the right one, and removes it otherwise.
async fn accept(fetched: &Path, archive: &Path, wanted: &str) -> Result<(), ProvisionError> {
    let found = digest(fetched).await?;
    if found == wanted {
        return fs::rename(fetched, archive).map_err(ProvisionError::io("move", fetched));
    }
    fs::remove_file(fetched).map_err(ProvisionError::io("remove", fetched))?;
    Err(ProvisionError::DigestMismatch {
        file: fetched.into(),
        expected: wanted.into(),
        found,
    })
}

async fn digest(file: &Path) -> Result<String, ProvisionError> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || cache::sha256(&file))
        .await
        .expect("reading a file does not panic")
}

/// Ninja begins its lines with `[done/all]`.
fn done_share(line: &str) -> Option<f64> {
    let (done, all) = line.strip_prefix('[')?.split_once(']')?.0.split_once('/')?;
    let (done, all): (u32, u32) = (done.parse().ok()?, all.parse().ok()?);
    (all > 0 && done <= all).then(|| f64::from(done) / f64::from(all))
}

#[cfg(test)]
mod tests {
    use super::done_share;

    #[test]
    fn ninja_tells_how_far_it_is() {
        assert_eq!(done_share("[103/206] Building CXX object x.o"), Some(0.5));
        for line in [
            "",
            "[x/2] y",
            "[3/2] y",
            "[0/0] y",
            "ninja: no work to do.",
            "[1/2",
        ] {
            assert_eq!(done_share(line), None, "{line}");
        }
    }
}
