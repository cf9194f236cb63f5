//! What a job is, and what it is done with.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use brigade_proto::{JobSpec, Source};
use brigade_report::Id;

use super::base::Base;
use super::record::Digest;
use crate::compact::Seen;

/// Which job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its kernel, its files by name, its id, and, of several that are the same, the how
    /// manieth.
    pub(super) digest: Digest,
    /// What it was called when the journal lay in another directory, if there is a result by
    /// that name alone: the number of that directory.
    pub(super) earlier: Option<(Digest, usize)>,
}

impl Job {
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

/// Tells jobs of one run apart.
#[derive(Debug, Default)]
pub(super) struct JobNamer {
    seen: Seen,
    /// Of those that were there more than once: how often before the last.
    again: HashMap<Digest, u32>,
}

impl JobNamer {
    /// Which job it is, by names relative to `base`, and how many equal ones were before it.
    /// `id` is what its line calls it, if it does.
    pub(super) fn enter(
        &mut self,
        base: &Base,
        spec: &JobSpec,
        output: Option<&Path>,
        id: Option<&Id>,
    ) -> (Digest, u32) {
        let name = name(base, spec, output, id);
        let digest = Digest::from(name.finalize());
        let before = if self.seen.insert(&digest.0) {
            0
        } else {
            let count = self.again.entry(digest).or_insert(0);
            *count += 1;
            *count
        };
        (numbered(name, before), before)
    }
}

/// The same for names relative to another directory: which jobs are equal does not depend on it.
pub(super) fn digest(
    base: &Base,
    spec: &JobSpec,
    output: Option<&Path>,
    id: Option<&Id>,
    before: u32,
) -> Digest {
    numbered(name(base, spec, output, id), before)
}

fn numbered(mut name: blake3::Hasher, before: u32) -> Digest {
    name.update(&before.to_le_bytes());
    name.finalize().into()
}

fn name(base: &Base, spec: &JobSpec, output: Option<&Path>, id: Option<&Id>) -> blake3::Hasher {
    let mut name = blake3::Hasher::new();
    add(&mut name, spec.kernel.as_bytes());
    for source in &spec.inputs {
        match source {
            Source::File(path) => add(&mut name, &base.key(path)),
            Source::Bytes(_) => add(&mut name, b""),
        }
    }
    add(&mut name, &output.map(|path| base.key(path)).unwrap_or_default());
    add(&mut name, id.map(Id::compact).unwrap_or_default().as_bytes());
    name
}

/// A job in a journal.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) job: Job,
    pub(crate) with: With,
}

/// What a job is done with: its parameters and what is in its inputs.
#[derive(Clone, Debug)]
pub(crate) enum With {
    Known(Digest),
    /// What is in its files is known when they have been read.
    Files {
        parameters: Vec<u8>,
        inputs: Vec<Source>,
    },
}

impl With {
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let mut parameters = Vec::new();
        for (name, value) in spec.params.iter() {
            for part in [name.as_bytes(), format!("{value:?}").as_bytes()] {
                parameters.extend((part.len() as u64).to_le_bytes());
                parameters.extend(part);
            }
        }
        let inputs = spec.inputs.clone();
        let has_files = inputs.iter().any(|source| matches!(source, Source::File(_)));
        let with = Self::Files { parameters, inputs };
        if has_files { with } else { Self::Known(with.now()) }
    }

    /// As the files are now.
    pub(crate) fn now(&self) -> Digest {
        self.digest(|path| match digest_of_files(std::slice::from_ref(path)) {
            Ok(digest) => digest.as_bytes().to_vec(),
            // The job will fail of it, and tell.
            Err(error) => error.to_string().into_bytes(),
        })
    }

    /// As the files were when they were read, by what the outcome of the job tells of each.
    pub(crate) fn read(&self, digests: Option<&[[u8; 32]]>) -> Digest {
        let mut digests = digests.unwrap_or_default().iter();
        // What was not told is no file's digest: the job will be run again.
        self.digest(|_| digests.next().map_or_else(|| b"unknown".to_vec(), |known| known.to_vec()))
    }

    fn digest(&self, mut file: impl FnMut(&PathBuf) -> Vec<u8>) -> Digest {
        let (parameters, inputs) = match self {
            Self::Known(digest) => return *digest,
            Self::Files { parameters, inputs } => (parameters, inputs),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(parameters);
        for source in inputs {
            match source {
                Source::Bytes(bytes) => add(&mut hasher, bytes),
                Source::File(path) => add(&mut hasher, &file(path)),
            }
        }
        hasher.finalize().into()
    }
}

/// With its length, so that two parts cannot pass for two others.
fn add(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// BLAKE3 of what is in these files, one after another.
///
/// # Errors
/// When one cannot be read, or is not a regular file: reading a pipe would take from it.
pub(super) fn digest_of_files(paths: &[PathBuf]) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        // It may have become a pipe meanwhile, which is not waited for.
        hasher.update_reader(brigade_sys::patient::open(path)?)?;
    }
    Ok(hasher.finalize())
}
