//! Where llama.cpp's source comes from, and the commands that fetch it.

use std::path::Path;

use contracts_config_schema::agent::{SourceConfig, SourceOrigin};

use super::error::ProvisionError;
use super::plan::{Action, Planned};
use super::recipe::Layout;
use super::tools::Tools;

/// The Python package whose source distribution carries the whole of llama.cpp, and its digest.
const PACKAGE: &str = "llama-cpp-python";
const PACKAGE_VERSION: &str = "0.3.36";
const PACKAGE_FILE: &str = "llama_cpp_python-0.3.36.tar.gz";
const PACKAGE_SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";
/// llama.cpp's commit, by the package's change log. It does not carry llama.cpp's build number,
/// so the digits of its own version stand for it.
const PACKAGE_BUILD: (&str, &str) = ("336", "0c1e57098");

/// Where llama.cpp's source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The pinned package.
    Package,
    /// A git repository.
    Git {
        /// Where it is.
        url: String,
        /// A tag or a commit.
        reference: String,
    },
    /// A tarball.
    Tarball {
        /// Where it is.
        url: String,
        /// Its SHA-256 in lower case.
        sha256: String,
    },
}

impl Source {
    /// # Errors
    /// [`ProvisionError::Source`], for fields that are missing or would be read as options.
    pub(super) fn new(config: &SourceConfig) -> Result<Self, ProvisionError> {
        match config.origin {
            SourceOrigin::Package => Ok(Self::Package),
            SourceOrigin::Git => Ok(Self::Git {
                url: text("url", config.url.as_deref())?,
                reference: text("reference", config.reference.as_deref())?,
            }),
            SourceOrigin::Tarball => Ok(Self::Tarball {
                url: text("url", config.url.as_deref())?,
                sha256: text("sha256", config.sha256.as_deref())?.to_ascii_lowercase(),
            }),
        }
    }

    /// For the title of a plan.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Package => format!("the source in {PACKAGE} {PACKAGE_VERSION}"),
            Self::Git { url, reference } => format!("{url} at {reference}"),
            Self::Tarball { url, .. } => url.clone(),
        }
    }

    /// What the cache key knows the source by.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Package => format!("sha256:{PACKAGE_SHA256}"),
            Self::Git { url, reference } => format!("git:{url}@{reference}"),
            Self::Tarball { sha256, .. } => format!("sha256:{sha256}"),
        }
    }

    /// Build number and commit that the engine is to say, so that its version names the source.
    // spec: OC-POOL-3162
    pub(super) fn build(&self) -> (String, String) {
        match self {
            Self::Package => (PACKAGE_BUILD.0.into(), PACKAGE_BUILD.1.into()),
            Self::Git { reference, .. } => (release_number(reference), word(reference)),
            Self::Tarball { url, sha256 } => {
                let file = url.rsplit('/').next().unwrap_or_default();
                (release_number(file), sha256.chars().take(9).collect())
            }
        }
    }

    /// Whether it comes as one file.
    pub(super) fn is_archive(&self) -> bool {
        !matches!(self, Self::Git { .. })
    }

    /// The steps that put the source at [`Layout::source`].
    pub(super) fn steps(&self, layout: &Layout, tools: &Tools) -> Vec<Planned> {
        let fetcher = tools.fetcher.clone().unwrap_or_default();
        match self {
            Self::Package => {
                let fetch = Planned::new(
                    format!("fetch {PACKAGE} {PACKAGE_VERSION} (SHA-256 {PACKAGE_SHA256})"),
                    Action::Fetch {
                        run: package_command(layout),
                        fetched: layout.partial.join("download").join(PACKAGE_FILE),
                        archive: layout.archive(PACKAGE_SHA256),
                        sha256: PACKAGE_SHA256.into(),
                    },
                );
                vec![fetch, unpack(layout, PACKAGE_SHA256)]
            }
            Self::Tarball { url, sha256 } => {
                let archive = layout.archive(sha256);
                // Outside of what a stopped build removes, so that the next one goes on with it.
                let fetched = layout.lock.with_extension("download");
                let fetch = Planned::new(
                    format!("fetch {url} (SHA-256 {sha256})"),
                    Action::Fetch {
                        run: tarball_command(&fetcher, url, &fetched),
                        fetched,
                        archive,
                        sha256: sha256.clone(),
                    },
                );
                vec![fetch, unpack(layout, sha256)]
            }
            Self::Git { url, reference } => {
                vec![Planned::new(
                    format!("fetch {url} at {reference}"),
                    Action::Run(git_commands(&fetcher, url, reference, &layout.source)),
                )]
            }
        }
    }
}

