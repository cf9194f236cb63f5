//! Where results go. Found out, and refused where it would go wrong, before any
//! job starts.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use brigade_kernels::Entry;
use brigade_proto::Params;

use super::{PlannedInputs, format};
use crate::args::RunArgs;
use crate::exit::Failure;
use crate::write;

/// How outputs are called.
#[derive(Debug)]
pub(super) enum Naming {
    /// The one job writes this file.
    File(PathBuf),
    /// Each job writes a file in this directory, named after its first input.
    Directory {
        directory: PathBuf,
        /// `None`: the input's.
        extension: Option<String>,
        /// For synthetic jobs, which are numbered: the kernel and how many digits.
        numbered: (&'static str, usize),
    },
}

impl Naming {
    pub(super) fn output(&self, job: u64, files: &[PathBuf]) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Directory { directory, extension, numbered: (kernel, width) } => {
                let input = files.first();
                let mut name = match input.and_then(|path| path.file_stem()) {
                    Some(stem) => stem.to_owned(),
                    None => format!("{kernel}-{job:0width$}").into(),
                };
                let extension = match (extension, input) {
                    (Some(extension), _) => Some(OsStr::new(extension)),
                    (None, Some(path)) => path.extension(),
                    // Synthetic images are raw.
                    (None, None) => Some(OsStr::new("npy")),
                };
                if let Some(extension) = extension {
                    name.push(".");
                    name.push(extension);
                }
                directory.join(name)
            }
        }
    }

    /// What was given after `-o`.
    pub(super) fn target(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Directory { directory, .. } => directory,
        }
    }

    fn directory(&self) -> &Path {
        match self {
            Self::Directory { directory, .. } => directory,
            Self::File(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
        }
    }

    /// Makes the directory and tries whether files can be made in it.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        let directory = self.directory();
        let made = match self {
            Self::Directory { .. } => fs::create_dir_all(directory),
            // A file's directory is not made: a wrong name would go unnoticed.
            Self::File(_) => Ok(()),
        };
        made.and_then(|()| write::probe(directory)).map_err(|error| {
            Failure::usage(format!(
                "cannot write to {} (-o {}): {error}",
                directory.display(),
                self.target().display()
            ))
        })
    }
}

pub(super) fn plan(
    args: &RunArgs,
    out: &Path,
    entry: &Entry,
    params: &mut Params,
    inputs: &PlannedInputs,
) -> Result<Naming, Failure> {
    if out == Path::new("-") {
        return Err(Failure::usage(
            "-o - is not possible: standard output holds the report; name a file",
        ));
    }
    let jobs = match inputs {
        PlannedInputs::Files(jobs) => jobs.len() as u64,
        PlannedInputs::Synthetic { jobs, .. } => *jobs,
    };
    let is_directory = jobs > 1
        || args.ext.is_some()
        || out.is_dir()
        || out.as_os_str().as_encoded_bytes().ends_with(b"/");
    let wanted = match &args.ext {
        Some(extension) => Some(extension.trim_start_matches('.').to_owned()),
        None if is_directory => None,
        None => out.extension().map(|extension| extension.to_string_lossy().into_owned()),
    };
    if let Some(extension) = &wanted {
        format::choose(entry, params, extension).map_err(Failure::usage)?;
    }
    let naming = if is_directory {
        let extension = wanted.or_else(|| format::extension(entry, params).map(str::to_owned));
        let width = jobs.saturating_sub(1).to_string().len();
        let numbered = (entry.spec.name, width);
        Naming::Directory { directory: out.to_owned(), extension, numbered }
    } else {
        Naming::File(out.to_owned())
    };
    check(args, &naming, inputs, jobs)?;
    Ok(naming)
}

/// Refuses two results of one name, files that exist, and a result that takes the
/// place of an input that another job has yet to read.
fn check(
    args: &RunArgs,
    naming: &Naming,
    inputs: &PlannedInputs,
    jobs: u64,
) -> Result<(), Failure> {
    let files = |job: u64| match inputs {
        PlannedInputs::Files(jobs) => &jobs[job as usize][..],
        PlannedInputs::Synthetic { .. } => &[],
    };
    // All are in one directory: looked up once, not for each file.
    let directory = write::identity(&naming.directory().join("x"));
    let identity = |path: &Path| directory.with_file_name(path.file_name().unwrap_or_default());
    let mut read_by = HashMap::new();
    for job in 0..jobs {
        for file in files(job) {
            read_by.entry(write::identity(file)).or_insert((job, file));
        }
    }
    let mut written_by = HashMap::new();
    for job in 0..jobs {
        let path = naming.output(job, files(job));
        let place = identity(&path);
        let show = path.display();
        // Synthetic jobs are numbered: their names differ by construction.
        if let Some(first) = files(job).first()
            && let Some(other) = written_by.insert(place.clone(), first)
        {
            return Err(Failure::usage(format!(
                "{} and {} would both write {show}; run them apart, into two directories",
                other.display(),
                first.display()
            )));
        }
        if let Some((reader, input)) = read_by.get(&place)
            && *reader != job
        {
            return Err(Failure::usage(format!(
                "the result {show} would replace the input {} of another job; write it elsewhere",
                input.display()
            )));
        }
        match fs::symlink_metadata(&path) {
            Err(_) => {}
            Ok(found) if !(found.is_file() || found.is_symlink()) => {
                return Err(Failure::usage(format!("cannot write {show}: it is not a file")));
            }
            // With --resume it may be this job's own: the journal knows.
            Ok(_) if !args.force && !args.journal.resume => {
                return Err(Failure::usage(format!("{show} exists; --force replaces it")));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}
