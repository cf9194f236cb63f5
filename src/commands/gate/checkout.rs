//! Built checkouts, one per commit, kept for the next time.
//!
//! Checkouts are git work trees of the user's repository, in a directory outside it. Tools that
//! search parent directories for their settings would otherwise find those of another commit. The
//! working tree is checked out, too: files left in it by an earlier build with other settings could
//! give a different program than a clean build.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade_measure::command::{Program, RunError};
use brigade_proto::printable;
use rustix::fs::{FlockOperation, flock};

use super::repository::{Repository, Revision};
use crate::console::{self, ProgressDisplay};
use crate::exit::{Exit, Failure};
use crate::git;
use crate::signals::Flag;

/// How many checkouts are kept besides those in use.
const KEPT: usize = 2;
/// How many lines of a failed build's output are shown.
const SHOWN: usize = 20;
/// How many bytes of a build's output are read to find its last lines.
const TAIL: u64 = 8 << 10;

/// How a checkout is built.
pub(super) struct Recipe {
    command: Option<String>,
    /// Identifies how a checkout was built: the command, the tools and the settings.
    mark: String,
    /// Whether to build a checkout even if it was built before.
    again: bool,
}

impl Recipe {
    pub(super) fn new(command: Option<String>, again: bool) -> Self {
        let mark = command.as_ref().map(|command| format!("{command}\n{}", tools()));
        Self { command, mark: mark.unwrap_or_default(), again }
    }
}

/// The checkouts of one repository. Holds a lock, so no other gate uses them at the same time.
pub(super) struct Checkouts<'a> {
    repository: &'a Repository,
    directory: PathBuf,
    signal: &'a Flag,
    _lock: File,
}

