//! The result of a job, as one or more drafts: all of them get their names, or none.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use brigade_proto::Bytes;

use super::{Draft, Finished, Placed, Replace, TargetKind, look};

/// An error, and the file that it concerns.
pub(crate) type FileError = (PathBuf, io::Error);

/// The files of a result, which are not in their places yet.
#[derive(Default)]
pub(crate) struct Drafts(Vec<Draft>);

impl Drafts {
    /// Writes one output to a draft for `path`; several get their number before the extension.
    /// Returns the drafts and the digest of their contents.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) fn write(
        path: &Path,
        outputs: &[Bytes],
        replace: Replace,
    ) -> Result<(Self, String), FileError> {
        let mut drafts = Vec::with_capacity(outputs.len());
        let mut hasher = blake3::Hasher::new();
        if outputs.len() > 1 && look(path).is_ok_and(|found| found == TargetKind::Special) {
            let several = io::Error::other("it is no file, and the result is several files");
            return Err((path.to_owned(), several));
        }
        for (index, output) in outputs.iter().enumerate() {
            let path = if outputs.len() == 1 { path.to_owned() } else { numbered(path, index) };
            let draft = Draft::of(&path, replace).and_then(|mut draft| {
                copy(output, &mut hasher, &mut draft)?;
                draft.flush()?;
                Ok(draft)
            });
            drafts.push(draft.map_err(|error| (path, error))?);
        }
        Ok((Self(drafts), hasher.finalize().to_string()))
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|draft| draft.path().to_owned()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes the kernel begin to write the files to the disk.
    pub(crate) fn start_writeback(&self) {
        for draft in &self.0 {
            draft.start_writeback();
        }
    }

    /// Calls [`Draft::finish`] for each.
    ///
    /// # Errors
    /// When one fails.
    pub(crate) fn finish(self) -> Result<FinishedDrafts, FileError> {
        let finished = self.0.into_iter().map(|draft| {
            let path = draft.path().to_owned();
            draft.finish().map_err(|error| (path, error))
        });
        Ok(FinishedDrafts(finished.collect::<Result<_, _>>()?))
    }
}

/// The complete files of a result, which are not in their places yet.
#[derive(Default)]
pub(crate) struct FinishedDrafts(Vec<Finished>);

impl FinishedDrafts {
    pub(crate) fn each(&self) -> impl Iterator<Item = &Finished> {
        self.0.iter()
    }

    /// Gives the files their names: all, or none.
    ///
    /// # Errors
    /// When one cannot get its name.
    pub(crate) fn publish(mut self) -> Result<(), FileError> {
        if self.0.len() == 1
            && let Some(only) = self.0.pop()
        {
            let path = only.path().to_owned();
            return only.publish().map_err(|error| (path, error));
        }
        let mut placed = Vec::new();
        for finished in self.0 {
            let path = finished.path().to_owned();
            match finished.place() {
                Ok(done) => placed.push(done),
                Err(error) => {
                    placed.into_iter().for_each(Placed::undo);
                    return Err((path, error));
                }
            }
        }
        Ok(())
    }
}

/// Whether a file of another program has kept a result from its place.
pub(crate) fn is_taken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AlreadyExists
}

/// Digests exactly the bytes that it writes. A compromised worker may change its result meanwhile,
/// so each byte is read once, into this process's own memory.
fn copy(from: &[u8], hasher: &mut blake3::Hasher, to: &mut impl Write) -> io::Result<()> {
    let mut own = vec![0; from.len().min(CHUNK)];
    for chunk in from.chunks(CHUNK) {
        let own = &mut own[..chunk.len()];
        own.copy_from_slice(chunk);
        // Prevents the compiler from reading the source again instead.
        let own = std::hint::black_box(&*own);
        hasher.update(own);
        to.write_all(own)?;
    }
    Ok(())
}

/// Bytes that are copied at a time: they stay in the cache.
const CHUNK: usize = 64 << 10;

/// Puts a number before the extension: `dir/a.npy` -> `dir/a.0.npy`.
pub(crate) fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use brigade_proto::{Buffer, BufferOwner};

    use super::*;

    #[test]
    fn several_outputs_are_numbered_and_written_all_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let outputs = [Bytes::from(&b"0"[..]), Bytes::from(&b"1"[..])];
        let (drafts, written_digest) = Drafts::write(&path, &outputs, Replace::Never).unwrap();
        assert_eq!(written_digest, blake3::hash(b"01").to_string());
        let written = drafts.paths();
        assert_eq!(written, [dir.path().join("a.0.npy"), dir.path().join("a.1.npy")]);
        assert!(!written[0].exists(), "not yet");
        drafts.finish().unwrap().publish().unwrap();
        std::fs::remove_file(&written[0]).unwrap();
        let (drafts, _) = Drafts::write(&path, &outputs, Replace::Never).unwrap();
        let (failed, _) = drafts.finish().err().unwrap();
        assert_eq!(failed, written[1]);
        assert!(!written[0].exists());
        // A file that appears after the drafts are finished.
        std::fs::remove_file(&written[1]).unwrap();
        let (drafts, _) = Drafts::write(&path, &outputs, Replace::Never).unwrap();
        let finished = drafts.finish().unwrap();
        std::fs::write(&written[1], "mine").unwrap();
        let (failed, error) = finished.publish().unwrap_err();
        assert_eq!((failed, is_taken(&error)), (written[1].clone(), true));
        assert!(!written[0].exists());
    }

    #[test]
    fn what_cannot_be_replaced_as_a_whole_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let (first, second) = (dir.path().join("a.0.npy"), dir.path().join("a.1.npy"));
        let new = [Bytes::from(&b"new"[..]), Bytes::from(&b"new"[..])];
        std::fs::write(&first, "old").unwrap();
        let (drafts, _) = Drafts::write(&path, &new, Replace::Always).unwrap();
        // A directory that is not empty: no file can replace it, as if the disk were full.
        std::fs::create_dir(&second).unwrap();
        std::fs::write(second.join("x"), "").unwrap();
        let (failed, _) = drafts.finish().unwrap().publish().unwrap_err();
        assert_eq!(failed, second);
        assert_eq!(std::fs::read(&first).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }

    /// The bytes are different each time they are read.
    #[test]
    fn the_digest_is_that_of_the_bytes_that_are_written() {
        struct Shifty([Buffer; 2], AtomicUsize);
        impl BufferOwner for Shifty {
            fn bytes(&self) -> &[u8] {
                &self.0[self.1.fetch_add(1, Ordering::Relaxed) % 2]
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let fill = |byte: u8| Buffer::from(&vec![byte; 3 * CHUNK / 2][..]);
        let output = Bytes::from_owner(Arc::new(Shifty([fill(1), fill(2)], AtomicUsize::new(0))));
        let (drafts, digest) = Drafts::write(&path, &[output], Replace::Never).unwrap();
        drafts.finish().unwrap().publish().unwrap();
        assert_eq!(digest, blake3::hash(&std::fs::read(&path).unwrap()).to_string());
    }
}
