//! From a descriptor to what ipc-channel makes of one.
//!
//! ipc-channel has no functions for that, but it makes a sender of a socket, and shared
//! memory of a file, that come with a message. So this process keeps a channel to itself,
//! whose near end it has made without ipc-channel.
//!
//! Memory that is shared with workers is made here for another reason too: it is sealed, and
//! nobody can shorten it. ipc-channel's own is not, and a look at what was cut off ends the
//! process that looks by SIGBUS.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use brigade_sys::{process, socket};
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};
use serde::{Deserialize, Serialize};

use crate::channel::Envelope;
use crate::{packet, runtime_dir};

/// What comes across; one of the two.
#[derive(Serialize, Deserialize)]
struct Crossing {
    sender: Option<IpcSender<Envelope>>,
    memory: Option<IpcSharedMemory>,
}

/// A crossing, encoded by postcard: whether it is there, and its place among the
/// descriptors.
const SENDER: &[u8] = &[1, 0, 0];
const MEMORY: &[u8] = &[0, 1, 0];

struct Bridge {
    /// Whose it is: one that was forked has another's.
    pid: u32,
    near: OwnedFd,
    far: IpcReceiver<Crossing>,
}

/// Made when it is first needed. Gone when something has gone wrong on it.
static BRIDGE: Mutex<Option<Bridge>> = Mutex::new(None);

impl Bridge {
    /// A bridge, and the first that has come across.
    fn open(kind: &[u8], descriptor: &OwnedFd) -> io::Result<(Self, Crossing)> {
        runtime_dir::prepare()?;
        let (server, name) = IpcOneShotServer::new()?;
        let near = socket::connect(name)?;
        socket::send(&near, &packet::wrap(kind), &[descriptor.as_fd()])?;
        let (far, first) = server.accept().map_err(io::Error::other)?;
        Ok((Self { pid: process::pid(), near, far }, first))
    }

    fn cross(&self, kind: &[u8], descriptor: &OwnedFd) -> io::Result<Crossing> {
        socket::send(&self.near, &packet::wrap(kind), &[descriptor.as_fd()])?;
        self.far.recv().map_err(io::Error::other)
    }
}

fn cross(kind: &[u8], descriptor: &OwnedFd) -> io::Result<Crossing> {
    let mut place = BRIDGE.lock().unwrap_or_else(PoisonError::into_inner);
    let bridge = place.take().filter(|bridge| bridge.pid == process::pid());
    // ipc-channel panics when a mapping fails.
    let crossed = catch_unwind(AssertUnwindSafe(|| match bridge {
        None => Bridge::open(kind, descriptor),
        Some(bridge) => bridge.cross(kind, descriptor).map(|crossing| (bridge, crossing)),
    }));
    let (bridge, crossing) = crossed.unwrap_or_else(|_| Err(io::ErrorKind::OutOfMemory.into()))?;
    *place = Some(bridge);
    Ok(crossing)
}

fn lost() -> io::Error {
    io::Error::other("it did not come across")
}

/// A sender to whoever has the other end of a socket.
pub(crate) fn sender(socket: &OwnedFd) -> io::Result<IpcSender<Envelope>> {
    cross(SENDER, socket)?.sender.ok_or_else(lost)
}

/// A mapping of memory that [`socket::memory`] has made: of some bytes, as there is no mapping of
/// none, and a look at it is undefined.
pub(crate) fn map(memory: &OwnedFd) -> io::Result<IpcSharedMemory> {
    cross(MEMORY, memory)?.memory.ok_or_else(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_is_what_was_sent() {
        for len in [1, 4096, 10_000] {
            let memory = map(&socket::memory(len as u64).unwrap()).unwrap();
            assert_eq!((memory.len(), memory.iter().max()), (len, Some(&0)));
        }
        let (near, far) = socket::pair().unwrap();
        sender(&near).unwrap().send(Envelope::new(b"hello".to_vec())).unwrap();
        let mut buffer = [0; 100];
        let packet = socket::receive(&far, &mut buffer).unwrap();
        assert_eq!(packet::envelope(&buffer[..packet.len]).unwrap().head, b"hello");
    }

    #[test]
    fn nobody_can_shorten_what_is_shared() {
        let descriptor = socket::memory(4096).unwrap();
        let file = std::fs::File::from(descriptor);
        assert!(file.set_len(0).is_err() && file.set_len(8192).is_err());
    }
}
