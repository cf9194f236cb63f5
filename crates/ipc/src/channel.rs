//! Messages with payloads over ipc-channel.
//!
//! A message is an envelope: a bincode head and, for shared payloads, the regions
//! that hold them. Inline payloads follow their envelope in frames, each a message
//! of its own that fits the socket, so that a sender only ever blocks on the one
//! socket whose other end the worker alone holds: when the worker dies, the send
//! fails instead of hanging.

use std::fmt;
use std::ops::{Deref, DerefMut};

use brigade_proto::{Buffer, Bytes, limits};
use brigade_sys::shared::Exclusive;
use brigade_sys::shortage;
use ipc_channel::IpcError;
use ipc_channel::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

use crate::Carriage;
use crate::fresh::{self, caught};
use crate::wire::{self, CodecError};

/// Bytes of an inline payload that travel in one message. With everything around
/// it, that stays below the 212,448 B at which ipc-channel opens a second socket.
pub const FRAME: usize = 128 << 10;

/// Payloads up to this many bytes travel in the head of the message, whatever the
/// transport: a region of its own costs several system calls on either side.
pub const SMALL: usize = 2 << 10;

#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    #[serde(with = "serde_bytes")]
    pub(crate) head: ByteBuf,
    pub(crate) regions: Vec<IpcSharedMemory>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes, {} regions)", self.head.len(), self.regions.len())
    }
}

impl Envelope {
    pub(crate) fn new(head: Vec<u8>) -> Self {
        Self { head: ByteBuf::from(head), regions: Vec::new() }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Head<M> {
    pub(crate) message: M,
    pub(crate) payloads: Vec<Carrier>,
}

/// Where a payload of a message is.
#[derive(Serialize, Deserialize)]
pub(crate) enum Carrier {
    /// Here.
    Small(#[serde(with = "serde_bytes")] ByteBuf),
    /// In the frames behind the envelope.
    Frames { len: u64 },
    /// In the envelope's next region.
    Region { len: u64 },
}

impl Carrier {
    /// Bytes of the payload, by the word of whoever sent it.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Frames { len } | Self::Region { len } => *len,
        }
    }
}

/// A shared memory region that a payload is written into before it is sent.
#[derive(Debug)]
pub struct Region {
    memory: Exclusive<IpcSharedMemory>,
    len: usize,
}

impl Region {
    /// A region of `len` bytes, all zero. `None` when it cannot be had.
    pub fn zeroed(len: usize) -> Option<Self> {
        let memory = fresh::zeroed(len)?;
        Some(Self { memory: Exclusive::new(memory, IpcSharedMemory::deref_mut), len })
    }

    /// A region with a copy of `bytes`. `None` when it cannot be had.
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        let memory = fresh::copy_of(bytes)?;
        Some(Self { memory: Exclusive::new(memory, IpcSharedMemory::deref_mut), len: bytes.len() })
    }

    /// Sends only the first `len` bytes.
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

/// A payload that is to be sent.
#[derive(Debug)]
pub enum Payload {
    /// Bytes elsewhere; they are copied.
    Bytes(Bytes),
    /// A region that was written in place.
    Region(Region),
    /// A region that stays in use on this side.
    Shared(IpcSharedMemory),
}

impl Payload {
    /// Puts the bytes where they will travel: large ones into a region if payloads
    /// are shared. Sending does this too; done before, its time can be told from
    /// that of sending.
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

/// A payload that came.
#[derive(Debug)]
pub enum Received {
    /// Bytes of this process's own.
    Owned(Buffer),
    /// A region that the other side may still see, and its length.
    Shared(IpcSharedMemory, usize),
}

impl Received {
    /// The bytes in place. Only for a side that trusts the other not to write
    /// them any more: a worker reading what its coordinator sent.
    pub fn in_place(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(region, len) => &region[..*len],
        }
    }

