//! Makes an ipc-channel sender of a socket.
//!
//! ipc-channel has no function for that, but it makes a sender of a socket that arrives in a
//! message. So this process keeps a channel to itself and sends the socket through it. It creates
//! the near end of that channel without ipc-channel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use brigade_sys::{process, shortage, socket};
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::fresh::{caught, has_heap};
use crate::{packet, runtime_dir};

/// The message that carries a socket and arrives as a sender.
#[derive(Serialize, Deserialize)]
struct ImportedFd(IpcSender<Envelope>);

/// An [`ImportedFd`], encoded by postcard: its index among the descriptors.
const IMPORTED_FD: &[u8] = &[0];

/// Heap bytes that must be free to receive an [`ImportedFd`].
const RECEIVING: usize = 1 << 20;

struct FdImport {
    /// The process that created the channel. A forked process inherits its parent's and must not
    /// use it.
    pid: u32,
    near: OwnedFd,
    far: IpcReceiver<ImportedFd>,
}

/// Created at the first use. Empty again after an error on it.
static FD_IMPORT: Mutex<Option<FdImport>> = Mutex::new(None);

impl FdImport {
    /// Creates the channel, and imports the first socket.
    fn open(socket: &OwnedFd) -> io::Result<(Self, ImportedFd)> {
        runtime_dir::prepare()?;
        let (server, name) = IpcOneShotServer::new()?;
        let near = socket::connect(name)?;
        socket::send(&near, &packet::wrap(IMPORTED_FD), &[socket.as_fd()])?;
        let (far, first) = server.accept().map_err(io::Error::other)?;
        Ok((Self { pid: process::pid(), near, far }, first))
    }

    fn cross(&self, socket: &OwnedFd) -> io::Result<ImportedFd> {
        socket::send(&self.near, &packet::wrap(IMPORTED_FD), &[socket.as_fd()])?;
        self.far.recv().map_err(io::Error::other)
    }
}

/// Makes a sender to the process at the other end of `socket`.
pub(crate) fn sender(socket: &OwnedFd) -> io::Result<IpcSender<Envelope>> {
    let mut place = FD_IMPORT.lock().unwrap_or_else(PoisonError::into_inner);
    // ipc-channel receives into a buffer of 212,448 bytes.
    if !has_heap(RECEIVING) {
        return Err(shortage::of_memory());
    }
    let import = place.take().filter(|import| import.pid == process::pid());
    // ipc-channel panics when no descriptor is free.
    let crossed = caught(|| match import {
        None => FdImport::open(socket),
        Some(import) => import.cross(socket).map(|imported| (import, imported)),
    });
    let (import, ImportedFd(sender)) =
        crossed.unwrap_or_else(|| Err(io::ErrorKind::OutOfMemory.into()))?;
    *place = Some(import);
    Ok(sender)
}

/// Prepares what the first sender of this process needs, while the caller has time for it.
pub fn prepare_senders() {
    // If it fails here, it fails again, and reports why, where a sender is needed.
    if let Ok((near, _far)) = socket::pair() {
        let _ = sender(&near);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_is_what_was_sent() {
        prepare_senders();
        let (near, far) = socket::pair().unwrap();
        sender(&near).unwrap().send(Envelope::new(b"hello".to_vec())).unwrap();
        let mut buffer = [0; 100];
        let packet = socket::receive(&far, &mut buffer).unwrap();
        assert_eq!(packet::envelope(&buffer[..packet.len]).unwrap().head, b"hello");
    }
}
