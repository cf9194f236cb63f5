//! Brigade's transport between coordinator and worker processes: the only crate
//! that names ipc-channel.
//!
//! - [`Listener`] and [`connect`]: how a worker that was just started and its
//!   coordinator find and check each other;
//! - [`Sender`], [`Receiver`] and, for what a worker says, [`HardenedReceiver`]: messages with
//!   payloads, `inline` or in shared memory;
//! - [`CoordinatorEndpoint`] and [`WorkerEndpoint`]: the two sides of the shared memory in which a worker
//!   gets orders, answers them and shows what it is doing;
//! - [`Arena`], [`Outputs`], [`InputRegions`] and [`OutputAllocator`]: slabs of long-lived shared regions, for
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
//! | what stands in a packet is believed: a wrong length panics, aborts or reads past the buffer | what a worker sends is read by [`HardenedReceiver`] |
//! | the socket lies in a world-readable directory | a private one, see [`runtime_dir`] |

mod acceptor;
mod arena;
pub mod channel;
mod endpoint;
mod fd_import;
mod fresh;
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod hardened_receiver;
mod packet;
mod packet_reader;
mod receive_budget;
mod ring;
pub mod runtime_dir;
pub mod wire;

pub use arena::{Arena, ArenaSlab, Budget, InputRegions, OutputAllocator, OutputSlab, Outputs};

pub use acceptor::{Accepted, Admitted, Listener, PendingConnection};
pub use channel::{Input, Payload, Received, Receiver, RecvError, Region, SendError, Sender};
pub use endpoint::{
    CoordinatorEndpoint, Doorbells, DoorbellsRegion, SpinPolicy, StatusPage, WakePolicy,
    WorkerEndpoint,
};
pub use fd_import::prepare_senders;
pub use handshake::{
    BootstrapToken, Bounds, Connected, Hello, NONCE_ENV, PARENT_ENV, Refusal, SERVER_ENV, Welcome,
    build_id, connect, connect_and_keep, warm_up, worker_environment,
};
pub use hardened_receiver::HardenedReceiver;
pub use ring::{Corrupt, MAX_MESSAGE};

/// How payloads travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// In the message stream itself.
    Inline,
    /// Each in a shared memory region of its own.
    Shared,
}
