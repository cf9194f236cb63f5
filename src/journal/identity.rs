//! What identifies a job, and what it runs with.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use brigade_proto::{JobSpec, Source};
use brigade_report::Id;

use super::base::Base;
use super::record::Digest;
use crate::compact::Seen;

/// The identity of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobIdentity {
    /// Digest of its kernel, the names of its files, its id, and its number among equal jobs.
    pub(super) digest: Digest,
    /// The job's digest under an earlier base of the journal, and the index of that base. Set if
    /// only that digest has a result.
    pub(super) earlier: Option<(Digest, usize)>,
}

impl JobIdentity {
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}

/// Distinguishes the jobs of one run.
#[derive(Debug, Default)]
pub(super) struct JobNamer {
    seen: Seen,
    /// For jobs that were entered more than once: how many equal ones came before the last.
    again: HashMap<Digest, u32>,
}

impl JobNamer {
    /// Returns the job's digest, with names relative to `base`, and how many equal jobs came before
    /// it. `id` is the id that the job's line gives, if any.
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

/// The digest with names relative to another base. Which jobs are equal does not depend on the
/// base.
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

/// A job as the journal records it.
#[derive(Clone, Debug)]
pub(crate) struct JournaledJob {
    pub(crate) job: JobIdentity,
    pub(crate) with: With,
}

/// What a job runs with: its parameters and the contents of its inputs.
#[derive(Clone, Debug)]
pub(crate) enum With {
    Known(Digest),
    /// The contents of its files are not known before they are read.
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

    /// The digest with the files as they are now.
    pub(crate) fn now(&self) -> Digest {
        self.digest(|path| match digest_of_files(std::slice::from_ref(path)) {
            Ok(digest) => digest.as_bytes().to_vec(),
            // The job will fail with this error and report it.
            Err(error) => error.to_string().into_bytes(),
        })
    }

    /// The digest with the files as they were when they were read. `digests` come from the job's
    /// outcome.
    pub(crate) fn read(&self, digests: Option<&[[u8; 32]]>) -> Digest {
        let mut digests = digests.unwrap_or_default().iter();
        // A digest that is missing equals that of no file: the job will be run again.
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

/// Adds a part with its length, so that two parts cannot be confused with two others.
fn add(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
}

/// BLAKE3 of the contents of these files, one after another.
///
/// # Errors
/// When a file cannot be read, or is not a regular file: reading a pipe would take data from it.
pub(super) fn digest_of_files(paths: &[PathBuf]) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        // The file may have become a pipe meanwhile. This does not wait for it.
        hasher.update_reader(brigade_sys::patient::open(path)?)?;
    }
    Ok(hasher.finalize())
}
