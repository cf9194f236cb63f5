//! Messages with payloads over ipc-channel.
//!
//! A message is an envelope: a bincode head and, for shared payloads, the regions that hold them.
//! Inline payloads follow the envelope in frames. Each frame is a message of its own that fits the
//! socket, so a sender only ever blocks on one socket, and the worker alone holds its other end:
//! when the worker dies, the send fails instead of hanging.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use brigade_proto::{Buffer, Bytes, limits};
use brigade_sys::mapping::View;
use brigade_sys::shared::Exclusive;
use brigade_sys::{shortage, socket};
use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcSender, IpcSharedMemory};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use crate::Carriage;
use crate::channel_error::{RecvError, SendError, is_hangup};
use crate::envelope::{Carrier, Envelope, Head};
use crate::fresh::{self, caught};
use crate::packet_reader::{PacketReader, garbled, has_bytes, room};
use crate::wire;
use crate::{fd_import, packet};

/// Bytes of an inline payload in one message. With everything around them they stay below the
/// 212,448 B at which ipc-channel opens a second socket.
pub const FRAME: usize = 128 << 10;

/// Payloads up to this many bytes travel in the head of the message, whatever the transport: a
/// region of their own would cost several system calls on each side.
pub const SMALL: usize = 2 << 10;

/// A shared memory region that the caller fills before sending it.
#[derive(Debug)]
pub struct Region {
    memory: Exclusive<IpcSharedMemory>,
    len: usize,
}

impl Region {
    /// A region of `len` zero bytes. `None` when memory or a descriptor is lacking.
    pub fn zeroed(len: usize) -> Option<Self> {
        let memory = fresh::zeroed(len)?;
        Some(Self { memory: Exclusive::new(memory, IpcSharedMemory::deref_mut), len })
    }

    /// A region with a copy of `bytes`. `None` when memory or a descriptor is lacking.
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let memory = fresh::copy_of(bytes)?;
        Some(Self { memory: Exclusive::new(memory, IpcSharedMemory::deref_mut), len: bytes.len() })
    }

    /// Shortens the region: only the first `len` bytes are sent.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Region {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

/// A payload to send.
#[derive(Debug)]
pub enum Payload {
    /// Bytes outside shared memory; sending copies them.
    Bytes(Bytes),
    /// A region that the caller has written in place.
    Region(Region),
}

impl Payload {
    /// Puts the bytes where they will travel: large ones into a region if payloads are shared.
    /// Sending does this too. A caller that does it first can tell its time from that of sending.
    ///
    /// # Errors
    /// When there is no memory for a region.
    pub fn place(self, carriage: Carriage) -> Result<Self, SendError> {
        match self {
            Self::Bytes(bytes) if carriage == Carriage::Shared && bytes.len() > SMALL => {
                let region = Region::copy_of(&bytes);
                Ok(Self::Region(region.ok_or_else(|| no_memory(bytes.len()))?))
            }
            placed => Ok(placed),
        }
    }
}

/// A payload that a worker has received.
#[derive(Debug)]
pub enum Received {
    /// Bytes of this process's own.
    Owned(Buffer),
    /// Memory that the coordinator may still see, and the payload's length in bytes.
    Memory(OwnedFd, usize),
}

impl Received {
    /// Opens the bytes for reading in place. Memory is mapped read-only.
    ///
    /// # Errors
    /// When the memory cannot be mapped; the message says what is lacking.
    pub fn open(self) -> Result<Input, String> {
        match self {
            Self::Owned(bytes) => Ok(Input::Owned(bytes)),
            Self::Memory(memory, len) => match View::of(&memory) {
                Ok(view) => Ok(Input::View(view, len)),
                Err(_) => Err(shortage::of_shared_memory(len as u64)),
            },
        }
    }

    /// The payload's memory, if it has any.
    pub(crate) fn into_memory(self) -> Option<OwnedFd> {
        match self {
            Self::Owned(_) => None,
            Self::Memory(memory, _) => Some(memory),
        }
    }
}

/// An input that a worker reads in place. The worker trusts the coordinator not to write it any
/// more.
#[derive(Debug)]
pub enum Input {
    /// Bytes of this process's own.
    Owned(Buffer),
    /// Mapped memory, and the input's length in bytes.
    View(View, usize),
}

impl Deref for Input {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::View(view, len) => view.get(0..*len).unwrap_or_default(),
        }
    }
}

#[cold]
fn no_memory(bytes: usize) -> SendError {
    SendError::Memory { bytes, why: shortage::of_shared_memory(bytes as u64) }
}

/// The sending end of a channel.
#[derive(Clone, Debug)]
pub struct Sender {
    ipc: IpcSender<Envelope>,
    /// The same socket. Messages from the other side arrive on it, too.
    socket: Arc<OwnedFd>,
}

