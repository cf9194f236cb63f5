//! How the coordinator and a newly started worker find each other, and check that the other side is
//! the right one.
//!
//! 1. The coordinator has one [`Listener`](crate::Listener) per pool. It starts the worker with a
//!    [`BootstrapToken`] in the worker's environment (not in its arguments, which any user can
//!    read): the listener's name, and a nonce for this worker alone. A fork server receives the
//!    token in a message.
//! 2. The worker connects and sends a [`Hello`]. From then on this connection is the control
//!    channel: requests in one direction, responses in the other. The worker sends with
//!    ipc-channel. It receives with its own code, as the coordinator does: ipc-channel maps what it
//!    receives for writing, and a worker may only read its inputs.
//! 3. The coordinator compares process id, nonce, protocol version, build and kernels. It answers
//!    with a [`Welcome`] and the memory of the worker's endpoint and of the doorbells, or with the
//!    reason for its refusal.
//!
//! The coordinator's side is in `acceptor.rs`, the worker's here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brigade_proto::WorkerId;
use brigade_sys::mapping::Mapping;
use brigade_sys::{process, random, shortage, socket};
use ipc_channel::ipc::{IpcSender, channel};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::channel::{Receiver, Sender};
use crate::channel_error::RecvError;
use crate::endpoint::{Doorbells, SpinPolicy, WorkerEndpoint};
use crate::envelope::Envelope;
use crate::{packet, packet_reader, wire};

/// Environment variable with the name of the pool's listener. A process that has it is a worker.
pub const SERVER_ENV: &str = "BRIGADE_WORKER_SERVER";
/// Environment variable with the worker's nonce.
pub const NONCE_ENV: &str = "BRIGADE_WORKER_NONCE";
/// Environment variable with the coordinator's process id, for the worker.
pub const PARENT_ENV: &str = "BRIGADE_WORKER_PARENT";

/// What a worker says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`](brigade_proto::PROTOCOL_VERSION).
    pub version: u32,
    /// [`build_id`].
    pub build: String,
    /// The nonce from the worker's bootstrap token.
    pub nonce: u128,
    /// The worker's process id.
    pub pid: u32,
    /// Names of all kernels, in the order of the registry.
    pub kernels: Vec<String>,
}

/// What the coordinator tells a worker that it admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The worker's slot.
    pub worker: WorkerId,
    /// The worker forwards log events up to this level: 0 (none) to 5 (trace).
    pub log_level: u8,
    /// Pin the worker to the n-th usable core.
    pub pin: Option<u32>,
    /// If jobs come through the ring: how long the worker polls for a request before it sleeps, as
    /// a number of polls and the microseconds that it then yields. `None`: jobs come over the
    /// control channel.
    pub rings: Option<(u32, u64)>,
    /// The worker's limits, from here on.
    pub bounds: Bounds,
}

/// Limits of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Private memory that the worker may use beyond what it starts with, in bytes.
    pub memory: Option<u64>,
    /// Processor time for each job.
    pub cpu: Option<Duration>,
    /// The worker enters the sandbox. `Some(false)`: only as far as that works.
    pub sandbox: Option<bool>,
}

impl Welcome {
    /// How the worker waits for requests; `None` if jobs come over the control channel.
    pub fn spin_policy(&self) -> Option<SpinPolicy> {
        let (spins, us) = self.rings?;
        Some(SpinPolicy { spins, yields: Duration::from_micros(us) })
    }
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The worker is another program, another version, or not the process that was started.
    #[error("{0}")]
    Mismatch(String),
    /// The peer violated the protocol, for example with bytes that are not a greeting.
    #[error("{0}")]
    Nonsense(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The coordinator has no shared memory or no descriptors for the worker.
    #[error("{0}")]
    Shortage(String),
}

/// Tells one worker where to connect, and the nonce that identifies it.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    server: String,
    nonce: u128,
}

/// Leaves out the nonce.
impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BootstrapToken({})", self.server)
    }
}

impl BootstrapToken {
    /// Creates a token for the listener of this name, with a new nonce.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub(crate) fn to(server: &str) -> io::Result<Self> {
        Ok(Self { server: server.to_owned(), nonce: random::nonce()? })
    }

    /// The nonce that identifies the worker.
    pub fn nonce(&self) -> u128 {
        self.nonce
    }

    /// The environment that makes a child of this process the worker that has this token.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            (SERVER_ENV, self.server.clone()),
            (NONCE_ENV, format!("{:032x}", self.nonce)),
            (PARENT_ENV, process::pid().to_string()),
        ]
    }

    /// Encodes the token as a message, see [`BootstrapToken::from_message`].
    pub fn to_message(&self) -> String {
        format!("{:032x}{}", self.nonce, self.server)
    }

    /// Decodes a message of [`BootstrapToken::to_message`]; `None` if it is not one.
    pub fn from_message(message: &str) -> Option<Self> {
        let (nonce, server) = message.split_at_checked(32)?;
        Some(Self { server: server.to_owned(), nonce: u128::from_str_radix(nonce, 16).ok()? })
    }
}

/// The coordinator's response to a greeting: the welcome, or the reason for the refusal.
pub(crate) type HandshakeResponse = Result<Welcome, String>;

/// The worker's side of a connection.
#[derive(Debug)]
pub struct Connected {
    /// What the coordinator answered.
    pub welcome: Welcome,
    /// Where the worker shows what it does, and takes requests.
    pub endpoint: WorkerEndpoint,
    /// Control channel from the coordinator: jobs.
    pub requests: Receiver,
    /// Control channel to the coordinator: results.
    pub responses: Sender,
}