impl<'a> Checkouts<'a> {
    /// Opens the repository's own directory in `cache`, and creates it if it is missing. Waits
    /// until no other gate uses it.
    pub(super) fn open(
        repository: &'a Repository,
        cache: Option<&Path>,
        signal: &'a Flag,
    ) -> Result<Self, Failure> {
        let cache = cache.map_or_else(usual_cache, Path::to_owned);
        let wrong =
            |error: io::Error| Failure::usage(format!("--cache {}: {error}", cache.display()));
        let cache = std::path::absolute(&cache).map_err(wrong)?;
        let directory = cache.join(name(&repository.root));
        fs::create_dir_all(&directory).map_err(wrong)?;
        let directory = directory.canonicalize().map_err(wrong)?;
        if directory.starts_with(&repository.root) {
            let _ = fs::remove_dir(&directory);
            return Err(Failure::usage(format!(
                "--cache {}: it is in the repository, whose settings would be found by builds of \
                 other commits; name a directory outside",
                cache.display()
            )));
        }
        let lock = File::options().create(true).append(true).open(directory.join("lock"));
        let lock = lock.map_err(wrong)?;
        let mut told = false;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(wrong(error.into()));
            }
            interrupted(signal, "before anything was built")?;
            if !told {
                let directory = directory.display();
                console::say(format_args!("waiting for another gate that uses {directory}"));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { repository, directory, signal, _lock: lock })
    }

    /// The directory of a revision's checkout.
    pub(super) fn place(&self, revision: &Revision) -> PathBuf {
        self.directory.join(&revision.id)
    }

    /// Checks out a revision and builds it, unless it was already built in the same way.
    pub(super) fn build(
        &self,
        side: &str,
        revision: &Revision,
        recipe: &Recipe,
    ) -> Result<(), Failure> {
        let checkout = self.place(revision);
        let mark = self.mark(&revision.id);
        let is_built = !recipe.again
            && is_untouched(&checkout, &revision.id)
            && fs::read_to_string(&mark).is_ok_and(|text| text == recipe.mark);
        if is_built {
            console::say(format_args!("{side} {}: built before", revision.name));
        } else {
            self.check_out(&checkout, &revision.id)?;
            interrupted(self.signal, &format!("while {side} was checked out"))?;
            if let Some(command) = &recipe.command {
                self.run_build(side, revision, &checkout, command)?;
            }
        }
        // Write the mark each time: its age says when the checkout was last used.
        Ok(crate::write::atomically(&mark, recipe.mark.as_bytes())?)
    }

    /// Removes the least recently used checkouts, except those of `used`.
    pub(super) fn forget_old(&self, used: [&Revision; 2]) -> io::Result<()> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            // Only remove entries that are named like a mark, and nothing else.
            let Some(id) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(id) = id.strip_suffix(".built").filter(|id| is_id(id)) else { continue };
            if used.iter().all(|revision| revision.id != id) {
                others.push((fs::metadata(&path)?.modified().ok(), id.to_owned()));
            }
        }
        others.sort();
        let surplus = others.len().saturating_sub(KEPT);
        for (_, id) in others.into_iter().take(surplus) {
            self.remove(&self.directory.join(&id));
            fs::remove_file(self.mark(&id))?;
        }
        Ok(())
    }

    /// The file beside a checkout that says how it was built.
    fn mark(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.built"))
    }

    fn check_out(&self, checkout: &Path, id: &str) -> Result<(), Failure> {
        let failed = |error| Failure { exit: Exit::JobFailed, message: format!("git: {error}") };
        let _ = fs::remove_file(self.mark(id));
        self.remove(checkout);
        let add = ["worktree", "add", "--quiet", "--detach", "--force"].map(AsRef::as_ref);
        let arguments = [&add[..], &[checkout.as_os_str(), id.as_ref()]].concat();
        git::ask(&self.repository.root, &arguments).map_err(failed)?;
        if checkout.join(".gitmodules").exists() {
            let update = ["submodule", "update", "--quiet", "--init", "--recursive"];
            git::ask(checkout, &update).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes a checkout. If that fails, the next checkout fails as well and reports it.
    fn remove(&self, checkout: &Path) {
        let remove = ["worktree", "remove", "--force", "--force"].map(AsRef::as_ref);
        let arguments = [&remove[..], &[checkout.as_os_str()]].concat();
        let _ = git::ask(&self.repository.root, &arguments);
        let _ = fs::remove_dir_all(checkout);
    }

    fn run_build(
        &self,
        side: &str,
        revision: &Revision,
        directory: &Path,
        command: &str,
    ) -> Result<(), Failure> {
        let log = self.directory.join(format!("{side}.log"));
        let script = format!("exec >\"$BRIGADE_BUILD_LOG\" 2>&1\n{command}");
        let program = Program::in_shell(&script)
            .map_err(|error| Failure::usage(format!("the build command is {error}")))?
            .in_directory(directory.to_owned())
            .with_variable("BRIGADE_BUILD_LOG", &log.to_string_lossy())
            .without_variables(&super::surroundings());
        console::say(format_args!("building {side}, {}: {command}", revision.name));
        let begin = Instant::now();
        let progress = ProgressDisplay::waiting();
        let ran = program.run(Stdio::inherit(), &|| {
            progress.tell(&last_lines(&log, 1).pop().unwrap_or_default());
            self.signal.is_set()
        });
        drop(progress);
        match ran {
            Ok(_) => {
                let took = begin.elapsed().as_secs_f64();
                console::say(format_args!("built {side} in {took:.1} s"));
                Ok(())
            }
            Err(_) if self.signal.is_set() => {
                interrupted(self.signal, &format!("while {side} was built"))
            }
            Err(error) => {
                for line in last_lines(&log, SHOWN) {
                    console::write(format!("  {line}\n").as_bytes());
                }
                // Leave out the script, which would take up the whole message.
                let error = match &error {
                    RunError::Failed(text) => text.rsplit('`').next().unwrap_or_default().trim(),
                    _ => "cannot be started",
                };
                let (name, log) = (&revision.name, log.display());
                Err(Failure {
                    exit: Exit::JobFailed,
                    message: format!(
                        "the build of {side}, {name}, {error}: all it said is in {log}"
                    ),
                })
            }
        }
    }
}

/// Whether a checkout is at this commit and its tracked files are unchanged.
fn is_untouched(checkout: &Path, id: &str) -> bool {
    // If the checkout has no git record of its own, git answers for a repository around it.
    let top = git::ask(checkout, &["rev-parse", "--show-toplevel"]);
    if top.is_ok_and(|top| Path::new(&top) != checkout) {
        return false;
    }
    let head = git::ask(checkout, &["rev-parse", "HEAD"]);
    let changes = git::ask(checkout, &["status", "--porcelain", "--untracked-files=no"]);
    head.is_ok_and(|head| head == id) && changes.is_ok_and(|changes| changes.is_empty())
}

/// Fails if a signal has been received.
fn interrupted(signal: &Flag, when: &str) -> Result<(), Failure> {
    match signal.exit() {
        None => Ok(()),
        Some(exit) => Err(Failure { exit, message: format!("interrupted {when}") }),
    }
}

/// The last lines of a file that are not empty, escaped to be safe to print.
fn last_lines(file: &Path, count: usize) -> Vec<String> {
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tail().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty()).take(count);
    let mut lines: Vec<String> = lines.map(printable).collect();
    lines.reverse();
    lines
}

/// A digest of what makes a different program from the same files: compilers, and the environment
/// variables that configure them.
fn tools() -> String {
    const VERSIONS: [&str; 5] =
        ["rustc -vV", "cc --version", "c++ --version", "go version", "python3 --version"];
    const VARIABLES: [&str; 12] = [
        "CC",
        "CXX",
        "CFLAGS",
        "CXXFLAGS",
        "CPPFLAGS",
        "LDFLAGS",
        "MAKEFLAGS",
        "RUSTC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "GOFLAGS",
        "PATH",
    ];
    let version = |line: &&str| {
        let mut words = line.split(' ');
        let output = Command::new(words.next()?).args(words).stdin(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?;
        let counts = VARIABLES.contains(&name) || name.starts_with("CARGO_");
        counts.then(|| format!("{name}={}\n", value.to_string_lossy()))
    });
    let mut variables: Vec<String> = variables.collect();
    variables.sort();
    let all = VERSIONS.iter().filter_map(version).chain(variables);
    blake3::hash(all.collect::<String>().as_bytes()).to_hex().to_string()
}

/// Whether this is the id of a commit.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn usual_cache() -> PathBuf {
    let of =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("brigade/gate")
}

/// The name of a repository's directory in the cache.
fn name(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hash = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
    format!("{name}-{}", &hash[..8])
}
