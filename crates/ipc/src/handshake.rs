//! How a coordinator and the worker that it has just started find each other, and
//! make sure that the other one is who it should be.
//!
//! 1. The coordinator makes a one-shot server and starts the worker with the
//!    server's name and a random nonce in its environment (not in its arguments,
//!    which anybody can read).
//! 2. The worker connects and sends a [`Hello`] with the ends of its two channels.
//! 3. The coordinator compares nonce, protocol version, build and kernels, and
//!    answers with a [`Welcome`] and the worker's status page, or with the reason
//!    of its refusal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::Duration;

use brigade_proto::{PROTOCOL_VERSION, WorkerId};
use brigade_sys::{process, random, shortage, socket};
use ipc_channel::ipc::{IpcReceiver, IpcSender, channel};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::channel::{Envelope, Receiver, RecvError, Sender};
use crate::intake::Intake;
use crate::packet::{self, Malformed};
use crate::station::{Bells, BellsRegion, Pass, Patience, Station};
use crate::{bridge, runtime_dir, wire};

/// Name of the one-shot server, for the worker. Its presence makes a process a
/// worker.
pub const SERVER_ENV: &str = "BRIGADE_WORKER_SERVER";
/// The nonce, for the worker.
pub const NONCE_ENV: &str = "BRIGADE_WORKER_NONCE";
/// Process id of the coordinator, for the worker.
pub const PARENT_ENV: &str = "BRIGADE_WORKER_PARENT";

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// [`build_id`].
    pub build: String,
    /// From the environment.
    pub nonce: u128,
    /// Process id.
    pub pid: u32,
    /// Names of all kernels, in the order of the registry.
    pub kernels: Vec<String>,
}

/// What a coordinator tells a worker that it has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The lane.
    pub worker: WorkerId,
    /// Events up to this level are wanted: 0 (none) to 5 (trace).
    pub log_level: u8,
    /// Bind to the n-th usable core.
    pub pin: Option<u32>,
    /// Jobs come through the ring, and this is how long the worker looks for one
    /// before it sleeps: looks, and microseconds of yields. `None`: they come as
    /// mail.
    pub rings: Option<(u32, u64)>,
    /// What the worker is bound to, from here on.
    pub bounds: Bounds,
}

/// What binds a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Private memory that it may have beyond what it starts with, in bytes.
    pub memory: Option<u64>,
    /// Processor time for each job.
    pub cpu: Option<Duration>,
    /// Shut itself in; `Some(false)`: as far as that works.
    pub sandbox: Option<bool>,
}

impl Welcome {
    /// How the worker waits for orders, if it gets any.
    pub fn patience(&self) -> Option<Patience> {
        let (spins, us) = self.rings?;
        Some(Patience { spins, yields: Duration::from_micros(us) })
    }
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The worker is another program, another version, or not the one that was
    /// started.
    #[error("{0}")]
    Mismatch(String),
    /// What it sent is no greeting of a worker.
    #[error("{0}")]
    Nonsense(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The coordinator has no shared memory for a worker.
    #[error("there is no shared memory for it: {0}")]
    Shortage(String),
}

#[derive(Serialize, Deserialize)]
struct Greeting {
    #[serde(with = "serde_bytes")]
    hello: ByteBuf,
    requests: IpcSender<Envelope>,
    replies: IpcReceiver<Envelope>,
}

/// A server that waits for one worker.
pub struct Listener {
    /// Its path is removed with it.
    socket: NamedTempFile<OwnedFd>,
    name: String,
    nonce: u128,
}

/// Without the nonce.
impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.name)
    }
}

/// Where a listener waits: for a watcher who may have to end its wait.
#[derive(Clone, Debug)]
pub struct Doorstep(String);

impl Doorstep {
    /// Makes an [`Listener::accept`] that nobody has connected to yet return, by
    /// connecting and hanging up. (One whose worker has connected and hangs ends
    /// when the worker is killed.)
    pub fn abort(&self) {
        // Not through ipc-channel, whose `connect` leaks its socket when the server
        // has gone already. Refused: it has, and nobody waits.
        let _ = socket::knock(&self.0);
    }
}