    /// The region, if it is one.
    pub(crate) fn into_region(self) -> Option<IpcSharedMemory> {
        match self {
            Self::Owned(_) => None,
            Self::Shared(region, _) => Some(region),
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Disconnected,
    /// The message is too long.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// No memory for a region.
    #[error("no shared memory for {bytes} bytes: {why}")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// What is lacking, and what would help.
        why: String,
    },
    /// The operating system refused.
    #[error("cannot send: {0}")]
    Io(std::io::Error),
}

/// Why no message came.
#[derive(Debug, Error)]
pub enum RecvError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Disconnected,
    /// What came is no message.
    #[error("{0}")]
    Garbled(String),
    /// The operating system refused.
    #[error("cannot receive: {0}")]
    Io(std::io::Error),
}

impl From<CodecError> for RecvError {
    fn from(error: CodecError) -> Self {
        Self::Garbled(error.to_string())
    }
}

#[cold]
fn no_memory(bytes: usize) -> SendError {
    SendError::Memory { bytes, why: shortage::of_shared_memory(bytes as u64) }
}

/// The sending end of a channel.
#[derive(Clone, Debug)]
pub struct Sender(pub(crate) IpcSender<Envelope>);

impl Sender {
    /// Sends a message. Blocks while the socket is full; fails when the receiver
    /// dies meanwhile.
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
                Payload::Shared(region) => {
                    let len = region.len() as u64;
                    regions.push(region);
                    Carrier::Region { len }
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
            self.post(Envelope::new(frame.to_vec()))?;
        }
        Ok(())
    }

    fn post(&self, envelope: Envelope) -> Result<(), SendError> {
        // A region is copied on the way, which takes a descriptor.
        let sent = caught(|| self.0.send(envelope)).ok_or_else(|| no_memory(0))?;
        sent.map_err(|error| match error {
            IpcError::Disconnected => SendError::Disconnected,
            IpcError::Io(error) if is_hangup(&error) => SendError::Disconnected,
            IpcError::Io(error) => SendError::Io(error),
            IpcError::SerializationError(error) => {
                SendError::Io(std::io::Error::other(error.to_string()))
            }
        })
    }
}

pub(crate) fn is_hangup(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// The worker's receiving end of a channel. Its coordinator is believed: ipc-channel
/// panics, or worse, at packets that it would not have sent itself (see
/// [`Intake`](crate::Intake)).
#[derive(Debug)]
pub struct Receiver(pub(crate) IpcReceiver<Envelope>);

impl Receiver {
    /// Waits for a message and its payloads. Sizes are checked before anything is
    /// allocated.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv<M: DeserializeOwned>(&self) -> Result<(M, Vec<Received>), RecvError> {
        let envelope = self.fetch()?;
        let head: Head<M> = wire::decode(&envelope.head)?;
        if head.payloads.len() > limits::MAX_INPUTS.max(limits::MAX_OUTPUTS) {
            return Err(RecvError::Garbled(format!("{} payloads", head.payloads.len())));
        }
        let mut regions = envelope.regions.into_iter();
        let mut payloads = Vec::with_capacity(head.payloads.len());
        for carrier in head.payloads {
            payloads.push(match carrier {
                Carrier::Small(bytes) => Received::Owned(Buffer::from(&bytes[..])),
                Carrier::Frames { len } => Received::Owned(self.collect(checked(len)?)?),
                Carrier::Region { len } => {
                    let len = checked(len)?;
                    match regions.next() {
                        Some(region) if region.len() >= len => Received::Shared(region, len),
                        _ => return Err(RecvError::Garbled("a region is missing".to_owned())),
                    }
                }
            });
        }
        Ok((head.message, payloads))
    }

    fn fetch(&self) -> Result<Envelope, RecvError> {
        let received = caught(|| self.0.recv()).ok_or_else(|| {
            let why = shortage::of_shared_memory(0);
            RecvError::Io(std::io::Error::other(format!("a region cannot be mapped: {why}")))
        })?;
        received.map_err(|error| match error {
            IpcError::Disconnected => RecvError::Disconnected,
            IpcError::Io(error) if is_hangup(&error) => RecvError::Disconnected,
            IpcError::Io(error) => RecvError::Io(error),
            IpcError::SerializationError(error) => match shortage::descriptors() {
                // Those that there was no room for were dropped on the way.
                Some((open, limit)) if open >= limit => RecvError::Io(std::io::Error::other(
                    "this process has all the descriptors that it may have; raise ulimit -n",
                )),
                _ => RecvError::Garbled(error.to_string()),
            },
        })
    }

    fn collect(&self, len: usize) -> Result<Buffer, RecvError> {
        let mut buffer = Buffer::try_zeroed(len)
            .ok_or_else(|| RecvError::Garbled(format!("no memory for {len} bytes")))?;
        let mut filled = 0;
        while filled < len {
            let frame = self.fetch()?.head;
            let room = buffer[filled..].get_mut(..frame.len());
            match room.filter(|room| !room.is_empty()) {
                Some(room) => room.copy_from_slice(&frame),
                None => return Err(RecvError::Garbled("a frame does not fit".to_owned())),
            }
            filled += frame.len();
        }
        Ok(buffer)
    }
}