impl Sender {
    /// Wraps an ipc-channel sender that this process has connected to the server of this name.
    pub(crate) fn connected(ipc: IpcSender<Envelope>, server: &str) -> io::Result<Self> {
        Ok(Self { ipc, socket: Arc::new(socket::connected_to(server)?) })
    }

    /// Makes a sender of a connected socket.
    pub(crate) fn over(socket: Arc<OwnedFd>) -> io::Result<Self> {
        Ok(Self { ipc: fd_import::sender(&socket)?, socket })
    }

    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// Sends memory that stays in use on this side. Does not use ipc-channel, which would map it,
    /// and for writing.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn share<M: Serialize>(&self, message: M, memory: &OwnedFd) -> Result<(), SendError> {
        let len = socket::file_len(memory).unwrap_or(0);
        let head = wire::encode(&Head { message, payloads: vec![Carrier::Region { len }] })?;
        let packet = packet::wrap(&packet::message(&head, &[0]));
        socket::send(&self.socket, &packet, &[memory.as_fd()]).map_err(|error| {
            if is_hangup(&error) { SendError::Disconnected } else { SendError::Io(error) }
        })
    }

    /// Tells the other side that no more messages will come. Messages from it still arrive.
    pub fn close(&self) {
        socket::close_for_sending(&self.socket);
    }

    /// Sends a message. Blocks while the socket is full; fails when the receiver dies meanwhile.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send<M: Serialize>(
        &self,
        message: M,
        payloads: Vec<Payload>,
        carriage: Carriage,
    ) -> Result<(), SendError> {
        let mut carriers = Vec::with_capacity(payloads.len());
        let mut regions = Vec::new();
        let mut inline = Vec::new();
        for payload in payloads {
            carriers.push(match payload.place(carriage)? {
                Payload::Region(region) => {
                    regions.push(region.memory.into_inner());
                    Carrier::Region { len: region.len as u64 }
                }
                Payload::Bytes(bytes) if bytes.len() <= SMALL => {
                    Carrier::Small(ByteBuf::from(&bytes[..]))
                }
                Payload::Bytes(bytes) => {
                    let len = bytes.len() as u64;
                    inline.push(bytes);
                    Carrier::Frames { len }
                }
            });
        }
        let head = wire::encode(&Head { message, payloads: carriers })?;
        self.post(Envelope { head: ByteBuf::from(head), regions })?;
        for frame in inline.iter().flat_map(|bytes| bytes.chunks(FRAME)) {
            // ipc-channel takes about three times a frame's size to encode it.
            if !fresh::has_heap(4 * FRAME) {
                return Err(no_memory(FRAME));
            }
            self.post(Envelope::new(frame.to_vec()))?;
        }
        Ok(())
    }

    pub(crate) fn post(&self, envelope: Envelope) -> Result<(), SendError> {
        // ipc-channel copies each region on the way, which takes a descriptor.
        let sent = caught(|| self.ipc.send(envelope)).ok_or_else(|| no_memory(0))?;
        sent.map_err(|error| match error {
            IpcError::Disconnected => SendError::Disconnected,
            IpcError::Io(error) if is_hangup(&error) => SendError::Disconnected,
            IpcError::Io(error) => SendError::Io(error),
            IpcError::SerializationError(error) => {
                SendError::Io(io::Error::other(error.to_string()))
            }
        })
    }
}

/// The worker's receiving end of a channel. Does not use ipc-channel's receiver, which maps
/// received memory for writing and panics when it cannot.
#[derive(Debug)]
pub struct Receiver(PacketReader);