fn package_command(layout: &Layout) -> Vec<String> {
    let into = layout.partial.join("download");
    let pinned = format!("{PACKAGE}=={PACKAGE_VERSION}");
    // Its build requirements are in the private environment already, and nothing else is wanted.
    let options = [
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        PACKAGE,
        "--no-build-isolation",
    ];
    let mut command = vec![shown(&layout.venv.join("bin/pip"))];
    command.extend(options.map(String::from));
    command.extend(["--dest".into(), shown(&into), pinned]);
    command
}

fn tarball_command(curl: &Path, url: &str, to: &Path) -> Vec<String> {
    // An interrupted download goes on where it was.
    let options = [
        "--fail",
        "--silent",
        "--show-error",
        "--location",
        "--retry",
        "3",
        "--continue-at",
        "-",
    ];
    let mut command = vec![shown(curl)];
    command.extend(options.map(String::from));
    command.extend(["--output".into(), shown(to), "--url".into(), url.into()]);
    command
}

/// `clone --branch` takes no commits; a fetch of one takes both.
fn git_commands(git: &Path, url: &str, reference: &str, to: &Path) -> Vec<Vec<String>> {
    let (git, to) = (shown(git), shown(to));
    let command = |args: &[&str]| {
        let args = args.iter().map(|arg| (*arg).to_owned());
        [git.clone()].into_iter().chain(args).collect()
    };
    vec![
        command(&["init", "--quiet", &to]),
        command(&[
            "-C", &to, "fetch", "--quiet", "--depth", "1", "--", url, reference,
        ]),
        command(&["-C", &to, "checkout", "--quiet", "FETCH_HEAD"]),
    ]
}

fn unpack(layout: &Layout, sha256: &str) -> Planned {
    // GNU tar refuses names that leave the folder.
    let command = [
        "tar".into(),
        "-xf".into(),
        shown(&layout.archive(sha256)),
        "-C".into(),
        shown(&layout.source),
        "--strip-components=1".into(),
        "--no-same-owner".into(),
        "--no-same-permissions".into(),
    ];
    Planned::new("unpack it", Action::Run(vec![command.into()]))
}

pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn text(field: &'static str, value: Option<&str>) -> Result<String, ProvisionError> {
    let refuse = |problem: &str| ProvisionError::Source {
        field,
        problem: problem.into(),
    };
    let value = value.ok_or_else(|| refuse("is missing"))?;
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && !value.starts_with('-') {
        return Ok(value.into());
    }
    Err(refuse(
        "must be one word of printable ASCII that does not start with a dash",
    ))
}

/// llama.cpp's releases are called `b4567`.
fn release_number(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    let number = |part: &str| part.strip_prefix('b')?.parse::<u32>().ok();
    parts.filter_map(number).next().unwrap_or(0).to_string()
}

/// Commits by their first nine digits, tags as they are, and only what is safe inside a string of
/// C and a command.
fn word(reference: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text: String = reference
        .chars()
        .map(|c| if safe(c) { c } else { '_' })
        .collect();
    let is_commit = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.chars().take(if is_commit { 9 } else { 40 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(reference: &str) -> Source {
        Source::Git {
            url: "https://example.org/x".into(),
            reference: reference.into(),
        }
    }

    fn tarball(url: &str) -> Source {
        Source::Tarball {
            url: url.into(),
            sha256: "ab".repeat(32),
        }
    }

    // spec: OC-POOL-3162
    #[test]
    fn the_version_names_the_source() {
        let build = |source: Source| source.build();
        let pair = |number: &str, commit: &str| (number.to_owned(), commit.to_owned());
        assert_eq!(build(Source::Package), pair("336", "0c1e57098"));
        assert_eq!(build(git("b4567")), pair("4567", "b4567"));
        assert_eq!(build(git(&"0c1e570981".repeat(4))), pair("0", "0c1e57098"));
        assert_eq!(build(git("a/b\"c")), pair("0", "a_b_c"));
        assert_eq!(
            build(tarball("https://x/b4567.tar.gz")),
            pair("4567", "ababababa")
        );
        assert_eq!(
            build(tarball("https://x/v1.tar.gz")),
            pair("0", "ababababa")
        );
    }

    #[test]
    fn fields_that_would_be_read_as_options_are_refused() {
        for reference in ["--upload-pack=x", "", "a b"] {
            let config = SourceConfig {
                origin: SourceOrigin::Git,
                url: Some("https://example.org/x".into()),
                reference: Some(reference.into()),
                sha256: None,
            };
            let error = Source::new(&config).unwrap_err().to_string();
            assert!(
                error.starts_with("provisioning.source.reference must be"),
                "{error}"
            );
        }
        let config = SourceConfig {
            origin: SourceOrigin::Tarball,
            ..SourceConfig::default()
        };
        let error = Source::new(&config).unwrap_err().to_string();
        assert_eq!(error, "provisioning.source.url is missing");
    }
}
