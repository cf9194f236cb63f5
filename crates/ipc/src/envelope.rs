//! The parts of a message of the control channel, as bincode and ipc-channel carry them.

use std::fmt;

use ipc_channel::ipc::IpcSharedMemory;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// One message of ipc-channel: the encoded [`Head`], and the regions of its payloads.
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
    /// In the head.
    Small(#[serde(with = "serde_bytes")] ByteBuf),
    /// In the frames after the envelope.
    Frames { len: u64 },
    /// In the envelope's next region.
    Region { len: u64 },
}

impl Carrier {
    /// Bytes of the payload, as the sender claims.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Frames { len } | Self::Region { len } => *len,
        }
    }
}