impl Receiver {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self(PacketReader::new(socket))
    }

    /// Waits for a message and its payloads. Checks sizes before it allocates anything.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv<M: DeserializeOwned>(&mut self) -> Result<(M, Vec<Received>), RecvError> {
        let (head, regions) = self.0.next()?;
        let head: Head<M> = wire::decode(head)?;
        if head.payloads.len() > limits::MAX_INPUTS.max(limits::MAX_OUTPUTS) {
            return Err(RecvError::Garbled(format!("{} payloads", head.payloads.len())));
        }
        let mut regions = regions.into_iter();
        let mut payloads = Vec::with_capacity(head.payloads.len());
        for carrier in head.payloads {
            if carrier.len() > limits::MAX_BUFFER_BYTES {
                return Err(RecvError::Garbled(format!("a payload of {} bytes", carrier.len())));
            }
            payloads.push(match carrier {
                Carrier::Small(bytes) => Received::Owned(Buffer::from(&bytes[..])),
                Carrier::Frames { len } => Received::Owned(self.0.collect(room(len)?)?),
                Carrier::Region { len } => {
                    let region = regions.next().ok_or_else(|| garbled("a region is missing"))?;
                    if !has_bytes(region.as_ref(), len) {
                        return Err(garbled("a region is none, or too short"));
                    }
                    match region {
                        Some(memory) => Received::Memory(memory, len as usize),
                        None => Received::Owned(Buffer::default()),
                    }
                }
            });
        }
        Ok((head.message, payloads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sender, Receiver) {
        let (near, far) = socket::pair().unwrap();
        (Sender::over(Arc::new(near)).unwrap(), Receiver::new(Arc::new(far)))
    }

    fn in_memory(bytes: &[u8]) -> Payload {
        Payload::Bytes(Bytes::from(bytes))
    }

    #[test]
    fn payloads_arrive_whole_on_both_carriages() {
        for carriage in [Carriage::Inline, Carriage::Shared] {
            let (sender, mut receiver) = pair();
            let sizes = [0, 1, SMALL, SMALL + 1, FRAME, FRAME + 1, 3 * FRAME + 17];
            let sent: Vec<Vec<u8>> =
                sizes.iter().map(|&n| (0..n).map(|i| (i % 251) as u8).collect()).collect();
            let expected = sent.clone();
            // The socket's buffer does not hold all of it.
            let writer = std::thread::spawn(move || {
                let payloads = sent.iter().map(|bytes| in_memory(bytes)).collect();
                sender.send(7_u32, payloads, carriage).unwrap();
            });
            let (message, payloads) = receiver.recv::<u32>().unwrap();
            writer.join().unwrap();
            assert_eq!(message, 7);
            let received: Vec<Vec<u8>> =
                payloads.into_iter().map(|payload| payload.open().unwrap().to_vec()).collect();
            assert_eq!(received, expected);
        }
    }

    #[test]
    fn a_region_written_in_place_is_sent_up_to_its_truncated_length() {
        let (sender, mut receiver) = pair();
        let mut region = Region::zeroed(10_000).unwrap();
        region.fill(9);
        region.truncate(5_000);
        sender.send((), vec![Payload::Region(region)], Carriage::Shared).unwrap();
        let ((), mut payloads) = receiver.recv::<()>().unwrap();
        assert_eq!(payloads.remove(0).open().unwrap()[..], vec![9; 5_000]);
    }

    #[test]
    fn shared_memory_is_seen_by_both_sides() {
        let (sender, mut receiver) = pair();
        let memory = socket::memory(10_000).unwrap();
        sender.share(7_u32, &memory).unwrap();
        let (message, mut payloads) = receiver.recv::<u32>().unwrap();
        let input = payloads.remove(0).open().unwrap();
        assert_eq!((message, input.len(), input[9_999]), (7, 10_000, 0));
        std::os::unix::fs::FileExt::write_all_at(&std::fs::File::from(memory), b"x", 9_999)
            .unwrap();
        assert_eq!(input[9_999], b'x');
        sender.close();
        assert!(matches!(receiver.recv::<u32>(), Err(RecvError::Disconnected)));
    }

    #[test]
    fn a_sender_that_blocks_is_freed_when_the_receiver_goes() {
        let (sender, mut receiver) = pair();
        let bytes = vec![1; 64 << 20];
        let blocked =
            std::thread::spawn(move || sender.send((), vec![in_memory(&bytes)], Carriage::Inline));
        // The head has arrived, so the sender is sending its frames, which do not fit the socket's
        // buffer.
        let (first, _) = receiver.0.next().unwrap();
        assert!(!first.is_empty());
        drop(receiver);
        let begin = std::time::Instant::now();
        while !blocked.is_finished() {
            assert!(begin.elapsed().as_secs() < 60, "it still blocks");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(matches!(blocked.join().unwrap(), Err(SendError::Disconnected)));
    }

    #[test]
    fn nonsense_is_garbled_and_not_believed() {
        let cases: Vec<Envelope> = vec![
            Envelope::new(Vec::new()),
            Envelope::new(vec![255; 100]),
            // A payload that claims 2^63 bytes.
            Envelope::new(
                wire::encode(&Head {
                    message: (),
                    payloads: vec![Carrier::Frames { len: 1 << 63 }],
                })
                .unwrap(),
            ),
            // A region that is missing.
            Envelope::new(
                wire::encode(&Head { message: (), payloads: vec![Carrier::Region { len: 10 }] })
                    .unwrap(),
            ),
            // Too many payloads.
            Envelope::new(
                wire::encode(&Head {
                    message: (),
                    payloads: (0..100).map(|_| Carrier::Small(ByteBuf::new())).collect(),
                })
                .unwrap(),
            ),
        ];
        for envelope in cases {
            let (sender, mut receiver) = pair();
            sender.post(envelope).unwrap();
            assert!(matches!(receiver.recv::<()>(), Err(RecvError::Garbled(_))));
        }
    }

    #[test]
    fn a_frame_longer_than_what_is_left_is_refused() {
        let (sender, mut receiver) = pair();
        let head = Head { message: (), payloads: vec![Carrier::Frames { len: 10 }] };
        sender.post(Envelope::new(wire::encode(&head).unwrap())).unwrap();
        sender.post(Envelope::new(vec![0; 11])).unwrap();
        assert!(matches!(receiver.recv::<()>(), Err(RecvError::Garbled(_))));
    }
}
