//! Loads the history to be shown or checked.

use brigade_measure::history::{CommitOrder, History, HistoryEntry, history as series_of};
use brigade_proto::count;

use super::git::Git;
use super::store;
use crate::args::{OrderBy, WhichArgs};
use crate::exit::Failure;

/// Reads the directory, orders the commits, and finds the changes.
///
/// # Errors
/// When the history is empty, no figure has the given name, or git cannot give the order that was
/// asked for.
pub(super) fn history(args: &WhichArgs) -> Result<History, Failure> {
    let dir = args.kept.dir.display();
    let mut entries: Vec<HistoryEntry> =
        store::read(&args.kept.dir)?.into_iter().map(|stored| stored.entry).collect();
    if entries.is_empty() {
        return Err(Failure::usage(format!(
            "the history {dir} has no results; `brigade history add` adds them"
        )));
    }
    if let Some(name) = &args.name {
        only(&mut entries, name).map_err(|why| Failure::usage(format!("--name {name}: {why}")))?;
    }
    let mut warnings = Vec::new();
    let order = order(args, &entries, &mut warnings)?;
    let mut history = series_of(&entries, &order);
    let mut machines: Vec<&str> = history.series.iter().map(|of| &of.machine[..]).collect();
    machines.sort_unstable();
    machines.dedup();
    if machines.len() > 1 {
        warnings.push(format!(
            "figures of {} different machines, each with series of its own: {}",
            machines.len(),
            machines.join("; ")
        ));
    }
    history.warnings = warnings;
    Ok(history)
}

/// Keeps only the figures with this name. If there are none, keeps those whose names contain it.
fn only(entries: &mut Vec<HistoryEntry>, name: &str) -> Result<(), String> {
    let all = || entries.iter().flat_map(|entry| &entry.figures).map(|kept| &kept.name);
    let is_whole = all().any(|other| other == name);
    if !is_whole && !all().any(|other| other.contains(name)) {
        let mut names: Vec<&str> = all().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        const MOST: usize = 8;
        let more = names.len().saturating_sub(MOST);
        names.truncate(MOST);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(format!(
            "no figure has this in its name; there are {}{more}",
            names.join(", ")
        ));
    }
    let is_wanted = |other: &str| if is_whole { other == name } else { other.contains(name) };
    for entry in &mut *entries {
        entry.figures.retain(|kept| is_wanted(&kept.name));
    }
    entries.retain(|entry| !entry.figures.is_empty());
    Ok(())
}

/// The order of the commits. It is git's if git knows all of them.
fn order(
    args: &WhichArgs,
    entries: &[HistoryEntry],
    warnings: &mut Vec<String>,
) -> Result<CommitOrder, Failure> {
    if args.order == OrderBy::Time {
        return Ok(CommitOrder::Time);
    }
    let repo = args.kept.repo.display();
    match by_git(args, entries, warnings) {
        Ok(order) => Ok(order),
        Err(why) if args.order == OrderBy::FirstParent => {
            Err(Failure::usage(format!("--order first-parent: {repo}: {why}")))
        }
        Err(why) => {
            warnings.push(format!("commits are in the order of their time, since {why}"));
            Ok(CommitOrder::Time)
        }
    }
}

fn by_git(
    args: &WhichArgs,
    entries: &[HistoryEntry],
    warnings: &mut Vec<String>,
) -> Result<CommitOrder, String> {
    let repo = args.kept.repo.display();
    let git = Git::at(&args.kept.repo).ok_or(format!("{repo} is no git repository"))?;
    let line = git.line(&args.tip).map_err(|why| format!("--tip {}: {why}", args.tip))?;
    let on_line: std::collections::HashSet<&str> =
        line.iter().map(|known| &known.commit[..]).collect();
    let mut off: Vec<&str> = entries.iter().map(|entry| &entry.commit[..]).collect();
    let all = off.len();
    off.retain(|commit| !on_line.contains(commit));
    let none_is_on_it = off.len() == all;
    off.sort_unstable();
    off.dedup();
    // A commit that git has, but not on this line, belongs to a branch.
    let unknown = off.iter().filter(|commit| !git.has(commit)).count();
    if unknown > 0 {
        let commits = count(unknown, "commit");
        let depth = if git.is_shallow() { ": it is a shallow clone" } else { "" };
        return Err(format!("the repository {repo} does not know {commits} of the history{depth}"));
    }
    if none_is_on_it {
        return Err(format!("none is among the first parents of {}", args.tip));
    }
    if !off.is_empty() {
        warnings.push(format!(
            "{} left out: not among the first parents of {} (--order time takes all)",
            count(off.len(), "commit"),
            args.tip
        ));
    }
    Ok(CommitOrder::FirstParent(line))
}
