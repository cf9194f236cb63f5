//! What a job is, and what it is done with.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use brigade_proto::{JobSpec, Source};

use super::record::Digest;
use crate::compact::Seen;

/// A job in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which job it is: its kernel, its files by name, its id, and, of several that are the
    /// same, the how manieth.
    pub(crate) job: Digest,
    /// Its parameters and what is in its inputs.
    pub(crate) with: Digest,
}

/// Tells jobs of one run apart.
#[derive(Debug, Default)]
pub(super) struct Census {
    seen: Seen,
    /// Of those that were there more than once: how often before the last.
    again: HashMap<Digest, u32>,
}

impl Census {
    /// Which job it is. `id` is what its line calls it, if it does.
    pub(super) fn enter(
        &mut self,
        spec: &JobSpec,
        output: Option<&Path>,
        id: Option<&serde_json::Value>,
    ) -> Digest {
        let mut name = blake3::Hasher::new();
        add(&mut name, spec.kernel.as_bytes());
        for source in &spec.inputs {
            match source {
                Source::File(path) => add(&mut name, absolute(path).as_os_str().as_bytes()),
                Source::Bytes(_) => add(&mut name, b""),
            }
        }
        add(&mut name, output.map(absolute).unwrap_or_default().as_os_str().as_bytes());
        add(&mut name, id.map(ToString::to_string).unwrap_or_default().as_bytes());
        let digest = Digest::from(name.finalize());
        let before = if self.seen.insert(&digest.0) {
            0
        } else {
            let count = self.again.entry(digest).or_insert(0);
            *count += 1;
            *count
        };
        name.update(&before.to_le_bytes());
        name.finalize().into()
    }
}

/// What a job is done with.
pub(crate) fn with(spec: &JobSpec) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in spec.params.iter() {
        add(&mut hasher, name.as_bytes());
        add(&mut hasher, format!("{value:?}").as_bytes());
    }
    for source in &spec.inputs {
        match source {
            Source::Bytes(bytes) => add(&mut hasher, bytes),
            Source::File(path) => match digest_of_files(std::slice::from_ref(path)) {
                Ok(digest) => add(&mut hasher, digest.as_bytes()),
                // The job will fail of it, and tell.
                Err(error) => add(&mut hasher, error.to_string().as_bytes()),
            },
        }
    }
    hasher.finalize().into()
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
        hasher.update_reader(std::fs::File::open(path)?)?;
    }
    Ok(hasher.finalize())
}
