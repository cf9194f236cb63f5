//! Why a message could not be sent or received.

use std::io;

use thiserror::Error;

use crate::wire::CodecError;

/// Why a message was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Disconnected,
    /// The message is too long, or cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// There is no memory for a region or a frame.
    #[error("no shared memory for {bytes} bytes: {why}")]
    Memory {
        /// Bytes that were requested.
        bytes: usize,
        /// What is lacking, and what would help.
        why: String,
    },
    /// The operating system refused.
    #[error("cannot send: {0}")]
    Io(io::Error),
}

/// Why no message was received.
#[derive(Debug, Error)]
pub enum RecvError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Disconnected,
    /// The received bytes are not a valid message.
    #[error("{0}")]
    Garbled(String),
    /// The operating system refused.
    #[error("cannot receive: {0}")]
    Io(io::Error),
}

impl From<CodecError> for RecvError {
    fn from(error: CodecError) -> Self {
        Self::Garbled(error.to_string())
    }
}

/// Whether the error means that the other side has closed its end.
pub(crate) fn is_hangup(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}
