//! Reads inputs. Every backend reads them when the job is assigned to a worker, so a long queue
//! holds file names and not file contents.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::ops::DerefMut;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brigade_ipc::{Arena, ArenaSlab, Carriage, Payload, Region};
use brigade_proto::{Buffer, Bytes, JobError, Source, limits};
use brigade_sys::confine::Readable;
use brigade_sys::{clock, patient, shortage};

use crate::stall::{Frozen, Stopwatch};

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

/// Which inputs may be read, and when reading is given up. Reading the inputs of a job may take as
/// long as its kernel may run (`--timeout`). The two are counted separately, so a late input takes
/// nothing from the kernel's time.
pub(crate) struct Limit<'a> {
    /// Covers all inputs of the job together.
    end: Option<(Stopwatch<'a>, Duration)>,
    is_stopped: &'a dyn Fn() -> bool,
    readable: &'a Readable,
    /// Receives a digest of each file that is read; `None` if not asked for.
    digests: Option<&'a RefCell<Vec<[u8; 32]>>>,
}

impl<'a> Limit<'a> {
    pub(crate) fn begin(
        timeout: Option<Duration>,
        is_stopped: &'a dyn Fn() -> bool,
        frozen: Frozen<'a>,
        readable: &'a Readable,
    ) -> Self {
        let end = timeout.map(|timeout| (Stopwatch::start(clock::now(), frozen), timeout));
        Self { end, is_stopped, readable, digests: None }
    }

    /// Also records a digest of each file. It covers the bytes that are read, because the file may
    /// have other contents before and after that.
    pub(crate) fn digesting(self, digests: &'a RefCell<Vec<[u8; 32]>>) -> Self {
        Self { digests: Some(digests), ..self }
    }

    fn saw(&self, bytes: &[u8]) {
        if let Some(digests) = self.digests {
            digests.borrow_mut().push(blake3::hash(bytes).into());
        }
    }

    /// Why the read has to be given up: the job is stopped, or its time is over.
    fn over(&self, path: &Path) -> Option<JobError> {
        if (self.is_stopped)() {
            return Some(JobError::Cancelled);
        }
        let (begin, after) = self.end.as_ref()?;
        let is_over = begin.is_over(clock::now(), *after);
        is_over.then(|| JobError::InputTimedOut { path: path.to_owned(), after: *after })
    }
}

/// The bytes of all inputs of a job. Files are read onto the heap.
pub(crate) fn load(inputs: &[Source], limit: &Limit<'_>) -> Result<Vec<Bytes>, JobError> {
    inputs
        .iter()
        .map(|source| match source {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File(path) => read(path, limit, Buffer::try_zeroed).map(Bytes::from),
        })
        .collect()
}

/// An input as the payload of a message to a worker process, and its size in bytes.
pub(crate) fn payload(
    source: &Source,
    carriage: Carriage,
    limit: &Limit<'_>,
) -> Result<(Payload, u64), JobError> {
    let in_memory = |bytes: Bytes| {
        let len = bytes.len() as u64;
        (Payload::Bytes(bytes), len)
    };
    match (source, carriage) {
        (Source::Bytes(bytes), _) => Ok(in_memory(bytes.clone())),
        (Source::File(path), Carriage::Inline) => {
            Ok(in_memory(read(path, limit, Buffer::try_zeroed)?.into()))
        }
        (Source::File(path), Carriage::Shared) => {
            // `Region::zeroed` checks how much memory is free before it takes it. Without the lock
            // two threads would count the same free memory.
            static ONE_BY_ONE: Mutex<()> = Mutex::new(());
            let region = read(path, limit, |len| {
                let _others_wait = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
                Region::zeroed(len)
            })?;
            match region.len() as u64 {
                // mmap cannot map zero bytes, so an empty region has no aligned address.
                0 => Ok(in_memory(Bytes::default())),
                len => Ok((Payload::Region(region), len)),
            }
        }
    }
}

/// Inputs up to this many bytes travel in the request itself.
pub(crate) const TINY: usize = 128;

