//! Reading inputs. Every backend reads when the job is assigned to a worker, so
//! that a long queue holds names, not bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use brigade_ipc::{Carriage, Payload, Region};
use brigade_proto::{Buffer, JobError, Source, limits};

/// Memory that a file is read into.
pub(crate) trait Target: Sized {
    /// `len` bytes; `None` when they cannot be had.
    fn of(len: usize) -> Option<Self>;
    fn bytes_mut(&mut self) -> &mut [u8];
    fn truncate(&mut self, len: usize);
}

impl Target for Buffer {
    fn of(len: usize) -> Option<Self> {
        Self::try_zeroed(len)
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl Target for Region {
    fn of(len: usize) -> Option<Self> {
        Self::zeroed(len)
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// The bytes of all inputs of a job on the heap.
pub(crate) fn load(inputs: &[Source]) -> Result<Vec<Arc<Buffer>>, JobError> {
    inputs
        .iter()
        .map(|source| match source {
            Source::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Source::File(path) => read(path).map(Arc::new).map_err(|error| unread(path, &error)),
        })
        .collect()
}

/// The bytes of an input on their way to a worker process, and how many they are.
pub(crate) fn payload(source: &Source, carriage: Carriage) -> Result<(Payload, u64), JobError> {
    let in_memory = |bytes: Arc<Buffer>| {
        let len = bytes.len() as u64;
        (Payload::Bytes(bytes), len)
    };
    match (source, carriage) {
        (Source::Bytes(bytes), _) => Ok(in_memory(Arc::clone(bytes))),
        (Source::File(path), Carriage::Inline) => {
            let bytes: Buffer = read(path).map_err(|error| unread(path, &error))?;
            Ok(in_memory(Arc::new(bytes)))
        }
        (Source::File(path), Carriage::Shared) => {
            let mut region: Region = read(path).map_err(|error| unread(path, &error))?;
            match region.bytes_mut().len() as u64 {
                // There is no mapping of no bytes, so nothing that is aligned.
                0 => Ok(in_memory(Arc::default())),
                len => Ok((Payload::Region(region), len)),
            }
        }
    }
}

fn unread(path: &Path, error: &io::Error) -> JobError {
    JobError::Read { path: path.to_owned(), message: error.to_string() }
}

fn read<T: Target>(path: &Path) -> io::Result<T> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let make = |len: u64| {
        usize::try_from(len)
            .ok()
            .filter(|_| len <= limits::MAX_BUFFER_BYTES)
            .and_then(T::of)
            .ok_or_else(|| io::Error::other(format!("no memory for its {len} bytes")))
    };
    if !metadata.is_file() {
        // A pipe or device has no length to go by.
        let mut bytes = Vec::new();
        file.take(limits::MAX_BUFFER_BYTES + 1).read_to_end(&mut bytes)?;
        let mut target = make(bytes.len() as u64)?;
        target.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
        return Ok(target);
    }
    let mut target = make(metadata.len())?;
    let mut filled = 0;
    while let room = &mut target.bytes_mut()[filled..]
        && !room.is_empty()
    {
        match file.read(room) {
            // Somebody shortened the file while it was read.
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    target.truncate(filled);
    Ok(target)
}

/// Bytes of all inputs together.
pub(crate) fn total(inputs: &[Arc<Buffer>]) -> u64 {
    inputs.iter().map(|input| input.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_devices_are_read_whole_and_directories_refused() {
        let own = std::env::current_exe().unwrap();
        let expected = std::fs::read(&own).unwrap();
        assert_eq!(read::<Buffer>(&own).unwrap()[..], expected[..]);
        assert_eq!(read::<Region>(&own).unwrap().bytes_mut(), expected);
        assert_eq!(read::<Buffer>(Path::new("/dev/null")).unwrap().len(), 0);
        // Says that it is empty and is not.
        assert_eq!(read::<Buffer>(Path::new("/proc/self/stat")).unwrap().len(), 0);
        assert!(read::<Buffer>(Path::new("/")).is_err());
        assert!(read::<Buffer>(Path::new("/nowhere")).is_err());
    }
}
