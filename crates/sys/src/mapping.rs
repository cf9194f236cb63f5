//! Mappings of shared memory that has no name, see [`socket::memory`].
//!
//! A [`Mapping`] can be written. A [`View`] can only be read, whatever the process does: the
//! kernel refuses to make it writable where the memory comes from [`Mapping::for_readers`].

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{Mode, OFlags, SealFlags, fcntl_add_seals, open};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::socket;

/// A range of addresses that is unmapped when this is dropped.
struct Pages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: this is only an address and a length; who reads or writes there is up to its users.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps all of a file.
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
    /// All of some memory, which must not get shorter: use what [`socket::memory`] has made.
    ///
    /// # Errors
    /// When there is no address space or no memory for it, when it may only be read, or when it has
    /// no bytes.
    pub fn of(memory: &OwnedFd) -> io::Result<Self> {
        Pages::of(memory, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    /// New memory, all zero, and a descriptor of it for other processes. They can read it, and no
    /// process but this one can write it.
    ///
    /// The memory cannot be given back in parts: the kernel refuses to punch holes into what is
    /// sealed. It goes when all that have mapped it have unmapped it.
    ///
    /// # Errors
    /// When there is no memory or no descriptor for it.
    pub fn for_readers(len: u64) -> io::Result<(Self, OwnedFd)> {
        Self::with_seal(len, SealFlags::FUTURE_WRITE)
    }

    fn with_seal(len: u64, against_writers: SealFlags) -> io::Result<(Self, OwnedFd)> {
        let memory = socket::unsealed_memory(len)?;
        // Before the seal, which is for all mappings from then on.
        let mapping = Self::of(&memory)?;
        match fcntl_add_seals(&memory, socket::FIXED_LENGTH | against_writers) {
            Ok(()) => Ok((mapping, memory)),
            // Linux before 5.1 does not know the seal. A descriptor that was opened for reading
            // gives read-only mappings as well; but a process of the same user that may use
            // /proc can open the memory once more from it, for writing.
            Err(Errno::INVAL) => {
                fcntl_add_seals(&memory, socket::FIXED_LENGTH)?;
                let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                Ok((mapping, open(path, flags, Mode::empty())?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes.
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
    /// All of some memory, which must not get shorter.
    ///
    /// # Errors
    /// When there is no address space for it, or it has no bytes.
    pub fn of(memory: &OwnedFd) -> io::Result<Self> {
        Pages::of(memory, ProtFlags::READ).map(Self)
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Never: there is no mapping of nothing.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Some of the bytes; `None` if they are not all there. The process that writes them has said
    /// that they are complete; if it writes them again, what is read here is garbled.
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
        // Its owner still writes.
        write(&mut mapping, b"spam");
        assert_eq!(view.get(0..4).unwrap(), b"spam");
    }

    #[test]
    fn without_the_seal_the_descriptor_is_for_reading() {
        // A flag that no kernel knows.
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