/// Puts an input where a request can refer to it. A tiny input in memory stays where it is; any
/// other goes into the arena. `None` if the arena is full.
pub(crate) fn place(
    source: &Source,
    arena: &Arena,
    limit: &Limit<'_>,
) -> Result<Option<Bytes>, JobError> {
    match source {
        Source::Bytes(bytes) if is_placed(bytes, arena) => Ok(Some(bytes.clone())),
        Source::Bytes(bytes) => Ok(arena.take(bytes.len()).map(|mut slab| {
            slab.copy_from_slice(bytes);
            Bytes::from_owner(Arc::new(slab))
        })),
        Source::File(path) => {
            let full = std::cell::Cell::new(false);
            let slab = read(path, limit, |len| {
                let slab = arena.take(len);
                full.set(slab.is_none());
                slab
            });
            match slab {
                Ok(slab) => Ok(Some(Bytes::from_owner(Arc::new(slab)))),
                Err(_) if full.get() => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}

/// Whether a request can refer to the bytes where they are.
pub(crate) fn is_placed(bytes: &Bytes, arena: &Arena) -> bool {
    bytes.len() <= TINY || arena.location(bytes).is_some()
}

/// Most bytes of an input whose length is unknown (a pipe, a device). `/dev/zero` never ends and
/// would fill the memory. Longer output of a program is better stored in a file first.
const LONGEST_STREAM: usize = 1 << 30;

fn no_memory(path: &Path, len: u64) -> JobError {
    let why = shortage::of_shared_memory(len);
    let message = format!("cannot read {}: no memory for its {len} bytes: {why}", path.display());
    JobError::Shortage { bytes: len, message }
}

fn read<T: Target>(
    path: &Path,
    limit: &Limit<'_>,
    take: impl Fn(usize) -> Option<T>,
) -> Result<T, JobError> {
    let unread =
        |error: io::Error| JobError::Read { path: path.to_owned(), message: error.to_string() };
    let file = loop {
        // Open without blocking. A blocking open of a pipe without a writer waits for one, and
        // nothing could interrupt it.
        match limit.readable.open(path) {
            Ok(file) => break file,
            // Another program holds a lease on the file. The operating system has asked it to give
            // the lease up.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                limit.over(path).map_or(Ok(()), Err)?;
                std::thread::sleep(patient::LOOK);
            }
            Err(error) => return Err(unread(error)),
        }
    };
    let metadata = file.metadata().map_err(unread)?;
    if metadata.is_dir() {
        return Err(unread(io::ErrorKind::IsADirectory.into()));
    }
    let make = |len: u64| {
        usize::try_from(len)
            .ok()
            .filter(|_| len <= limits::MAX_BUFFER_BYTES)
            .and_then(&take)
            .ok_or_else(|| no_memory(path, len))
    };
    if !metadata.is_file() {
        // A pipe or device does not know its length.
        let bytes = stream(path, file, limit, LONGEST_STREAM)?;
        let mut target = make(bytes.len() as u64)?;
        target[..bytes.len()].copy_from_slice(&bytes);
        limit.saw(&bytes);
        return Ok(target);
    }
    let mut file = file;
    let mut target = make(metadata.len())?;
    let mut filled = 0;
    while let room = &mut target[filled..]
        && !room.is_empty()
    {
        match file.read(room) {
            // The file was truncated while it was read.
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
    target.truncate(filled);
    limit.saw(&target);
    Ok(target)
}

/// Reads a pipe or device to its end.
fn stream(
    path: &Path,
    mut file: File,
    limit: &Limit<'_>,
    longest: usize,
) -> Result<Vec<u8>, JobError> {
    let unread = |message: String| JobError::Read { path: path.to_owned(), message };
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        // Wait until the pipe is readable. Before its first writer opens it, a read returns 0,
        // which looks like the end.
        while !patient::is_readable(&file).map_err(|error| unread(error.to_string()))? {
            limit.over(path).map_or(Ok(()), Err)?;
        }
        // Check the limit even if the input always has data, like `/dev/zero`.
        limit.over(path).map_or(Ok(()), Err)?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) if n > longest - bytes.len() => {
                return Err(unread(format!(
                    "it is no regular file, and gives more than {} MiB; store that in a file",
                    longest >> 20
                )));
            }
            Ok(n) => {
                bytes.try_reserve(n).map_err(|error| unread(error.to_string()))?;
                bytes.extend_from_slice(&buffer[..n]);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                _ => return Err(unread(error.to_string())),
            },
        }
    }
}

/// Never gives up a read. For inputs in memory, which are not read.
pub(crate) const NEVER: Limit<'static> =
    Limit { end: None, is_stopped: &|| false, readable: &Readable::Any, digests: None };

/// Total size of the inputs, in bytes.
pub(crate) fn total(inputs: &[Bytes]) -> u64 {
    inputs.iter().map(|input| input.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode};
    use std::io::Write;
    use std::path::PathBuf;

    fn fifo(directory: &tempfile::TempDir) -> PathBuf {
        let path = directory.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        path
    }

    #[test]
    fn a_pipe_is_waited_for_until_it_has_a_writer_and_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                // Open the pipe after the reader has found no writer.
                std::thread::sleep(patient::LOOK);
                let mut pipe = File::options().write(true).open(path).unwrap();
                pipe.write_all(b"one ").unwrap();
                std::thread::sleep(patient::LOOK * 2);
                pipe.write_all(&[b'x'; 200_000]).unwrap();
            }
        });
        let bytes = read(&path, &NEVER, Buffer::try_zeroed).unwrap();
        writer.join().unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (200_004, &b"one x"[..]));
    }

    #[test]
    fn a_pipe_without_a_writer_is_given_up_when_the_job_is_stopped_or_out_of_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        let after = Duration::from_millis(10);
        let limit = Limit::begin(Some(after), &|| false, &|_| 0, &Readable::Any);
        let timed_out = JobError::InputTimedOut { path: path.clone(), after };
        assert_eq!(load(&[path.clone().into()], &limit).unwrap_err(), timed_out);
        let looks = std::cell::Cell::new(0);
        let is_stopped = || looks.replace(looks.get() + 1) == 2;
        let limit = Limit::begin(None, &is_stopped, &|_| 0, &Readable::Any);
        assert_eq!(load(&[path.into()], &limit).unwrap_err(), JobError::Cancelled);
    }

    #[test]
    fn a_pipe_is_refused_at_once_where_regular_files_alone_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = fifo(&directory);
        let limit = Limit { readable: &Readable::Regular, ..NEVER };
        let error = load(&[path.into()], &limit).unwrap_err();
        assert!(error.to_string().contains("it is a pipe"), "{error}");
    }

    #[test]
    fn what_has_no_end_is_not_read_until_the_memory_is_gone() {
        let path = Path::new("/dev/zero");
        let error = stream(path, patient::open(path).unwrap(), &NEVER, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("more than 1 MiB"), "{error}");
    }

    #[test]
    fn files_and_devices_are_read_whole_and_directories_refused() {
        let own = std::env::current_exe().unwrap();
        let expected = std::fs::read(&own).unwrap();
        let read = |path: &str| read(Path::new(path), &NEVER, Buffer::try_zeroed);
        assert_eq!(read(own.to_str().unwrap()).unwrap()[..], expected[..]);
        assert_eq!(read("/dev/null").unwrap().len(), 0);
        // This file reports a length of 0 but has contents.
        assert_eq!(read("/proc/self/stat").unwrap().len(), 0);
        assert!(read("/").is_err());
        assert!(read("/nowhere").is_err());
    }

    #[test]
    fn what_does_not_fit_the_arena_is_not_placed() {
        let own = std::env::current_exe().unwrap();
        let arena = Arena::new(brigade_ipc::Budget::new(Some(4 << 20), || 0));
        assert!(std::fs::metadata(&own).unwrap().len() > 4 << 20);
        assert!(place(&own.into(), &arena, &NEVER).unwrap().is_none());
        assert!(place(&Source::File("/nowhere".into()), &arena, &NEVER).is_err());
        let bytes = Bytes::from(&[7; 1000][..]);
        let placed = place(&bytes.clone().into(), &arena, &NEVER).unwrap().unwrap();
        assert_eq!(placed, bytes);
        assert!(is_placed(&placed, &arena) && !is_placed(&bytes, &arena));
    }

    #[test]
    fn digests_are_of_the_bytes_that_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        std::fs::write(&path, "first").unwrap();
        let digests = RefCell::new(Vec::new());
        let limit =
            Limit::begin(None, &|| false, &crate::stall::here, &Readable::Any).digesting(&digests);
        let inputs = [path.clone().into(), Source::from(&b"in memory"[..]), path.clone().into()];
        load(&inputs[..1], &limit).unwrap();
        std::fs::write(&path, "second").unwrap();
        load(&inputs[1..], &limit).unwrap();
        let expected = [&b"first"[..], b"second"].map(|bytes| *blake3::hash(bytes).as_bytes());
        assert_eq!(digests.take(), expected);
    }
}
