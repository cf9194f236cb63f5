//! Reading inputs. Every backend reads when the job is assigned to a worker, so
//! that a long queue holds names, not bytes.

use std::fs::File;
use std::io::{self, Read};
use std::ops::DerefMut;
use std::path::Path;
use std::sync::Arc;

use brigade_ipc::{Arena, ArenaSlab, Carriage, Payload, Region};
use brigade_proto::{Buffer, Bytes, JobError, Source, limits};

/// Memory that a file is read into.
pub(crate) trait Target: DerefMut<Target = [u8]> {
    fn truncate(&mut self, len: usize);
}

impl Target for Buffer {
    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl Target for Region {
    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl Target for ArenaSlab {
    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// The bytes of all inputs of a job on the heap.
pub(crate) fn load(inputs: &[Source]) -> Result<Vec<Bytes>, JobError> {
    inputs
        .iter()
        .map(|source| match source {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File(path) => {
                read(path, Buffer::try_zeroed).map(Bytes::from).map_err(|e| unread(path, &e))
            }
        })
        .collect()
}

/// The bytes of an input on their way to a worker process, and how many they are.
pub(crate) fn payload(source: &Source, carriage: Carriage) -> Result<(Payload, u64), JobError> {
    let in_memory = |bytes: Bytes| {
        let len = bytes.len() as u64;
        (Payload::Bytes(bytes), len)
    };
    match (source, carriage) {
        (Source::Bytes(bytes), _) => Ok(in_memory(bytes.clone())),
        (Source::File(path), Carriage::Inline) => {
            let bytes = read(path, Buffer::try_zeroed).map_err(|error| unread(path, &error))?;
            Ok(in_memory(bytes.into()))
        }
        (Source::File(path), Carriage::Shared) => {
            let region = read(path, Region::zeroed).map_err(|error| unread(path, &error))?;
            match region.len() as u64 {
                // There is no mapping of no bytes, so nothing that is aligned.
                0 => Ok(in_memory(Bytes::default())),
                len => Ok((Payload::Region(region), len)),
            }
        }
    }
}

/// Inputs up to this many bytes travel in the order itself.
pub(crate) const TINY: usize = 128;

/// The bytes of an input where an order can name them: tiny, or in the arena.
/// `None` when the arena is full.
pub(crate) fn place(source: &Source, arena: &Arena) -> Result<Option<Bytes>, JobError> {
    match source {
        Source::Bytes(bytes) if is_placed(bytes, arena) => Ok(Some(bytes.clone())),
        Source::Bytes(bytes) => Ok(arena.take(bytes.len()).map(|mut slab| {
            slab.copy_from_slice(bytes);
            Bytes::lent(Arc::new(slab))
        })),
        Source::File(path) => {
            let full = std::cell::Cell::new(false);
            let slab = read(path, |len| {
                let slab = arena.take(len);
                full.set(slab.is_none());
                slab
            });
            match slab {
                Ok(slab) => Ok(Some(Bytes::lent(Arc::new(slab)))),
                Err(_) if full.get() => Ok(None),
                Err(error) => Err(unread(path, &error)),
            }
        }
    }
}

/// Whether an order can name bytes where they are.
pub(crate) fn is_placed(bytes: &Bytes, arena: &Arena) -> bool {
    bytes.len() <= TINY || arena.place(bytes).is_some()
}

fn unread(path: &Path, error: &io::Error) -> JobError {
    JobError::Read { path: path.to_owned(), message: error.to_string() }
}

fn read<T: Target>(path: &Path, take: impl Fn(usize) -> Option<T>) -> io::Result<T> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let make = |len: u64| {
        usize::try_from(len)
            .ok()
            .filter(|_| len <= limits::MAX_BUFFER_BYTES)
            .and_then(&take)
            .ok_or_else(|| io::Error::other(format!("no memory for its {len} bytes")))
    };
    if !metadata.is_file() {
        // A pipe or device has no length to go by.
        let mut bytes = Vec::new();
        file.take(limits::MAX_BUFFER_BYTES + 1).read_to_end(&mut bytes)?;
        let mut target = make(bytes.len() as u64)?;
        target[..bytes.len()].copy_from_slice(&bytes);
        return Ok(target);
    }
    let mut target = make(metadata.len())?;
    let mut filled = 0;
    while let room = &mut target[filled..]
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
pub(crate) fn total(inputs: &[Bytes]) -> u64 {
    inputs.iter().map(|input| input.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_devices_are_read_whole_and_directories_refused() {
        let own = std::env::current_exe().unwrap();
        let expected = std::fs::read(&own).unwrap();
        let read = |path: &str| read(Path::new(path), Buffer::try_zeroed);
        assert_eq!(read(own.to_str().unwrap()).unwrap()[..], expected[..]);
        assert_eq!(read("/dev/null").unwrap().len(), 0);
        // Says that it is empty and is not.
        assert_eq!(read("/proc/self/stat").unwrap().len(), 0);
        assert!(read("/").is_err());
        assert!(read("/nowhere").is_err());
    }

    #[test]
    fn what_does_not_fit_the_arena_is_not_placed() {
        let own = std::env::current_exe().unwrap();
        let arena = Arena::new(brigade_ipc::Budget::new(Some(4 << 20), || 0));
        assert!(std::fs::metadata(&own).unwrap().len() > 4 << 20);
        assert!(place(&own.into(), &arena).unwrap().is_none());
        assert!(place(&Source::File("/nowhere".into()), &arena).is_err());
        let bytes = Bytes::from(&[7; 1000][..]);
        let placed = place(&bytes.clone().into(), &arena).unwrap().unwrap();
        assert_eq!(placed, bytes);
        assert!(is_placed(&placed, &arena) && !is_placed(&bytes, &arena));
    }
}
