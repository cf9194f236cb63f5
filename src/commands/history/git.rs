//! What git knows of commits.

use std::path::Path;

use brigade_measure::history::Known;

use crate::git;

/// A repository.
pub(super) struct Git<'a> {
    repo: &'a Path,
}

/// A commit by its whole name.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) name: String,
    /// In UTC, to the second.
    pub(super) time: String,
}

impl<'a> Git<'a> {
    /// The repository that `repo` is in; `None` if it is in none, or there is no git.
    pub(super) fn at(repo: &'a Path) -> Option<Self> {
        git::ask(repo, &["rev-parse", "--git-dir"]).ok()?;
        Some(Self { repo })
    }

    /// The commit that has this name.
    ///
    /// # Errors
    /// What git says.
    pub(super) fn commit(&self, name: &str) -> Result<Commit, String> {
        let whole = self.whole(name)?;
        let seconds = self.ask(&["show", "-s", "--format=%ct", &whole])?;
        let seconds: u64 = seconds.parse().map_err(|_| format!("no time of {whole}"))?;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let time = humantime::format_rfc3339_seconds(time).to_string();
        Ok(Commit { name: whole, time })
    }

    /// The first parents of a commit and itself, the oldest first.
    ///
    /// # Errors
    /// What git says.
    pub(super) fn line(&self, tip: &str) -> Result<Vec<Known>, String> {
        let tip = self.whole(tip)?;
        let text = self.ask(&["log", "--first-parent", "--reverse", "--format=%H%x09%s", &tip])?;
        let known = |line: &str| {
            let (commit, subject) = line.split_once('\t')?;
            Some(Known { commit: commit.to_owned(), subject: subject.to_owned() })
        };
        Ok(text.lines().filter_map(known).collect())
    }

    /// Whether it has the commit itself, wherever it is.
    pub(super) fn has(&self, commit: &str) -> bool {
        self.whole(commit).is_ok_and(|whole| whole == commit)
    }

    /// Whether commits beyond some depth are missing here.
    pub(super) fn is_shallow(&self) -> bool {
        self.ask(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|said| said == "true")
    }

    /// The whole name of a commit.
    fn whole(&self, name: &str) -> Result<String, String> {
        git::commit(self.repo, name).ok_or_else(|| format!("git knows no commit {name}"))
    }

    fn ask(&self, args: &[&str]) -> Result<String, String> {
        let first_line = |said: String| said.lines().next().unwrap_or("git failed").to_owned();
        git::ask(self.repo, args).map_err(first_line)
    }
}
