//! Asks git about commits.

use std::path::Path;

use brigade_measure::history::KnownCommit;

use crate::git;

/// The repository that a history belongs to.
pub(super) struct Git<'a> {
    repo: &'a Path,
}

/// A commit with its full id.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) name: String,
    /// The commit time, in UTC, to the second.
    pub(super) time: String,
}

impl<'a> Git<'a> {
    /// The repository that contains `repo`; `None` if there is none, or git is missing.
    pub(super) fn at(repo: &'a Path) -> Option<Self> {
        git::ask(repo, &["rev-parse", "--git-dir"]).ok()?;
        Some(Self { repo })
    }

    /// Finds a commit by name.
    ///
    /// # Errors
    /// Git's error message.
    pub(super) fn commit(&self, name: &str) -> Result<Commit, String> {
        let whole = self.whole(name)?;
        let seconds = self.ask(&["show", "-s", "--format=%ct", &whole])?;
        let seconds: u64 = seconds.parse().map_err(|_| format!("no time of {whole}"))?;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let time = humantime::format_rfc3339_seconds(time).to_string();
        Ok(Commit { name: whole, time })
    }

    /// A commit and its first parents, the oldest first.
    ///
    /// # Errors
    /// Git's error message.
    pub(super) fn line(&self, tip: &str) -> Result<Vec<KnownCommit>, String> {
        let tip = self.whole(tip)?;
        let text = self.ask(&["log", "--first-parent", "--reverse", "--format=%H%x09%s", &tip])?;
        let known = |line: &str| {
            let (commit, subject) = line.split_once('\t')?;
            Some(KnownCommit { commit: commit.to_owned(), subject: subject.to_owned() })
        };
        Ok(text.lines().filter_map(known).collect())
    }

    /// Whether the repository has this commit, on any branch. `commit` is a full id.
    pub(super) fn has(&self, commit: &str) -> bool {
        self.whole(commit).is_ok_and(|whole| whole == commit)
    }

    /// Whether this is a shallow clone, which lacks older commits.
    pub(super) fn is_shallow(&self) -> bool {
        self.ask(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|said| said == "true")
    }

    /// The full id of a commit.
    fn whole(&self, name: &str) -> Result<String, String> {
        git::commit(self.repo, name).ok_or_else(|| format!("git knows no commit {name}"))
    }

    fn ask(&self, args: &[&str]) -> Result<String, String> {
        let first_line = |said: String| said.lines().next().unwrap_or("git failed").to_owned();
        git::ask(self.repo, args).map_err(first_line)
    }
}
