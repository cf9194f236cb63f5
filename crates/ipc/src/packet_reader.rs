//! Reads ipc-channel's packets from a socket, see [`packet`](crate::packet). The receivers of both
//! sides use it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use brigade_proto::Buffer;
use brigade_sys::{shortage, socket};

use crate::channel_error::{RecvError, is_hangup};
use crate::packet;

/// The head of a message or a frame, and each region's descriptor; `None` for an empty region.
pub(crate) type Contents<'b> = (&'b [u8], Vec<Option<OwnedFd>>);

/// Waits for a packet and reads it into `buffer`.
pub(crate) fn read<'b>(socket: &OwnedFd, buffer: &'b mut [u8]) -> Result<Contents<'b>, RecvError> {
    let received = socket::receive(socket, buffer).map_err(|error| {
        if is_hangup(&error) { RecvError::Disconnected } else { RecvError::Io(error) }
    })?;
    if received.len == 0 {
        return Err(RecvError::Disconnected);
    }
    if received.is_short {
        return Err(RecvError::Io(shortage::of_descriptors()));
    }
    if received.is_cut {
        return Err(garbled("a packet that is too long"));
    }
    let envelope = packet::envelope(&buffer[..received.len]).map_err(|what| match what {
        packet::IN_PIECES => RecvError::Io(io::Error::other(
            "its message came in pieces, as the kernel had no memory for a whole one",
        )),
        what => garbled(what),
    })?;
    let mut descriptors = received.descriptors.into_iter();
    let mut regions = Vec::with_capacity(envelope.regions.len());
    for place in envelope.regions {
        // Indices are in order, so the next descriptor is the right one.
        let descriptor = place.map(|_| descriptors.next().ok_or("a region is missing"));
        regions.push(descriptor.transpose().map_err(garbled)?);
    }
    Ok((envelope.head, regions))
}

/// A socket, and a buffer for the longest packet.
#[derive(Debug)]
pub(crate) struct PacketReader {
    socket: Arc<OwnedFd>,
    /// Empty until the first packet: the receiving thread should pay for it.
    buffer: Vec<u8>,
}

impl PacketReader {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self { socket, buffer: Vec::new() }
    }

    /// Waits for the next packet.
    pub(crate) fn next(&mut self) -> Result<Contents<'_>, RecvError> {
        if self.buffer.is_empty() {
            // `vec!` writes no zeros: most packets are short, and the kernel provides only the zero
            // pages that they need.
            self.buffer = vec![0; packet::LONGEST];
        }
        read(&self.socket, &mut self.buffer)
    }

    /// Fills `buffer` from the frames that follow.
    pub(crate) fn collect(&mut self, mut buffer: Buffer) -> Result<Buffer, RecvError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let (frame, _) = self.next()?;
            let room = buffer[filled..].get_mut(..frame.len());
            let room = room.filter(|room| !room.is_empty());
            room.ok_or_else(|| garbled("a frame does not fit"))?.copy_from_slice(frame);
            filled += frame.len();
        }
        Ok(buffer)
    }
}

pub(crate) fn garbled(what: &str) -> RecvError {
    RecvError::Garbled(what.to_owned())
}

/// Allocates a payload of `len` bytes, which the other side may send. A lack of memory is not the
/// other side's fault.
pub(crate) fn room(len: u64) -> Result<Buffer, RecvError> {
    let room = usize::try_from(len).ok().and_then(Buffer::try_zeroed);
    room.ok_or_else(|| {
        let why = shortage::of_shared_memory(len);
        RecvError::Io(io::Error::other(format!("no memory for {len} bytes: {why}")))
    })
}

/// Whether a region exists and has at least `len` bytes. An empty payload needs no region.
pub(crate) fn has_bytes(region: Option<&OwnedFd>, len: u64) -> bool {
    match region {
        Some(region) => socket::file_len(region).is_some_and(|has| has >= len),
        None => len == 0,
    }
}
