//! Making and mapping shared memory. ipc-channel panics where memfd, mmap or dup fail,
//! and a page that cannot be had ends whoever touches it.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use brigade_sys::mapping::Mapping;
use brigade_sys::{limits, shortage, socket};
use ipc_channel::ipc::IpcSharedMemory;

/// A region of `len` bytes, all zero. `None` when there is no memory or no descriptor
/// for it; [`shortage::of_shared_memory`] says which.
pub(crate) fn zeroed(len: usize) -> Option<IpcSharedMemory> {
    shortage::has_room(len as u64).then(|| caught(|| IpcSharedMemory::from_byte(0, len)))?
}

/// Memory of `len` bytes, all zero, that two processes write. Sealed: a worker that shortened it
/// would end the coordinator by SIGBUS. ipc-channel's own is not sealed.
///
/// # Panics
/// Without any bytes, which cannot be mapped.
pub(crate) fn file(len: usize) -> Option<OwnedFd> {
    assert_ne!(len, 0, "memory of no bytes");
    shortage::has_room(len as u64).then(|| socket::memory(len as u64).ok())?
}

/// The same, for this process to write and for others to read.
pub(crate) fn for_readers(len: usize) -> Option<(Mapping, OwnedFd)> {
    shortage::has_room(len as u64).then(|| Mapping::for_readers(len as u64).ok())?
}

/// A region with a copy of `bytes`. `None` as above.
pub(crate) fn copy_of(bytes: &[u8]) -> Option<IpcSharedMemory> {
    shortage::has_room(bytes.len() as u64).then(|| caught(|| IpcSharedMemory::from_bytes(bytes)))?
}

/// Whether the heap has room for so many bytes: ipc-channel aborts where it has none. Another thread
/// may take them before this one does.
pub(crate) fn has_heap(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

thread_local! {
    /// A panic of this thread is an answer.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Calls something that panics where it should return an error. Says nothing of it:
/// the caller does.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    install_hook();
    EXPECTED.set(true);
    // What it was making is dropped on the way.
    let made = catch_unwind(AssertUnwindSafe(|| limits::with_large_files(call)));
    EXPECTED.set(false);
    made.ok()
}

/// Keeps expected panics from being printed; others go to the hook that was there.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A thread that has no such flag any more expects nothing.
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
        // More than any address space has, but not more than may be asked for.
        assert!(caught(|| IpcSharedMemory::from_byte(0, 1 << 62)).is_none());
        assert!(!EXPECTED.get());
    }
}
