//! Git commits and their files.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::git;

/// A repository with a working tree.
#[derive(Debug)]
pub(super) struct Repository {
    /// The top of the working tree.
    pub(super) root: PathBuf,
}

/// A commit to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// The commit's id.
    pub(super) id: String,
    /// A name for people, such as `1a2b3c4 (Parse faster)`.
    pub(super) name: String,
    /// The id of its tree, which identifies its files.
    pub(super) tree: String,
    /// The id of its tree without untracked files.
    pub(super) known_tree: String,
}

impl Repository {
    /// The repository that contains this directory.
    pub(super) fn of(directory: &Path) -> Result<Self, Failure> {
        let wrong = |error: String| {
            Failure::usage(format!("--repository {}: {error}", directory.display()))
        };
        let root = git::ask(directory, &["rev-parse", "--show-toplevel"]).map_err(wrong)?;
        Ok(Self { root: root.into() })
    }

    /// The commit with this name.
    pub(super) fn commit(&self, name: &str) -> Result<Revision, Failure> {
        let id = git::commit(&self.root, name).ok_or_else(|| {
            Failure::usage(format!(
                "there is no commit {name} in {}; in a shallow clone of a CI it may have to be \
                 fetched first (fetch-depth: 0)",
                self.root.display()
            ))
        })?;
        let said = self.git(&["show", "--no-patch", "--format=%T %h (%s)", &id])?;
        let (tree, name) = said.split_once(' ').unwrap_or_default();
        let (tree, name) = (tree.to_owned(), name.to_owned());
        Ok(Revision { id, name, known_tree: tree.clone(), tree })
    }

    /// Makes a commit of the files that are in the working tree now, without those that git
    /// ignores. No branch contains it, and the index is not changed. The same files give the same
    /// commit.
    pub(super) fn working_tree(&self) -> Result<Revision, Failure> {
        let failed = |message: String| Failure { exit: Exit::JobFailed, message };
        let head = self.commit("HEAD")?;
        let directory = tempfile::tempdir();
        let directory = directory.map_err(|error| failed(format!("the working tree: {error}")))?;
        let index = directory.path().join("index");
        // With a copy of the index, git does not read unchanged files again.
        let used = self.git(&["rev-parse", "--path-format=absolute", "--git-path", "index"])?;
        let _ = std::fs::copy(used, &index);
        let date = self.git(&["show", "--no-patch", "--format=%cI", &head.id])?;
        let with_index = |arguments: &[&str]| -> Result<String, Failure> {
            let mut git = git::command(&self.root, arguments);
            git.env("GIT_INDEX_FILE", &index);
            for who in ["AUTHOR", "COMMITTER"] {
                git.env(format!("GIT_{who}_NAME"), "brigade gate")
                    .env(format!("GIT_{who}_EMAIL"), "gate@localhost")
                    .env(format!("GIT_{who}_DATE"), &date);
            }
            git::text(&mut git).map_err(|error| failed(format!("git: {error}")))
        };
        with_index(&["add", "--update"])?;
        let known_tree = with_index(&["write-tree"])?;
        with_index(&["add", "--all"])?;
        let tree = with_index(&["write-tree"])?;
        let name = format!("the working tree: {}", head.name);
        if tree == head.tree {
            return Ok(Revision { name, ..head });
        }
        let message = "The working tree, to be compared";
        let id =
            with_index(&["commit-tree", "--no-gpg-sign", &tree, "-p", &head.id, "-m", message])?;
        Ok(Revision { id, name: format!("{name} with changes"), tree, known_tree })
    }

    /// The text of a file in a revision; `None` if the revision has no such file.
    pub(super) fn text(&self, revision: &Revision, name: &str) -> Option<String> {
        let show = ["show", &format!("{}:{name}", revision.id)];
        String::from_utf8(git::run(&mut git::command(&self.root, &show)).ok()?).ok()
    }

    /// Whether `head` contains all commits of `base`.
    pub(super) fn is_ancestor(&self, base: &Revision, head: &Revision) -> bool {
        git::ask(&self.root, &["merge-base", "--is-ancestor", &base.id, &head.id]).is_ok()
    }

    /// Whether base and head have the same files. Untracked files in head may differ: an earlier
    /// gate may have left a report in the working tree.
    pub(super) fn are_same(base: &Revision, head: &Revision) -> bool {
        base.tree == head.tree || base.tree == head.known_tree
    }

    /// Runs git in the repository and returns its output.
    pub(super) fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        git::ask(&self.root, arguments).map_err(|message| Failure {
            exit: Exit::JobFailed,
            message: format!("git: {message}"),
        })
    }
}