/// A worker that is the right one, and waits to be let in.
#[derive(Debug)]
pub struct Accepted {
    /// What the worker said of itself.
    pub hello: Hello,
    requests: OwnedFd,
    replies: OwnedFd,
}

/// The coordinator's side of a connection.
#[derive(Debug)]
pub struct Admitted {
    /// The worker's station.
    pub pass: Pass,
    /// Jobs go here.
    pub requests: Sender,
    /// Results come from here.
    pub replies: Intake,
}

impl Listener {
    /// Makes a server in the private directory.
    ///
    /// # Errors
    /// When the directory or the socket cannot be made.
    pub fn bind() -> io::Result<Self> {
        runtime_dir::prepare()?;
        // Not in a directory of its own, as ipc-channel does it: that takes longer than all
        // else here.
        let socket = tempfile::Builder::new()
            .prefix("worker-")
            .make_in(runtime_dir::path(), |path| socket::listen(path))?;
        let path = socket.path();
        let name = path.to_str().map(str::to_owned).ok_or_else(|| {
            io::Error::other(format!("{} is not UTF-8; set XDG_RUNTIME_DIR", path.display()))
        })?;
        Ok(Self { socket, name, nonce: random::nonce()? })
    }

    /// Where the listener waits.
    pub fn doorstep(&self) -> Doorstep {
        Doorstep(self.name.clone())
    }

    /// The environment that makes a process the worker of this listener.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            (SERVER_ENV, self.name.clone()),
            (NONCE_ENV, format!("{:032x}", self.nonce)),
            (PARENT_ENV, process::pid().to_string()),
        ]
    }

    /// Waits for the worker and checks it. Has no deadline: see
    /// [`Doorstep::abort`].
    ///
    /// # Errors
    /// See [`Refusal`]. A worker that is refused for a mismatch is told why.
    pub fn accept(self, pid: u32, kernels: &[String]) -> Result<Accepted, Refusal> {
        let broken = |error: io::Error| Refusal::Broken(error.to_string());
        let malformed = |what: Malformed| Refusal::Nonsense(format!("its greeting is {what}"));
        let caller = self.wait_for(pid)?;
        let mut buffer = vec![0; packet::LONGEST_GREETING];
        let greeting = socket::receive(&caller, &mut buffer).map_err(broken)?;
        if greeting.len == 0 {
            return Err(Refusal::Broken("it has hung up".to_owned()));
        }
        if greeting.is_cut {
            return Err(malformed("a packet that is too long"));
        }
        let hello = packet::greeting(&buffer[..greeting.len]).map_err(malformed)?;
        let hello: Hello = wire::decode(hello)
            .map_err(|error| Refusal::Nonsense(format!("its greeting is none: {error}")))?;
        let [requests, replies] = <[OwnedFd; 2]>::try_from(greeting.descriptors)
            .ok()
            .filter(|channels| channels.iter().all(socket::is_socket))
            .ok_or_else(|| malformed("one without two channels"))?;
        if let Err(reason) = check(&hello, self.nonce, pid, kernels) {
            let _ = answer(&requests, &Err(reason.clone()), &[]);
            return Err(Refusal::Mismatch(reason));
        }
        Ok(Accepted { hello, requests, replies })
    }

    /// Waits until the worker connects. Others may, and are sent away, but for this
    /// process itself: see [`Doorstep::abort`].
    fn wait_for(&self, pid: u32) -> Result<OwnedFd, Refusal> {
        loop {
            let (caller, peer) = socket::accept(self.socket.as_file())
                .map_err(|error| Refusal::Broken(error.to_string()))?;
            if peer == pid {
                return Ok(caller);
            }
            if peer == process::pid() {
                return Err(Refusal::Broken("it did not come".to_owned()));
            }
        }
    }
}

