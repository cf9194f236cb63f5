//! What git knows of commits.

use std::path::Path;
use std::process::{Command, Output};

use brigade_measure::history::Known;

/// A repository, and the program that reads it.
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
        let git = Self { repo };
        let output = git.run(&["rev-parse", "--git-dir"]).ok()?;
        output.status.success().then_some(git)
    }

    /// The commit that has this name.
    ///
    /// # Errors
    /// What git says.
    pub(super) fn commit(&self, name: &str) -> Result<Commit, String> {
        // `--end-of-options`: a name that begins with a dash is no option.
        let peeled = format!("{name}^{{commit}}");
        let whole = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled]);
        let whole = whole.map_err(|_| format!("git knows no commit {name}"))?;
        let whole = whole.trim().to_owned();
        let seconds = self.ask(&["show", "-s", "--format=%ct", &whole])?;
        let seconds: u64 = seconds.trim().parse().map_err(|_| format!("no time of {whole}"))?;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let time = humantime::format_rfc3339_seconds(time).to_string();
        Ok(Commit { name: whole, time })
    }

    /// The first parents of a commit and itself, the oldest first.
    ///
    /// # Errors
    /// What git says.
    pub(super) fn line(&self, tip: &str) -> Result<Vec<Known>, String> {
        let tip = self.commit(tip)?.name;
        let text = self.ask(&["log", "--first-parent", "--reverse", "--format=%H%x09%s", &tip])?;
        let known = |line: &str| {
            let (commit, subject) = line.split_once('\t')?;
            Some(Known { commit: commit.to_owned(), subject: subject.to_owned() })
        };
        Ok(text.lines().filter_map(known).collect())
    }

    /// Whether it has the commit itself, wherever it is.
    pub(super) fn has(&self, commit: &str) -> bool {
        self.commit(commit).is_ok_and(|known| known.name == commit)
    }

    /// Whether commits beyond some depth are missing here.
    pub(super) fn is_shallow(&self) -> bool {
        self.ask(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|said| said.trim() == "true")
    }

    fn ask(&self, args: &[&str]) -> Result<String, String> {
        let output = self.run(args).map_err(|error| format!("git: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.lines().next().unwrap_or("git failed").to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run(&self, args: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new("git");
        // What a person has set up for reading logs is not for a program.
        command.arg("-C").arg(self.repo).args(["-c", "log.showSignature=false"]).args(args);
        command.output()
    }
}
