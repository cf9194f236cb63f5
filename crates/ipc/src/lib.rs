//! Brigade's transport between coordinator and worker processes: the only crate that names
//! ipc-channel.
//!
//! - [`Listener`] and [`connect`]: how the coordinator and a newly started worker find and check
//!   each other;
//! - [`Sender`], [`Receiver`] and, for what a worker sends, [`HardenedReceiver`]: messages with
//!   payloads, inline or in shared memory;
//! - [`CoordinatorEndpoint`] and [`WorkerEndpoint`]: the two sides of the shared memory in which a
//!   worker takes requests, answers them and shows what it is doing;
//! - [`Arena`], [`Outputs`], [`InputRegions`] and [`OutputAllocator`]: slabs in long-lived shared
//!   regions, for payloads;
//! - [`wire`]: the messages.
//!
//! What ipc-channel does, and how this crate deals with it:
//!
//! - It sends a message over 212,448 B through a second socket, and the sender hangs for ever when
//!   the receiver dies. Here no message is that long: payloads travel in frames of
//!   [`channel::FRAME`] bytes.
//! - Its `accept` waits for ever when the child dies first. This crate has a server of its own,
//!   [`Listener`], which does not block; the supervisor calls it only after a process has
//!   connected.
//! - It panics when memfd, mmap or dup fails. This crate catches the panic where it creates or
//!   copies a region, and receives with its own code.
//! - It maps received memory for writing. Workers receive with this crate's code and map inputs for
//!   reading only.
//! - It trusts the contents of a packet: a wrong length makes it panic, abort or read past the
//!   buffer. [`HardenedReceiver`] reads what a worker sends.
//! - It puts its socket into a world-readable directory. This crate uses a private one, see
//!   [`runtime_dir`].

mod acceptor;
mod arena;
pub mod channel;
mod channel_error;
mod endpoint;
mod envelope;
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
pub use channel::{Input, Payload, Received, Receiver, Region, Sender};
pub use channel_error::{RecvError, SendError};
pub use endpoint::{
    CoordinatorEndpoint, Doorbells, DoorbellsRegion, SpinPolicy, StatusPage, WakePolicy,
    WorkerEndpoint,
};
pub use fd_import::prepare_senders;
pub use fresh::hide_expected_panics;
pub use handshake::{
    BootstrapToken, Bounds, Connected, Hello, NONCE_ENV, PARENT_ENV, Refusal, SERVER_ENV, Welcome,
    build_id, connect, connect_and_keep, warm_up, worker_environment,
};
pub use hardened_receiver::HardenedReceiver;
pub use ring::{Corrupt, MAX_MESSAGE};

/// How payloads travel over the control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// In the message stream itself.
    Inline,
    /// Each in a shared memory region of its own.
    Shared,
}
