//! A built checkout for each commit, kept for the next time.
//!
//! Checkouts are work trees of the user's repository, outside of its own: tools that look for their
//! settings in the directories above would else find those of another commit.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_measure::command::{Program, RunError};
use brigade_proto::printable;
use rustix::fs::{FlockOperation, flock};

use super::repository::{Repository, Revision, git};
use crate::console::{self, Progress};
use crate::exit::{Exit, Failure};
use crate::signals::Flag;

/// Checkouts that are kept besides those in use.
const KEPT: usize = 2;
/// Lines of a failed build's output that are shown.
const SHOWN: usize = 20;

/// The checkouts of one repository. Nobody else uses them as long as this lives.
pub(super) struct Checkouts<'a> {
    repository: &'a Repository,
    directory: PathBuf,
    signal: &'a Flag,
    _lock: File,
}

impl<'a> Checkouts<'a> {
    /// In `directory`, which is made if it is not there; waits until no other gate uses it.
    pub(super) fn open(
        repository: &'a Repository,
        directory: Option<&Path>,
        signal: &'a Flag,
    ) -> Result<Self, Failure> {
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => usual_directory(&repository.root),
        };
        let wrong =
            |error: io::Error| Failure::usage(format!("--cache {}: {error}", directory.display()));
        let directory = std::path::absolute(&directory).map_err(wrong)?;
        fs::create_dir_all(&directory).map_err(wrong)?;
        let directory = directory.canonicalize().map_err(wrong)?;
        let lock = File::options().create(true).append(true).open(directory.join("lock"));
        let lock = lock.map_err(wrong)?;
        let mut told = false;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(wrong(error.into()));
            }
            if let Some(exit) = signal.exit() {
                let message = "interrupted before anything was built".to_owned();
                return Err(Failure { exit, message });
            }
            if !told {
                let directory = directory.display();
                console::say(format_args!("waiting for another gate that uses {directory}"));
                told = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { repository, directory, signal, _lock: lock })
    }

    /// Where the files of a revision are, once it is built.
    pub(super) fn place(&self, revision: &Revision) -> PathBuf {
        match revision.is_working_tree {
            true => self.repository.root.clone(),
            false => self.directory.join(&revision.id),
        }
    }

    /// Checks a revision out, and runs `command` there.
    pub(super) fn build(
        &self,
        side: &str,
        revision: &Revision,
        command: Option<&str>,
    ) -> Result<(), Failure> {
        let checkout = self.place(revision);
        if revision.is_working_tree {
            return match command {
                Some(command) => self.run_build(side, revision, &checkout, command),
                None => Ok(()),
            };
        }
        let mark = self.mark(&revision.id);
        let built = command.unwrap_or_default();
        let is_built = is_untouched(&checkout, &revision.id)
            && fs::read_to_string(&mark).is_ok_and(|text| text == built);
        if is_built {
            console::say(format_args!("{side} {}: built before", revision.name));
        } else {
            self.check_out(&checkout, &revision.id)?;
            if let Some(command) = command {
                self.run_build(side, revision, &checkout, command)?;
            }
        }
        // Written each time: its age tells which checkouts were not used for longest.
        Ok(crate::write::atomically(&mark, built.as_bytes())?)
    }

    /// Removes the checkouts that were not used for longest, but not those of `used`.
    pub(super) fn forget_old(&self, used: [&Revision; 2]) -> io::Result<()> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if path.is_dir() && used.iter().all(|revision| revision.id != id) {
                let age = fs::metadata(self.mark(id)).and_then(|mark| mark.modified()).ok();
                others.push((age, id.to_owned()));
            }
        }
        others.sort();
        let surplus = others.len().saturating_sub(KEPT);
        for (_, id) in others.into_iter().take(surplus) {
            self.remove(&self.directory.join(&id));
            fs::remove_file(self.mark(&id)).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
        Ok(())
    }

    /// Beside a checkout: the command that has built it.
    fn mark(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.built"))
    }

    fn check_out(&self, checkout: &Path, id: &str) -> Result<(), Failure> {
        let _ = fs::remove_file(self.mark(id));
        self.remove(checkout);
        let path = checkout.to_string_lossy();
        self.repository.git(&["worktree", "add", "--quiet", "--detach", "--force", &path, id])?;
        if checkout.join(".gitmodules").exists() {
            git(checkout, &["submodule", "update", "--quiet", "--init", "--recursive"])
                .map_err(|error| Failure { exit: Exit::JobFailed, message: error })?;
        }
        Ok(())
    }

    /// What cannot be removed is in the way of the next checkout, which says so.
    fn remove(&self, checkout: &Path) {
        let path = checkout.to_string_lossy();
        let _ = self.repository.git(&["worktree", "remove", "--force", "--force", &path]);
        let _ = fs::remove_dir_all(checkout);
        let _ = self.repository.git(&["worktree", "prune"]);
    }

    fn run_build(
        &self,
        side: &str,
        revision: &Revision,
        directory: &Path,
        command: &str,
    ) -> Result<(), Failure> {
        let log = self.directory.join(format!("{side}.log"));
        // One directory for what both commits build would mix them.
        let script = format!(
            "unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR\nexec >\"$BRIGADE_BUILD_LOG\" 2>&1\n{command}"
        );
        let program = Program::in_shell(&script)
            .map_err(|error| Failure::usage(format!("the build command is {error}")))?
            .in_directory(directory.to_owned())
            .with_variable("BRIGADE_BUILD_LOG", &log.to_string_lossy());
        console::say(format_args!("building {side}, {}: {command}", revision.name));
        let begin = Instant::now();
        let progress = Progress::waiting();
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
            Err(_) if self.signal.is_set() => Err(Failure {
                exit: self.signal.exit().unwrap_or(Exit::JobFailed),
                message: format!("interrupted while {side} was built"),
            }),
            Err(error) => {
                for line in last_lines(&log, SHOWN) {
                    console::write(format!("  {line}\n").as_bytes());
                }
                // The script would be all that the message is about.
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

/// Whether a checkout has this commit's files, as they were.
fn is_untouched(checkout: &Path, id: &str) -> bool {
    let head = git(checkout, &["rev-parse", "HEAD"]);
    let changes = git(checkout, &["status", "--porcelain", "--untracked-files=no"]);
    head.is_ok_and(|head| head == id) && changes.is_ok_and(|changes| changes.is_empty())
}

/// The last lines of a file, made safe to show.
fn last_lines(file: &Path, count: usize) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty()).take(count);
    let mut lines: Vec<String> = lines.map(|line| printable(line).to_string()).collect();
    lines.reverse();
    lines
}

/// A directory for each repository.
fn usual_directory(root: &Path) -> PathBuf {
    let of =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    let cache = cache.unwrap_or_else(std::env::temp_dir);
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hash = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
    cache.join("brigade/gate").join(format!("{name}-{}", &hash[..8]))
}
