//! Brigade's transport between coordinator and worker processes: the only crate
//! that names ipc-channel.
//!
//! - [`Listener`] and [`connect`]: how a worker that was just started and its
//!   coordinator find and check each other;
//! - [`Sender`], [`Receiver`] and, for what a worker says, [`Intake`]: messages with
//!   payloads, `inline` or in shared memory;
//! - [`Pass`] and [`Station`]: the two sides of the shared memory in which a worker
//!   gets orders, answers them and shows what it is doing;
//! - [`Arena`], [`Outputs`], [`InputShelf`] and [`OutputShelf`]: slabs of long-lived shared regions, for
//!   payloads;
//! - [`wire`]: the messages.
//!
//! What is known of ipc-channel and how it is dealt with:
//!
//! | trap | here |
//! | --- | --- |
//! | messages over 212,448 B go over a second socket, and their sender hangs for ever when the receiver dies | no message is that long: payloads travel in frames of [`channel::FRAME`] bytes |
//! | `accept` waits for ever when the child dies first | the server is our own, [`Listener`], and is asked only when somebody has come |
//! | failures of memfd, mmap and dup panic | caught where a region is made or copied; received by our own code |
//! | what comes is mapped for writing | workers receive by our own code, and map inputs for reading only |
//! | what stands in a packet is believed: a wrong length panics, aborts or reads past the buffer | what a worker sends is read by [`Intake`] |
//! | the socket lies in a world-readable directory | a private one, see [`runtime_dir`] |

mod allowance;
mod arena;
mod bridge;
pub mod channel;
mod door;
mod fresh;
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod intake;
mod packet;
mod packet_reader;
mod ring;
pub mod runtime_dir;
mod station;
pub mod wire;

pub use arena::{Arena, ArenaSlab, Budget, InputShelf, OutputShelf, OutputSlab, Outputs};

pub use bridge::prepare_senders;
pub use channel::{Input, Payload, Received, Receiver, RecvError, Region, SendError, Sender};
pub use door::{Accepted, Admitted, Caller, Listener};
pub use handshake::{
    Bounds, Connected, Hello, Invitation, NONCE_ENV, PARENT_ENV, Refusal, SERVER_ENV, Welcome,
    build_id, connect, connect_and_keep, rehearse, worker_environment,
};
pub use intake::Intake;
pub use ring::{Corrupt, MAX_MESSAGE};
pub use station::{Bells, BellsRegion, Call, Pass, Patience, Station, StatusPage};

/// How payloads travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// In the message stream itself.
    Inline,
    /// Each in a shared memory region of its own.
    Shared,
}