fn check(hello: &Hello, nonce: u128, pid: u32, kernels: &[String]) -> Result<(), String> {
    if hello.version != PROTOCOL_VERSION {
        return Err(format!(
            "it speaks protocol version {}, the coordinator {PROTOCOL_VERSION}; \
             use the same build of the program for both",
            hello.version
        ));
    }
    if hello.nonce != nonce {
        return Err("it does not know the nonce: another process has connected".to_owned());
    }
    if hello.pid != pid {
        return Err(format!("it says that it is process {}, but {pid} was started", hello.pid));
    }
    let build = build_id();
    if hello.build != build {
        return Err(format!(
            "it is build {}, the coordinator is {build}; use the same executable for both",
            hello.build
        ));
    }
    if hello.kernels != kernels {
        return Err("its kernels are not the coordinator's; use the same registry".to_owned());
    }
    Ok(())
}

type Answer = Result<Welcome, String>;

/// Not through ipc-channel, which maps what it sends: to take a mapping back stops all threads of
/// this process for a moment, several times for each worker.
fn answer(requests: &OwnedFd, answer: &Answer, regions: &[BorrowedFd<'_>]) -> Result<(), Refusal> {
    let head = wire::encode(answer).map_err(|error| Refusal::Broken(error.to_string()))?;
    let places: Vec<u64> = (0..regions.len() as u64).collect();
    let packet = packet::wrap(&packet::message(&head, &places));
    socket::send(requests, &packet, regions).map_err(|error| Refusal::Broken(error.to_string()))
}

impl Accepted {
    /// Lets the worker in.
    ///
    /// # Errors
    /// When the worker has died meanwhile or there is no memory for the station.
    pub fn welcome(self, welcome: Welcome, bells: &BellsRegion) -> Result<Admitted, Refusal> {
        let no_memory = || Refusal::Shortage(shortage::of_shared_memory(0));
        let station = Pass::memory().ok_or_else(no_memory)?;
        answer(&self.requests, &Ok(welcome), &[station.as_fd(), bells.as_fd()])?;
        // The worker goes on meanwhile.
        let pass = Pass::open(&station).ok_or_else(no_memory)?;
        let requests = bridge::sender(&self.requests);
        let requests = Sender(requests.map_err(|error| Refusal::Broken(error.to_string()))?);
        Ok(Admitted { pass, requests, replies: Intake::new(self.replies) })
    }
}

/// The worker's side of a connection.
#[derive(Debug)]
pub struct Connected {
    /// What the coordinator said.
    pub welcome: Welcome,
    /// Where the worker shows what it does, and gets orders.
    pub station: Station,
    /// Jobs come from here.
    pub requests: Receiver,
    /// Results go here.
    pub replies: Sender,
}

/// What a coordinator put into the environment of its worker: server, nonce and
/// the coordinator's process id. `None` if this process is no worker.
///
/// # Errors
/// When only part of it is there.
pub fn worker_environment() -> Option<Result<(String, u128, u32), Refusal>> {
    let server = std::env::var(SERVER_ENV).ok()?;
    let read = || {
        let nonce = std::env::var(NONCE_ENV).ok()?;
        let parent = std::env::var(PARENT_ENV).ok()?;
        Some((server, u128::from_str_radix(&nonce, 16).ok()?, parent.parse().ok()?))
    };
    Some(read().ok_or_else(|| {
        Refusal::Broken(format!("{SERVER_ENV} is set, but {NONCE_ENV} or {PARENT_ENV} is not"))
    }))
}

/// Connects to the coordinator's server and waits to be let in.
///
/// # Errors
/// When the coordinator is gone or refuses this worker.
pub fn connect(server: String, hello: &Hello) -> Result<Connected, Refusal> {
    let broken = |error: &dyn std::fmt::Display| Refusal::Broken(error.to_string());
    let bootstrap = IpcSender::<Greeting>::connect(server).map_err(|error| broken(&error))?;
    let (request_sender, requests) = channel().map_err(|error| broken(&error))?;
    let (replies, reply_receiver) = channel().map_err(|error| broken(&error))?;
    let hello = wire::encode(hello).map_err(|error| broken(&error))?;
    let greeting =
        Greeting { hello: ByteBuf::from(hello), requests: request_sender, replies: reply_receiver };
    bootstrap.send(greeting).map_err(|error| broken(&error))?;
    drop(bootstrap);
    let envelope: Envelope = requests.recv().map_err(|error| broken(&error))?;
    let welcome = wire::decode::<Answer>(&envelope.head)
        .map_err(|error| broken(&error))?
        .map_err(Refusal::Mismatch)?;
    let mut regions = envelope.regions.into_iter();
    let station = (|| {
        let (station, bells) = (regions.next()?, regions.next()?);
        Station::open(station, Bells::open(bells)?)
    })()
    .ok_or_else(|| broken(&"the coordinator sent no station"))?;
    Ok(Connected { welcome, station, requests: Receiver(requests), replies: Sender(replies) })
}

impl From<RecvError> for Refusal {
    fn from(error: RecvError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Which executable this process runs: the version, and the identity of the file
/// on disk. Two processes of one file have the same; a rebuilt file differs.
///
/// Looked up once: a process that is forked has the answer already.
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

/// Does once what each worker does when it shakes hands, so that workers that are forked from
/// this process find done what needs to be done once: buffers measured, allocators grown,
/// functions looked up.
///
/// # Errors
/// When no descriptor is free.
pub fn rehearse() -> io::Result<()> {
    let _ = build_id();
    let (sender, receiver) = channel::<Greeting>()?;
    let (requests, _stays) = channel()?;
    let (_stays, replies) = channel()?;
    let greeting = Greeting { hello: ByteBuf::from(vec![0; 300]), requests, replies };
    sender.send(greeting).map_err(io::Error::other)?;
    receiver.recv().map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(nonce: u128) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            build: build_id().to_owned(),
            nonce,
            pid: process::pid(),
            kernels: vec!["noop".to_owned()],
        }
    }

    fn shake(
        change: impl FnOnce(&mut Hello),
    ) -> (Result<Hello, Refusal>, Result<Connected, Refusal>) {
        let listener = Listener::bind().unwrap();
        let mut hello = hello(listener.nonce);
        change(&mut hello);
        let name = listener.name.clone();
        let worker = std::thread::spawn(move || connect(name, &hello));
        let accepted = listener.accept(process::pid(), &["noop".to_owned()]).and_then(|accepted| {
            let (_, bells) = Bells::create().unwrap();
            let welcome = Welcome {
                worker: WorkerId(3),
                log_level: 0,
                pin: None,
                rings: None,
                bounds: Bounds::default(),
            };
            let hello = accepted.hello.clone();
            accepted.welcome(welcome, &bells)?;
            Ok(hello)
        });
        (accepted, worker.join().unwrap())
    }

    #[test]
    fn the_right_worker_is_let_in() {
        let (accepted, connected) = shake(|_| {});
        assert_eq!(connected.unwrap().welcome.worker, WorkerId(3));
        assert_eq!(accepted.unwrap().pid, process::pid());
    }

    #[test]
    fn every_wrong_worker_is_refused_and_told_why() {
        type Change = fn(&mut Hello);
        let cases: [(&str, Change); 5] = [
            ("protocol version", |hello| hello.version += 1),
            ("nonce", |hello| hello.nonce ^= 1),
            ("process", |hello| hello.pid += 1),
            ("build", |hello| hello.build.push('x')),
            ("kernels", |hello| hello.kernels.clear()),
        ];
        for (word, change) in cases {
            let (accepted, connected) = shake(change);
            let coordinator = accepted.unwrap_err().to_string();
            assert!(coordinator.contains(word), "{coordinator}");
            assert_eq!(connected.unwrap_err().to_string(), coordinator);
        }
    }

    #[test]
    fn knocking_where_nobody_waits_leaks_nothing() {
        let sockets = || {
            std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .filter_map(|fd| std::fs::read_link(fd.path()).ok())
                .filter(|target| target.to_string_lossy().starts_with("socket:"))
                .count()
        };
        let doorstep = Listener::bind().unwrap().doorstep();
        let before = sockets();
        (0..100).for_each(|_| doorstep.abort());
        // Other tests run at the same time and have some.
        assert!(sockets() < before + 50);
    }

    #[test]
    fn a_wait_for_a_worker_that_never_comes_can_be_ended() {
        let listener = Listener::bind().unwrap();
        listener.doorstep().abort();
        assert!(matches!(listener.accept(1, &[]), Err(Refusal::Broken(_))));
    }
}
