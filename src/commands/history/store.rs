//! The directory of a history: `DIR/COMMIT/NAME.json`, one file per commit and result.
//!
//! A file's name is derived from its machine and the names of its figures. So a result that is
//! added again gets the same name. Two results that were added in two clones have the same path
//! only if they are of the same commit: git merges them without conflicts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use brigade_measure::history::{ENTRY_SCHEMA, HistoryEntry};

use crate::exit::{Exit, Failure};
use crate::write;

/// A parsed file of the history.
#[derive(Debug)]
pub(super) struct StoredEntry {
    pub(super) path: PathBuf,
    pub(super) entry: HistoryEntry,
}

/// Reads all files of the history, in the order of their names.
///
/// # Errors
/// When the directory or a file cannot be read, a file is not part of a history, or two files have
/// the same figure of the same commit and machine.
pub(super) fn read(dir: &Path) -> Result<Vec<StoredEntry>, Failure> {
    let mut stored = Vec::new();
    for commit in names(dir).map_err(|error| cannot_read(dir, &error))? {
        if commit.is_dir() {
            stored.extend(read_commit(&commit)?);
        }
    }
    check_unique(&stored)?;
    Ok(stored)
}

/// The history's files of one commit; empty if it has none.
pub(super) fn read_commit(directory: &Path) -> Result<Vec<StoredEntry>, Failure> {
    let files = match names(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.map_err(|error| cannot_read(directory, &error))?,
    };
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    files.into_iter().filter(is_json).map(read_file).collect()
}

fn read_file(path: PathBuf) -> Result<StoredEntry, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let value = crate::saved::read(&path, wrong)?;
    if value["schema"] != ENTRY_SCHEMA {
        return Err(wrong(format!("it is no part of a history: its schema is not {ENTRY_SCHEMA}")));
    }
    let entry: HistoryEntry = serde_json::from_value(value)
        .map_err(|error| wrong(format!("it is not whole: {error}")))?;
    let is_of = path.parent().and_then(Path::file_name).is_some_and(|of| of == &entry.commit[..]);
    if !is_of {
        return Err(wrong(format!(
            "it is of commit {}, and in the directory of another",
            entry.commit
        )));
    }
    Ok(StoredEntry { path, entry })
}

/// The entries of a directory, sorted, without hidden ones: the directory may be a git work tree.
fn names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: Result<Vec<_>, io::Error> = fs::read_dir(directory)?.collect();
    let is_hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    let mut paths: Vec<PathBuf> = entries?.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| !is_hidden(path));
    paths.sort();
    Ok(paths)
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; `brigade history add` makes it",
        _ => "",
    };
    Failure::usage(format!("cannot read the history {}: {error}{hint}", path.display()))
}

fn check_unique(stored: &[StoredEntry]) -> Result<(), Failure> {
    let mut seen: HashMap<(&str, &str, &str), &Path> = HashMap::new();
    for StoredEntry { path, entry } in stored {
        for kept in &entry.figures {
            let key = (&entry.commit[..], &entry.machine[..], &kept.name[..]);
            if let Some(other) = seen.insert(key, path) {
                return Err(Failure::usage(format!(
                    "{} and {} both have {} of commit {}: remove one of them",
                    other.display(),
                    path.display(),
                    kept.name,
                    entry.commit
                )));
            }
        }
    }
    Ok(())
}

/// The path of the file for an entry.
pub(super) fn place(dir: &Path, entry: &HistoryEntry) -> PathBuf {
    let mut names: Vec<&str> = entry.figures.iter().map(|kept| &kept.name[..]).collect();
    names.sort_unstable();
    let about = serde_json::json!([entry.machine, names]).to_string();
    let hash = blake3::hash(about.as_bytes()).to_hex();
    dir.join(&entry.commit).join(format!("{}.json", &hash[..16]))
}

/// Writes a file of the history atomically.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, entry: &HistoryEntry) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure {
        exit: Exit::JobFailed,
        message: format!("cannot write {}: {error}", path.display()),
    };
    let mut text = serde_json::to_string_pretty(entry).map_err(|error| failed(error.into()))?;
    text.push('\n');
    fs::create_dir_all(write::directory(path)).map_err(failed)?;
    write::atomically(path, text.as_bytes()).map_err(failed)
}

/// Removes from a file the figures that `to` has now. Removes the file if no figure is left.
///
/// # Errors
/// When it cannot be written or removed.
pub(super) fn give_up(stored: &StoredEntry, to: &HistoryEntry) -> Result<(), Failure> {
    let mut entry = stored.entry.clone();
    entry.figures.retain(|kept| to.figures.iter().all(|other| other.name != kept.name));
    if !entry.figures.is_empty() {
        return write(&stored.path, &entry);
    }
    fs::remove_file(&stored.path).map_err(|error| Failure {
        exit: Exit::JobFailed,
        message: format!("cannot remove {}: {error}", stored.path.display()),
    })
}
