//! Decides where results go. Refuses before any job starts what would go wrong.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use brigade_kernels::{OutputFormat, RegisteredKernel};
use brigade_proto::Params;

use super::{PlannedInputs, format};
use crate::args::RunArgs;
use crate::exit::Failure;
use crate::missing;
use crate::write::{self, TargetKind, disk};

/// How outputs are named.
#[derive(Debug)]
pub(super) enum Naming {
    /// The only job writes this file.
    File(PathBuf),
    /// Each job writes a file in this directory, named after its first input.
    Directory {
        directory: PathBuf,
        /// `None` means the extension of the input.
        extension: Option<String>,
        /// For synthetic jobs, which are numbered: the kernel, and the number of digits.
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

    /// The argument of `-o`.
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

    /// Creates the directory and checks that files can be created in it. Returns the directories
    /// that have a new entry.
    pub(super) fn prepare(&self) -> Result<Vec<PathBuf>, Failure> {
        let directory = self.directory();
        let cannot = |error: &dyn Display| {
            Failure::usage(format!(
                "cannot write to {} (-o {}): {error}",
                directory.display(),
                self.target().display()
            ))
        };
        match self {
            Self::Directory { .. } => disk::make_directories(directory)
                .and_then(|made| write::probe(directory).map(|()| made)),
            // Do not create the directory of a single file: a mistyped name would go unnoticed.
            Self::File(path) => {
                if let Some(why) = missing::no_directory(directory) {
                    return Err(cannot(&why));
                }
                write::try_to_replace(path).map(|()| Vec::new())
            }
        }
        .map_err(|error| cannot(&error))
    }
}

pub(super) fn plan(
    args: &RunArgs,
    out: &Path,
    entry: &RegisteredKernel,
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
    let is_directory = is_directory(out, entry, jobs)?;
    let own = out.extension().filter(|_| !is_directory).map(OsStr::to_string_lossy);
    let wanted = match (&args.ext, own) {
        (Some(extension), own) => {
            let extension = extension.trim_start_matches('.');
            if own.is_some_and(|own| !format::is_same(&own, extension)) {
                return Err(Failure::usage(format!(
                    "--ext {extension} and the name -o {} contradict; leave --ext out, or end the \
                     name with / for a directory",
                    out.display()
                )));
            }
            Some(extension.to_owned())
        }
        (None, own) => own.map(Cow::into_owned),
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

/// Whether results go into a directory. The name and what exists decide, so one more input never
/// turns a file into a directory unnoticed.
fn is_directory(out: &Path, entry: &RegisteredKernel, jobs: u64) -> Result<bool, Failure> {
    if out.as_os_str().as_encoded_bytes().ends_with(b"/") || out.is_dir() {
        return Ok(true);
    }
    if jobs == 1 {
        return Ok(false);
    }
    let show = out.display();
    let wrong = |why: &str| {
        Failure::usage(format!("-o {show} {why}, and there are {jobs} jobs; name a directory"))
    };
    match out.symlink_metadata() {
        Ok(found) if found.is_symlink() => Err(wrong("is a link to no directory")),
        Ok(_) => Err(wrong("is not a directory")),
        Err(_) if looks_like_a_file(out, entry) => Err(Failure::usage(format!(
            "-o {show} looks like the name of a file, and there are {jobs} jobs; end it with / \
             for a directory"
        ))),
        Err(_) => Ok(true),
    }
}

fn looks_like_a_file(out: &Path, entry: &RegisteredKernel) -> bool {
    let Some(extension) = out.extension().map(OsStr::to_string_lossy) else { return false };
    match entry.spec.output_format {
        OutputFormat::Fixed(own) if own.eq_ignore_ascii_case(&extension) => true,
        _ => format::is_known(&extension),
    }
}

/// Refuses two results with the same name, existing files, and a result that replaces an input
/// which another job has yet to read.
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
    // All outputs are in one directory: resolve it once, not for each file.
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
        let place = if path.is_symlink() { write::identity(&path) } else { identity(&path) };
        let show = path.display();
        // Synthetic jobs are numbered, so their names differ.
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
        match write::look(&path) {
            // With --resume the file may be this job's own, which the journal knows.
            Ok(TargetKind::Taken) if !args.force && !args.journal.resume => {
                return Err(Failure::usage(write::exists(&path)));
            }
            Ok(_) => {}
            // `Naming::prepare` reports a directory that is missing, or that is not a directory.
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) =>
            {
                return Err(Failure::usage(format!("cannot write {show}: {error}")));
            }
            Err(_) => {}
        }
    }
    Ok(())
}
