//! Git: commits, and what was in them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::exit::{Exit, Failure};

/// A repository with a working tree.
#[derive(Debug)]
pub(super) struct Repository {
    /// The top of the working tree.
    pub(super) root: PathBuf,
}

/// What is compared: a commit, or the working tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// The commit's id; of the working tree, that of the commit that is checked out.
    pub(super) id: String,
    /// For people, as in `1a2b3c4 (Parse faster)`.
    pub(super) name: String,
    /// Whether it is the working tree as it is.
    pub(super) is_working_tree: bool,
    /// Identifies its files; nothing for a working tree with changes.
    tree: Option<String>,
}

impl Repository {
    /// The repository that this directory is in.
    pub(super) fn of(directory: &Path) -> Result<Self, Failure> {
        let wrong = |error: String| {
            Failure::usage(format!("--repository {}: {error}", directory.display()))
        };
        let root = git(directory, &["rev-parse", "--show-toplevel"]).map_err(wrong)?;
        Ok(Self { root: root.into() })
    }

    /// The commit that has this name.
    pub(super) fn commit(&self, name: &str) -> Result<Revision, Failure> {
        // Something like `--help` is no name.
        let commit = format!("{name}^{{commit}}");
        let id =
            git(&self.root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]);
        let Ok(id) = id else {
            return Err(Failure::usage(format!(
                "there is no commit {name} in {}; in a shallow clone of a CI it may have to be \
                 fetched first (fetch-depth: 0)",
                self.root.display()
            )));
        };
        let subject = self.git(&["show", "--no-patch", "--format=%h (%s)", &id])?;
        let tree = self.git(&["rev-parse", &format!("{id}^{{tree}}")])?;
        Ok(Revision { id, name: subject, is_working_tree: false, tree: Some(tree) })
    }

    /// What is in the working tree now.
    pub(super) fn working_tree(&self) -> Result<Revision, Failure> {
        let commit = self.commit("HEAD")?;
        let is_clean = self.git(&["status", "--porcelain"])?.is_empty();
        let name = match is_clean {
            true => format!("the working tree: {}", commit.name),
            false => format!("the working tree: {} with changes", commit.name),
        };
        let tree = commit.tree.filter(|_| is_clean);
        Ok(Revision { id: commit.id, name, is_working_tree: true, tree })
    }

    /// The text of a file of a revision; nothing if it has none.
    pub(super) fn text(&self, revision: &Revision, name: &str) -> Option<String> {
        match revision.is_working_tree {
            true => std::fs::read_to_string(self.root.join(name)).ok(),
            false => run(&self.root, &["show", &format!("{}:{name}", revision.id)])
                .ok()
                .and_then(|output| String::from_utf8(output.stdout).ok()),
        }
    }

    /// What git says.
    pub(super) fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        git(&self.root, arguments).map_err(|message| Failure {
            exit: Exit::JobFailed,
            message: format!("git: {message}"),
        })
    }
}

impl Revision {
    /// Whether a comparison with it would be one with itself.
    pub(super) fn has_files_of(&self, other: &Self) -> bool {
        self.tree.is_some() && self.tree == other.tree
    }
}

/// The first lines of git's standard output without the last line feed, or its complaint.
pub(super) fn git(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = run(directory, arguments)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn run(directory: &Path, arguments: &[&str]) -> Result<Output, String> {
    let mut git = Command::new("git");
    // In a hook git has set these, and they stand for another repository than the directory's.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        git.env_remove(name);
    }
    let output = git.arg("-C").arg(directory).args(arguments).output();
    let output = output.map_err(|error| format!("git cannot be started: {error}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
