//! From a socket to ipc-channel's sender.
//!
//! ipc-channel has no function for that, but it makes a sender of a socket that comes with a
//! message. So this process keeps a channel to itself, whose near end it has made without
//! ipc-channel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use brigade_sys::{process, shortage, socket};
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use crate::channel::Envelope;
use crate::fresh::{caught, has_heap};
use crate::{packet, runtime_dir};

/// What comes across.
#[derive(Serialize, Deserialize)]
struct ImportedFd(IpcSender<Envelope>);

/// A crossing, encoded by postcard: its place among the descriptors.
const IMPORTED_FD: &[u8] = &[0];

/// What has to be free to receive a crossing, in bytes.
const RECEIVING: usize = 1 << 20;

struct FdImport {
    /// Whose it is: one that was forked has another's.
    pid: u32,
    near: OwnedFd,
    far: IpcReceiver<ImportedFd>,
}

/// Made when it is first needed. Gone when something has gone wrong on it.
static FD_IMPORT: Mutex<Option<FdImport>> = Mutex::new(None);

impl FdImport {
    /// A bridge, and the first that has come across.
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

/// A sender to whoever has the other end of a socket.
pub(crate) fn sender(socket: &OwnedFd) -> io::Result<IpcSender<Envelope>> {
    let mut place = FD_IMPORT.lock().unwrap_or_else(PoisonError::into_inner);
    // ipc-channel receives into a buffer of 212,448 bytes.
    if !has_heap(RECEIVING) {
        return Err(shortage::of_memory());
    }
    let fd_import = place.take().filter(|fd_import| fd_import.pid == process::pid());
    // ipc-channel panics when a descriptor is lacking.
    let crossed = caught(|| match fd_import {
        None => FdImport::open(socket),
        Some(fd_import) => fd_import.cross(socket).map(|imported| (fd_import, imported)),
    });
    let (fd_import, ImportedFd(sender)) =
        crossed.unwrap_or_else(|| Err(io::ErrorKind::OutOfMemory.into()))?;
    *place = Some(fd_import);
    Ok(sender)
}

/// Makes ready what the first sender of this process needs, while there is time for it.
pub fn prepare_senders() {
    // If it fails here, it fails again, and is told, where somebody needs it.
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