fn checked(len: u64) -> Result<usize, RecvError> {
    if len > limits::MAX_BUFFER_BYTES {
        return Err(RecvError::Garbled(format!("a payload of {len} bytes")));
    }
    Ok(len as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Sender, Receiver) {
        let (sender, receiver) = ipc_channel::ipc::channel().unwrap();
        (Sender(sender), Receiver(receiver))
    }

    fn in_memory(bytes: &[u8]) -> Payload {
        Payload::Bytes(Bytes::from(bytes))
    }

    #[test]
    fn payloads_arrive_whole_on_both_carriages() {
        for carriage in [Carriage::Inline, Carriage::Shared] {
            let (sender, receiver) = pair();
            let sizes = [0, 1, SMALL, SMALL + 1, FRAME, FRAME + 1, 3 * FRAME + 17];
            let sent: Vec<Vec<u8>> =
                sizes.iter().map(|&n| (0..n).map(|i| (i % 251) as u8).collect()).collect();
            let expected = sent.clone();
            // The socket holds less than all of it.
            let writer = std::thread::spawn(move || {
                let payloads = sent.iter().map(|bytes| in_memory(bytes)).collect();
                sender.send(7_u32, payloads, carriage).unwrap();
            });
            let (message, payloads) = receiver.recv::<u32>().unwrap();
            writer.join().unwrap();
            assert_eq!(message, 7);
            let received: Vec<Vec<u8>> =
                payloads.iter().map(|payload| payload.in_place().to_vec()).collect();
            assert_eq!(received, expected);
        }
    }

    #[test]
    fn a_region_written_in_place_is_sent_up_to_its_truncated_length() {
        let (sender, receiver) = pair();
        let mut region = Region::zeroed(10_000).unwrap();
        region.fill(9);
        region.truncate(5_000);
        sender.send((), vec![Payload::Region(region)], Carriage::Shared).unwrap();
        let ((), payloads) = receiver.recv::<()>().unwrap();
        assert_eq!(payloads[0].in_place(), vec![9; 5_000]);
    }

    #[test]
    fn a_sender_that_blocks_is_freed_when_the_receiver_goes() {
        let (sender, receiver) = pair();
        let bytes = vec![1; 64 << 20];
        let blocked =
            std::thread::spawn(move || sender.send((), vec![in_memory(&bytes)], Carriage::Inline));
        // The head is through, so the sender is at its frames, which do not fit.
        let first = receiver.fetch().unwrap();
        assert!(!first.head.is_empty());
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
            // A payload of 2^63 bytes.
            Envelope::new(
                wire::encode(&Head {
                    message: (),
                    payloads: vec![Carrier::Frames { len: 1 << 63 }],
                })
                .unwrap(),
            ),
            // A region that is not there.
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
            let (sender, receiver) = pair();
            sender.post(envelope).unwrap();
            assert!(matches!(receiver.recv::<()>(), Err(RecvError::Garbled(_))));
        }
    }

    #[test]
    fn a_frame_longer_than_what_is_left_is_refused() {
        let (sender, receiver) = pair();
        let head = Head { message: (), payloads: vec![Carrier::Frames { len: 10 }] };
        sender.post(Envelope::new(wire::encode(&head).unwrap())).unwrap();
        sender.post(Envelope::new(vec![0; 11])).unwrap();
        assert!(matches!(receiver.recv::<()>(), Err(RecvError::Garbled(_))));
    }
}
