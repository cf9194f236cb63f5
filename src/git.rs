//! Runs git to get answers.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Variables that git sets for hooks. They refer to another repository than that of the directory.
/// Variables with settings (`GIT_CONFIG_COUNT`) are not among them: a CI uses these to allow the
/// directory.
pub(crate) const VARIABLES: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
];

/// Runs git in a directory and returns its output, without trailing line feeds.
///
/// # Errors
/// Git's error message, or why git cannot be started.
pub(crate) fn ask<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Result<String, String> {
    text(&mut command(directory, arguments))
}

/// Runs the command to its end and returns its output, without trailing line feeds.
///
/// # Errors
/// As [`ask`].
pub(crate) fn text(git: &mut Command) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&run(git)?).trim_end_matches('\n').to_owned())
}

/// The id of the commit with this name; `None` if the repository has no such commit.
pub(crate) fn commit(directory: &Path, name: &str) -> Option<String> {
    let commit = format!("{name}^{{commit}}");
    // A name that begins with a dash must not be taken for an option.
    ask(directory, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]).ok()
}

/// A git command in a directory, for more than [`ask`] offers.
pub(crate) fn command<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Command {
    let mut git = Command::new("git");
    for name in VARIABLES {
        git.env_remove(name);
    }
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    // What users set up for their own work must not affect a program: hooks, and signatures in
    // logs.
    let settings = ["-c", "core.hooksPath=/dev/null", "-c", "log.showSignature=false"];
    git.arg("-C").arg(directory).args(settings).args(arguments);
    // Ctrl-C must not reach git: Brigade checks for it between two commands.
    git.process_group(0);
    git
}

/// Runs the command to its end and returns its output.
///
/// # Errors
/// Git's error message, or why git cannot be started.
pub(crate) fn run(git: &mut Command) -> Result<Vec<u8>, String> {
    let output = git.output().map_err(|error| format!("git cannot be started: {error}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