/// Reads what the coordinator put into its worker's environment: the bootstrap token and the
/// coordinator's process id. `None` if this process is not a worker.
///
/// # Errors
/// When only part of it is there.
pub fn worker_environment() -> Option<Result<(BootstrapToken, u32), Refusal>> {
    let server = std::env::var(SERVER_ENV).ok()?;
    let read = || {
        let nonce = std::env::var(NONCE_ENV).ok()?;
        let nonce = u128::from_str_radix(&nonce, 16).ok()?;
        let parent = std::env::var(PARENT_ENV).ok()?;
        Some((BootstrapToken { server, nonce }, parent.parse().ok()?))
    };
    Some(read().ok_or_else(|| {
        Refusal::Broken(format!("{SERVER_ENV} is set, but {NONCE_ENV} or {PARENT_ENV} is not"))
    }))
}

/// Connects to the coordinator's listener and waits until the coordinator admits this worker.
///
/// # Errors
/// When the coordinator is gone or refuses this worker.
pub fn connect(token: BootstrapToken, hello: &Hello) -> Result<Connected, Refusal> {
    connect_and_keep(token, hello).map(|(connected, _)| connected)
}

/// Like [`connect`], and also returns the memory of the endpoint and of the doorbells, for tests
/// that misuse it. A worker does not need it: it has mapped both.
///
/// # Errors
/// As for [`connect`].
#[doc(hidden)]
pub fn connect_and_keep(
    token: BootstrapToken,
    hello: &Hello,
) -> Result<(Connected, [OwnedFd; 2]), Refusal> {
    let broken = |error: &dyn std::fmt::Display| Refusal::Broken(error.to_string());
    let BootstrapToken { server, .. } = token;
    let ipc = IpcSender::connect(server.clone()).map_err(|error| broken(&error))?;
    let responses = Sender::connected(ipc, &server).map_err(|error| broken(&error))?;
    let hello = wire::encode(hello).map_err(|error| broken(&error))?;
    responses.post(Envelope::new(hello)).map_err(|error| broken(&error))?;
    let mut buffer = [0; packet::LONGEST_WELCOME];
    let (head, memory) = packet_reader::read(responses.socket(), &mut buffer)?;
    let welcome = wire::decode::<HandshakeResponse>(head)
        .map_err(|error| broken(&error))?
        .map_err(Refusal::Mismatch)?;
    let mut memory = memory.into_iter().flatten();
    let (Some(endpoint), Some(doorbells)) = (memory.next(), memory.next()) else {
        return Err(broken(&"the coordinator sent no endpoint"));
    };
    let map = |memory: &OwnedFd| {
        Mapping::of(memory).map_err(|_| {
            let why = shortage::of_shared_memory(0);
            broken(&format!("what it shares with the coordinator cannot be mapped: {why}"))
        })
    };
    let kept = [endpoint, doorbells];
    let [endpoint, doorbells] = kept.each_ref().map(map);
    let (endpoint, doorbells) = (endpoint?, doorbells?);
    let endpoint = Doorbells::open(doorbells)
        .and_then(|doorbells| WorkerEndpoint::open(endpoint, doorbells))
        .ok_or_else(|| broken(&"the coordinator sent an endpoint that is too small"))?;
    let requests = Receiver::new(Arc::clone(responses.socket()));
    Ok((Connected { welcome, endpoint, requests, responses }, kept))
}

impl From<RecvError> for Refusal {
    fn from(error: RecvError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Identifies the executable that this process runs: the version, and the identity of the file on
/// disk. Two processes of one file have the same id; a rebuilt file has another.
///
/// Computed once: a forked process has the result already.
pub fn build_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let file = std::fs::metadata("/proc/self/exe")
            .or_else(|_| std::env::current_exe().and_then(std::fs::metadata));
        let version = env!("CARGO_PKG_VERSION");
        match file {
            Ok(file) => format!(
                "{version}-{:x}-{:x}-{:x}-{:x}.{:x}",
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime(),
                file.mtime_nsec()
            ),
            Err(_) => version.to_owned(),
        }
    })
}

/// Does once what each worker does in its handshake. Workers that are forked from this process then
/// find the one-time work done: buffers measured, allocators grown, functions looked up.
///
/// # Errors
/// When no descriptor is free.
pub fn warm_up() -> io::Result<()> {
    let _ = build_id();
    let (sender, receiver) = channel::<Envelope>()?;
    sender.send(Envelope::new(vec![0; 300])).map_err(io::Error::other)?;
    receiver.recv().map_err(io::Error::other)?;
    let (near, far) = socket::pair()?;
    let packet = packet::wrap(&packet::message(&[0; 100], &[0]));
    socket::send(&near, &packet, &[near.as_fd()])?;
    let mut buffer = [0; packet::LONGEST_WELCOME];
    packet_reader::read(&far, &mut buffer).map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_survives_being_sent() {
        let token = BootstrapToken::to("/a place/with spaces\nand lines").unwrap();
        assert_eq!(BootstrapToken::from_message(&token.to_message()), Some(token));
        for nonsense in ["", "0123", &"x".repeat(40), "0123456789abcdef0123456789abcde\u{fc}/"] {
            assert_eq!(BootstrapToken::from_message(nonsense), None);
        }
    }
}
