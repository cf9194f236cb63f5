//! Mappings of shared memory that has no name, see [`socket::memory`].
//!
//! A [`Mapping`] is writable. A [`View`] is read-only whatever this process does: the kernel
//! refuses to make it writable if the memory comes from [`Mapping::for_readers`].

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{Mode, OFlags, SealFlags, fcntl_add_seals, open};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::socket;

/// A range of mapped addresses. Dropping the value unmaps it.
struct Pages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: this is only an address and a length; its users decide who reads or writes there.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps a whole file.
    fn of(memory: &OwnedFd, access: ProtFlags) -> io::Result<Self> {
        let len = socket::file_len(memory).and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len > 0).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel chooses the address, so no other mapping is replaced.
        let base = unsafe { mmap(ptr::null_mut(), len, access, MapFlags::SHARED, memory, 0)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `of`, and references into it borrow its owner.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Shared memory that this process reads and writes.
pub struct Mapping(Pages);

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.0.len)
    }
}

impl Mapping {
    /// Maps a whole memory file, which must not get shorter: use one that [`socket::memory`] has
    /// made.
    ///
    /// # Errors
    /// When there is no address space or no memory for the mapping, or the memory is read-only or
    /// has no bytes.
    pub fn of(memory: &OwnedFd) -> io::Result<Self> {
        Pages::of(memory, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    /// Creates memory, all zero, and a descriptor of it for other processes. Other processes can
    /// read the memory; only this process can write it.
    ///
    /// Parts of the memory cannot be given back: the kernel refuses to punch holes into sealed
    /// memory. The kernel frees the memory when no process maps it or holds a descriptor of it any
    /// more.
    ///
    /// # Errors
    /// When there is no memory or no descriptor for it.
    pub fn for_readers(len: u64) -> io::Result<(Self, OwnedFd)> {
        Self::with_seal(len, SealFlags::FUTURE_WRITE)
    }

    fn with_seal(len: u64, against_writers: SealFlags) -> io::Result<(Self, OwnedFd)> {
        let memory = socket::unsealed_memory(len)?;
        // Map the memory before sealing it: the seal applies to all later mappings.
        let mapping = Self::of(&memory)?;
        match fcntl_add_seals(&memory, socket::FIXED_LENGTH | against_writers) {
            Ok(()) => Ok((mapping, memory)),
            // Linux before 5.1 does not know the seal. A descriptor that is opened for reading
            // gives only read-only mappings too. But a process of the same user that can use /proc
            // can reopen the memory for writing through that descriptor.
            Err(Errno::INVAL) => {
                fcntl_add_seals(&memory, socket::FIXED_LENGTH)?;
                let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                Ok((mapping, open(path, flags, Mode::empty())?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes, for reading and writing.
    ///
    /// # Safety
    /// Nobody, in any process, uses the bytes for the life of the reference.
    pub unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range is mapped for reading and writing while `self` lives; that nobody else
        // uses it is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.base.as_ptr(), self.0.len) }
    }
}

/// Shared memory that this process can only read.
pub struct View(Pages);

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes)", self.0.len)
    }
}

impl View {
    /// Maps a whole memory file, which must not get shorter.
    ///
    /// # Errors
    /// When there is no address space for the mapping, or the memory has no bytes.
    pub fn of(memory: &OwnedFd) -> io::Result<Self> {
        Pages::of(memory, ProtFlags::READ).map(Self)
    }

    /// Length of the memory in bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Always false: an empty mapping does not exist.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// A range of the bytes; `None` if the range is not within the memory. The process that writes
    /// the bytes must have said that they are complete. If it writes them again, the caller reads
    /// garbled bytes.
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        let len = range.end.checked_sub(range.start)?;
        if range.end > self.0.len {
            return None;
        }
        // SAFETY: the range lies in the mapping, which lives as long as `self`; nothing in this
        // process can write it, and the writer leaves it alone, as said above.
        Some(unsafe { std::slice::from_raw_parts(self.0.base.add(range.start).as_ptr(), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::attempts;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn write(mapping: &mut Mapping, bytes: &[u8]) {
        // SAFETY: nothing else in this test uses the bytes meanwhile.
        unsafe { mapping.bytes_mut()[..bytes.len()].copy_from_slice(bytes) };
    }

    #[test]
    fn what_one_writes_the_other_reads() {
        let memory = socket::memory(10_000).unwrap();
        let mut mapping = Mapping::of(&memory).unwrap();
        let view = View::of(&memory).unwrap();
        assert_eq!(view.len(), 10_000);
        write(&mut mapping, b"eggs");
        assert_eq!(view.get(0..5).unwrap(), b"eggs\0");
        assert!(
            view.get(9_999..10_001).is_none() && view.get(usize::MAX - 1..usize::MAX).is_none()
        );
        assert_eq!(view.get(10_000..10_000).unwrap(), b"");
        assert!(Mapping::of(&socket::unsealed_memory(0).unwrap()).is_err(), "of nothing");
    }

    #[test]
    fn readers_cannot_write_whatever_they_do() {
        let (mut mapping, memory) = Mapping::for_readers(8192).unwrap();
        write(&mut mapping, b"eggs");
        let view = View::of(&memory).unwrap();
        assert!(Mapping::of(&memory).is_err(), "a writable mapping of it");
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        if let Ok(again) = File::options().read(true).write(true).open(path) {
            assert!(again.write_all_at(b"ham", 0).is_err(), "a write to it");
            assert!(again.set_len(0).is_err(), "it can be shortened");
            assert!(Mapping::of(&again.into()).is_err(), "a writable mapping once opened again");
        }
        let bytes = view.get(0..8192).unwrap();
        assert!(attempts::unprotect(bytes).is_err(), "the view can be made writable");
        assert!(attempts::write_through_proc(bytes, b"ham").is_err(), "written through /proc");
        assert_eq!(&bytes[..4], b"eggs");
        // The owner can still write.
        write(&mut mapping, b"spam");
        assert_eq!(view.get(0..4).unwrap(), b"spam");
    }

    #[test]
    fn without_the_seal_the_descriptor_is_for_reading() {
        // A seal that no kernel knows.
        let (mut mapping, memory) =
            Mapping::with_seal(8192, SealFlags::from_bits_retain(1 << 30)).unwrap();
        write(&mut mapping, b"eggs");
        let view = View::of(&memory).unwrap();
        let bytes = view.get(0..4).unwrap();
        assert!(Mapping::of(&memory).is_err(), "a writable mapping of it");
        assert!(attempts::unprotect(view.get(0..8192).unwrap()).is_err());
        assert!(attempts::write_through_proc(bytes, b"ham").is_err());
        assert_eq!(bytes, b"eggs");
    }
}
