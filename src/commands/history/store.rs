//! The directory of a history: `DIR/COMMIT/NAME.json`, one file for each commit and result.
//!
//! The name of a file follows from what it is about (machine and names of figures), so a result
//! that is added again has the same one, and two results that were added in two clones never have
//! the same unless they are of the same commit: git merges them without conflicts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use brigade_measure::history::{ENTRY_SCHEMA, Entry};

use crate::exit::{Exit, Failure};
use crate::write;

/// A file of the history, read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) path: PathBuf,
    pub(super) entry: Entry,
}

/// Everything that is kept, by file name.
///
/// # Errors
/// When the directory or a file cannot be read, a file is something else, or two files have the
/// same figure of the same commit and machine.
pub(super) fn read(dir: &Path) -> Result<Vec<Stored>, Failure> {
    let mut stored = Vec::new();
    for commit in names(dir).map_err(|error| cannot_read(dir, &error))? {
        if commit.is_dir() {
            stored.extend(read_commit(&commit)?);
        }
    }
    check_unique(&stored)?;
    Ok(stored)
}

/// The files that the history has of a commit; empty if it has none.
pub(super) fn read_commit(directory: &Path) -> Result<Vec<Stored>, Failure> {
    let files = match names(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.map_err(|error| cannot_read(directory, &error))?,
    };
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    files.into_iter().filter(is_json).map(read_file).collect()
}

fn read_file(path: PathBuf) -> Result<Stored, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let value = crate::saved::read(&path, wrong)?;
    if value["schema"] != ENTRY_SCHEMA {
        return Err(wrong(format!("it is no part of a history: its schema is not {ENTRY_SCHEMA}")));
    }
    let entry: Entry = serde_json::from_value(value)
        .map_err(|error| wrong(format!("it is not whole: {error}")))?;
    let is_of = path.parent().and_then(Path::file_name).is_some_and(|of| of == &entry.commit[..]);
    if !is_of {
        return Err(wrong(format!(
            "it is of commit {}, and in the directory of another",
            entry.commit
        )));
    }
    Ok(Stored { path, entry })
}

/// In order, without hidden ones: the directory may be a work tree of git.
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

fn check_unique(stored: &[Stored]) -> Result<(), Failure> {
    let mut seen: HashMap<(&str, &str, &str), &Path> = HashMap::new();
    for Stored { path, entry } in stored {
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

/// Where what is kept of a result belongs.
pub(super) fn place(dir: &Path, entry: &Entry) -> PathBuf {
    let mut names: Vec<&str> = entry.figures.iter().map(|kept| &kept.name[..]).collect();
    names.sort_unstable();
    let about = serde_json::json!([entry.machine, names]).to_string();
    let hash = blake3::hash(about.as_bytes()).to_hex();
    dir.join(&entry.commit).join(format!("{}.json", &hash[..16]))
}

/// Writes a file of the history, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, entry: &Entry) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure {
        exit: Exit::JobFailed,
        message: format!("cannot write {}: {error}", path.display()),
    };
    let mut text = serde_json::to_string_pretty(entry).map_err(|error| failed(error.into()))?;
    text.push('\n');
    fs::create_dir_all(write::directory(path)).map_err(failed)?;
    write::atomically(path, text.as_bytes()).map_err(failed)
}

/// Takes out of a file the figures that another has now; without any, it goes.
///
/// # Errors
/// When it cannot be written or removed.
pub(super) fn give_up(stored: &Stored, to: &Entry) -> Result<(), Failure> {
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
