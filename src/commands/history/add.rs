//! `brigade history add`: adds results to the history.

use std::path::Path;
use std::time::SystemTime;

use brigade_measure::history::{ENTRY_SCHEMA, HistoryEntry, machine};
use brigade_proto::count;
use brigade_report::history_kept;

use super::git::{Commit, Git};
use super::store::{self, StoredEntry};
use crate::args::HistoryAddArgs;
use crate::console;
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &HistoryAddArgs) -> Result<Exit, Failure> {
    let commit = commit(args)?;
    let added = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut entries: Vec<(&Path, HistoryEntry)> = Vec::new();
    for path in &args.results {
        let entry = entry(path, &commit, &added)?;
        if let Some((other, figure)) = same_figure(&entry, &entries) {
            return Err(Failure::usage(format!(
                "{} and {} both have {figure}: add one of them",
                other.display(),
                path.display(),
            )));
        }
        entries.push((path, entry));
    }
    // Check everything before anything is written.
    let stored = store::read_commit(&args.kept.dir.join(&commit.name))?;
    let mut changes = Vec::new();
    for (path, entry) in &entries {
        changes.push((path, entry, against(&stored, entry, args, path)?));
    }
    for (path, entry, change) in changes {
        keep(path, entry, change, &args.kept.dir)?;
    }
    tell_of_other_machines(&args.kept.dir, &entries)?;
    Ok(Exit::Ok)
}

/// The commit's full id and its time.
fn commit(args: &HistoryAddArgs) -> Result<Commit, Failure> {
    let wrong = |why: String| Failure::usage(format!("--commit {}: {why}", args.commit));
    let known = Git::at(&args.kept.repo).map(|git| git.commit(&args.commit));
    match (known, &args.time) {
        (Some(Ok(commit)), None) => Ok(commit),
        (Some(Ok(commit)), Some(time)) => Ok(Commit { time: time.clone(), ..commit }),
        (_, Some(time)) => {
            is_a_name(&args.commit).map_err(wrong)?;
            Ok(Commit { name: args.commit.clone(), time: time.clone() })
        }
        (Some(Err(why)), None) => Err(wrong(format!(
            "{why}; --time says when it was made, if it is of another repository"
        ))),
        (None, None) => Err(wrong(format!(
            "{} is no git repository that says when it was made: name one with --repo, or give \
             --time",
            args.kept.repo.display()
        ))),
    }
}

/// The commit's name becomes the name of a directory.
fn is_a_name(commit: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins_well = commit.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins_well && commit.chars().all(is_plain) && commit.len() <= 100 {
        true => Ok(()),
        false => {
            Err("expected letters, digits and any of . _ -, a letter or digit first".to_owned())
        }
    }
}

fn entry(path: &Path, commit: &Commit, added: &str) -> Result<HistoryEntry, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let result = crate::saved::read(path, wrong)?;
    let kept = history_kept::read(&result).map_err(wrong)?;
    for name in &kept.unmeasured {
        let path = path.display();
        console::say(format_args!("note: {path}: {name} was not measured to the end: left out"));
    }
    Ok(HistoryEntry {
        schema: ENTRY_SCHEMA.to_owned(),
        commit: commit.name.clone(),
        commit_time: commit.time.clone(),
        added: added.to_owned(),
        result: kept.schema,
        machine: machine(&kept.host),
        host: kept.host,
        figures: kept.figures,
    })
}

/// A figure that `entry` shares with another result of the same machine, with that result's path.
fn same_figure<'a>(
    entry: &HistoryEntry,
    others: &[(&'a Path, HistoryEntry)],
) -> Option<(&'a Path, String)> {
    let mut of_this_machine = others.iter().filter(|(_, other)| other.machine == entry.machine);
    of_this_machine.find_map(|(path, other)| Some((*path, common(entry, other)?)))
}

fn common(entry: &HistoryEntry, other: &HistoryEntry) -> Option<String> {
    let has = |name: &str| other.figures.iter().any(|kept| kept.name == name);
    entry.figures.iter().find(|kept| has(&kept.name)).map(|kept| kept.name.clone())
}

/// What to do with the entries that the history has of the commit.
enum AddAction<'a> {
    /// The entry is already there.
    None,
    /// Write the entry. Those that share figures with it, if any, lose these.
    Write(Vec<&'a StoredEntry>),
}

fn against<'a>(
    stored: &'a [StoredEntry],
    entry: &HistoryEntry,
    args: &HistoryAddArgs,
    path: &Path,
) -> Result<AddAction<'a>, Failure> {
    let is_same = |stored: &StoredEntry| {
        HistoryEntry { added: stored.entry.added.clone(), ..entry.clone() } == stored.entry
    };
    if stored.iter().any(is_same) {
        return Ok(AddAction::None);
    }
    let of_this_machine = stored.iter().filter(|stored| stored.entry.machine == entry.machine);
    let others: Vec<&StoredEntry> =
        of_this_machine.filter(|stored| common(entry, &stored.entry).is_some()).collect();
    match others.first() {
        Some(other) if !args.replace => Err(Failure::usage(format!(
            "{}: commit {} already has {} from another measurement, in {}; --replace replaces it",
            path.display(),
            entry.commit,
            common(entry, &other.entry).unwrap_or_default(),
            other.path.display(),
        ))),
        _ => Ok(AddAction::Write(others)),
    }
}

fn keep(
    path: &Path,
    entry: &HistoryEntry,
    change: AddAction<'_>,
    dir: &Path,
) -> Result<(), Failure> {
    let place = store::place(dir, entry);
    let (file, commit) = (path.display(), &entry.commit);
    let AddAction::Write(others) = change else {
        console::say(format_args!("{file}: commit {commit} has it already"));
        return Ok(());
    };
    // The new file first: if this is killed in between, a figure is there twice, which the next
    // command reports, but no figure is lost.
    store::write(&place, entry)?;
    for other in others.iter().filter(|other| other.path != place) {
        store::give_up(other, entry)?;
    }
    let figures = count(entry.figures.len(), "figure");
    let place = place.display();
    let verb = if others.is_empty() { "kept" } else { "replaced" };
    console::say(format_args!("{file}: {verb} {figures} of commit {commit} in {place}"));
    Ok(())
}

/// Figures of different machines form separate series. A user who adds the first figure of another
/// machine should know that.
fn tell_of_other_machines(dir: &Path, entries: &[(&Path, HistoryEntry)]) -> Result<(), Failure> {
    let stored = store::read(dir)?;
    let mut machines: Vec<&str> = stored.iter().map(|stored| &stored.entry.machine[..]).collect();
    machines.sort_unstable();
    machines.dedup();
    let here: Vec<&str> = entries.iter().map(|(_, entry)| &entry.machine[..]).collect();
    let others: Vec<&str> = machines.into_iter().filter(|other| !here.contains(other)).collect();
    if !others.is_empty() {
        console::say(format_args!(
            "note: the history has figures of other machines as well, which are kept apart: {}",
            others.join("; ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commits_are_names_of_directories() {
        for name in ["1a2b3c", "r1042", "v1.2-rc.1", "A_b"] {
            assert_eq!(is_a_name(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "a/b", "-x", "a b", "é", &"x".repeat(101)] {
            assert!(is_a_name(name).is_err(), "{name}");
        }
    }
}
