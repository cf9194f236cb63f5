//! Creates and maps shared memory. ipc-channel panics when memfd, mmap or dup fails, and a process
//! dies when it touches a page that the kernel cannot provide.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use brigade_sys::mapping::Mapping;
use brigade_sys::{limits, shortage, socket};
use ipc_channel::ipc::IpcSharedMemory;

/// A region of `len` zero bytes. `None` when memory or a descriptor is lacking;
/// [`shortage::of_shared_memory`] says which.
pub(crate) fn zeroed(len: usize) -> Option<IpcSharedMemory> {
    shortage::has_room(len as u64).then(|| caught(|| IpcSharedMemory::from_byte(0, len)))?
}

/// Memory of `len` zero bytes that two processes write. It is sealed: a worker that shortened it
/// would kill the coordinator with SIGBUS. ipc-channel does not seal its own memory.
///
/// # Panics
/// When `len` is 0: empty memory cannot be mapped.
pub(crate) fn file(len: usize) -> Option<OwnedFd> {
    assert_ne!(len, 0, "memory of no bytes");
    shortage::has_room(len as u64).then(|| socket::memory(len as u64).ok())?
}

/// Like [`file`], but this process writes the memory and other processes can only read it.
pub(crate) fn for_readers(len: usize) -> Option<(Mapping, OwnedFd)> {
    shortage::has_room(len as u64).then(|| Mapping::for_readers(len as u64).ok())?
}

/// A region with a copy of `bytes`. `None` as for [`zeroed`].
pub(crate) fn copy_of(bytes: &[u8]) -> Option<IpcSharedMemory> {
    shortage::has_room(bytes.len() as u64).then(|| caught(|| IpcSharedMemory::from_bytes(bytes)))?
}

/// Whether the heap has room for `bytes` more bytes: ipc-channel aborts when it has none. Another
/// thread may take the room before this thread does.
pub(crate) fn has_heap(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

thread_local! {
    /// Whether this thread is inside [`caught`], which turns a panic into `None`.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Calls a function that panics where it should return an error. The caller reports the failure.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    EXPECTED.set(true);
    // Unwinding drops what the call was creating.
    let made = catch_unwind(AssertUnwindSafe(|| limits::with_large_files(call)));
    EXPECTED.set(false);
    made.ok()
}

/// Installs a panic hook that keeps panics from being printed which this crate expects and reports as
/// errors: some functions of ipc-channel panic where memory or a descriptor is lacking. It passes all
/// other panics to the previous hook. Installed once, whatever the number of calls.
pub fn hide_expected_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A thread that is exiting may have lost the flag; it expects no panic.
            if !EXPECTED.try_with(Cell::get).unwrap_or(false) {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_shorten_what_is_shared() {
        let (_mapping, inputs) = for_readers(4096).unwrap();
        for memory in [file(4096).unwrap(), inputs] {
            let memory = std::fs::File::from(memory);
            assert!(memory.set_len(0).is_err() && memory.set_len(8192).is_err());
        }
    }

    #[test]
    fn what_cannot_be_had_is_none() {
        assert_eq!(zeroed(100).unwrap().len(), 100);
        assert!(zeroed(usize::MAX).is_none());
        // More than any address space holds, but not more than a caller may request.
        assert!(caught(|| IpcSharedMemory::from_byte(0, 1 << 62)).is_none());
        assert!(!EXPECTED.get());
    }
}
