//! The coordinator's side of a [handshake](crate::handshake). Nothing here blocks: the pool's
//! supervisor serves all workers, and calls these functions when the kernel reports an event.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use brigade_proto::PROTOCOL_VERSION;
use brigade_sys::{shortage, socket};
use tempfile::NamedTempFile;

use crate::channel::Sender;
use crate::endpoint::{CoordinatorEndpoint, DoorbellsRegion};
use crate::handshake::{BootstrapToken, HandshakeResponse, Hello, Refusal, Welcome, build_id};
use crate::hardened_receiver::HardenedReceiver;
use crate::packet::{self, Malformed};
use crate::{runtime_dir, wire};

/// The socket to which the workers of a pool connect. All workers share one: creating and removing
/// a file for each worker would write to a disk if the directory is on one, which is slow, and at
/// times very slow.
#[derive(Debug)]
pub struct Listener {
    /// Dropping it removes its path.
    socket: NamedTempFile<OwnedFd>,
    name: String,
}

/// A connection whose peer has not identified itself. It may be any process of this user.
#[derive(Debug)]
pub struct PendingConnection {
    socket: Arc<OwnedFd>,
    pid: u32,
}

/// A worker that has passed the checks and waits for the coordinator to admit it.
#[derive(Debug)]
pub struct Accepted(Arc<OwnedFd>);

/// The coordinator's side of an admitted worker's connection.
#[derive(Debug)]
pub struct Admitted {
    /// The coordinator's side of the worker's endpoint.
    pub endpoint: CoordinatorEndpoint,
    /// Control channel to the worker: jobs.
    pub requests: Sender,
    /// Control channel from the worker: results.
    pub responses: HardenedReceiver,
}

/// Readable when a process has connected.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_file().as_fd()
    }
}

/// Readable when the peer has sent something or hung up.
impl AsFd for PendingConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Creates the socket in the private directory.
    ///
    /// # Errors
    /// When the directory or the socket cannot be created.
    pub fn bind() -> io::Result<Self> {
        let directory = runtime_dir::prepare()?;
        // Not in a directory of its own, as ipc-channel does it: that takes longer than everything
        // else here.
        let socket = tempfile::Builder::new()
            .prefix("pool-")
            .make_in(directory, |path| socket::listen(path))?;
        let path = socket.path();
        let name = path.to_str().map(str::to_owned).ok_or_else(|| {
            io::Error::other(format!("{} is not UTF-8; set XDG_RUNTIME_DIR", path.display()))
        })?;
        Ok(Self { socket, name })
    }

    /// Whether workers can still find the socket: another program may have cleared its directory.
    pub fn is_there(&self) -> bool {
        self.socket.path().exists()
    }

    /// Issues the token for one more worker.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn issue_token(&self) -> io::Result<BootstrapToken> {
        BootstrapToken::to(&self.name)
    }

    /// Accepts the next connection; `None` if no other process has connected.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn accept(&self) -> io::Result<Option<PendingConnection>> {
        let accepted = socket::accept(self.socket.as_file())?;
        Ok(accepted.map(|(socket, pid)| PendingConnection { socket: Arc::new(socket), pid }))
    }
}

impl PendingConnection {
    /// The peer's process id, from the kernel (0 if the peer is not visible to this process).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Receives the greeting and checks it against the worker's token. `None`: nothing has arrived
    /// yet.
    ///
    /// # Errors
    /// See [`Refusal`]. A worker that is refused for a mismatch receives the reason.
    pub fn greeting(
        &self,
        token: &BootstrapToken,
        kernels: &[String],
    ) -> Result<Option<Accepted>, Refusal> {
        let broken = |error: io::Error| Refusal::Broken(error.to_string());
        let malformed = |what: Malformed| Refusal::Nonsense(format!("its greeting is {what}"));
        let mut buffer = vec![0; packet::LONGEST_GREETING];
        let Some(greeting) = socket::receive_now(&self.socket, &mut buffer).map_err(broken)? else {
            return Ok(None);
        };
        if greeting.len == 0 {
            return Err(Refusal::Broken("it has hung up".to_owned()));
        }
        if greeting.is_short {
            let error = shortage::of_descriptors();
            let why = format!("its greeting is lost: {error}{}", shortage::remedy(&error));
            return Err(Refusal::Shortage(why));
        }
        if greeting.is_cut {
            return Err(malformed("a packet that is too long"));
        }
        let envelope = packet::envelope(&buffer[..greeting.len]).map_err(malformed)?;
        if !envelope.regions.is_empty() || !greeting.descriptors.is_empty() {
            return Err(malformed("one with descriptors"));
        }
        let hello: Hello = wire::decode(envelope.head)
            .map_err(|error| Refusal::Nonsense(format!("its greeting is none: {error}")))?;
        if let Err(reason) = check(&hello, token.nonce(), self.pid, kernels) {
            let _ = respond(&self.socket, &Err(reason.clone()), &[]);
            return Err(Refusal::Mismatch(reason));
        }
        Ok(Some(Accepted(Arc::clone(&self.socket))))
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

/// Does not use ipc-channel, which maps what it sends: each unmapping stops all threads of this
/// process for a moment, and each worker would cause several.
///
/// Does not wait for the worker: a full socket is an error.
fn respond(
    socket: &OwnedFd,
    response: &HandshakeResponse,
    regions: &[BorrowedFd<'_>],
) -> Result<(), Refusal> {
    let head = wire::encode(response).map_err(|error| Refusal::Broken(error.to_string()))?;
    let places: Vec<u64> = (0..regions.len() as u64).collect();
    let packet = packet::wrap(&packet::message(&head, &places));
    socket::send_now(socket, &packet, regions).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            Refusal::Nonsense("its channel was full before it was let in".to_owned())
        }
        _ => Refusal::Broken(error.to_string()),
    })
}

impl Accepted {
    /// Admits the worker.
    ///
    /// # Errors
    /// When the worker has died meanwhile, or when memory or a descriptor for its endpoint is
    /// lacking.
    pub fn welcome(
        self,
        welcome: Welcome,
        doorbells: &DoorbellsRegion,
    ) -> Result<Admitted, Refusal> {
        let no_memory = || {
            let why = shortage::of_shared_memory(0);
            Refusal::Shortage(format!("no shared memory for it: {why}"))
        };
        let memory = CoordinatorEndpoint::memory().ok_or_else(no_memory)?;
        respond(&self.0, &Ok(welcome), &[memory.as_fd(), doorbells.as_fd()])?;
        // The worker continues meanwhile.
        let endpoint = CoordinatorEndpoint::open(&memory).ok_or_else(no_memory)?;
        let requests = Sender::over(Arc::clone(&self.0));
        let requests = requests.map_err(|error| {
            let remedy = shortage::remedy(&error);
            Refusal::Shortage(format!("no channel to it: {error}{remedy}"))
        })?;
        Ok(Admitted { endpoint, requests, responses: HardenedReceiver::new(self.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_proto::WorkerId;
    use brigade_sys::event_fd::wait_readable;
    use brigade_sys::process;

    use crate::endpoint::Doorbells;
    use crate::handshake::{Bounds, Connected, connect};

    fn hello(nonce: u128) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            build: build_id().to_owned(),
            nonce,
            pid: process::pid(),
            kernels: vec!["noop".to_owned()],
        }
    }

    fn wait(source: &impl AsFd) {
        let limit = Some(std::time::Duration::from_secs(60));
        assert!(wait_readable(&[source.as_fd()], limit).unwrap()[0], "nothing has come");
    }

    fn shake(change: impl FnOnce(&mut Hello)) -> (Result<(), Refusal>, Result<Connected, Refusal>) {
        let listener = Listener::bind().unwrap();
        let token = listener.issue_token().unwrap();
        let mut hello = hello(token.nonce());
        change(&mut hello);
        let worker = std::thread::spawn({
            let token = token.clone();
            move || connect(token, &hello)
        });
        wait(&listener);
        let connection = listener.accept().unwrap().unwrap();
        assert_eq!(connection.pid(), process::pid());
        wait(&connection);
        let accepted = connection.greeting(&token, &["noop".to_owned()]).and_then(|accepted| {
            let (_, doorbells) = Doorbells::create().unwrap();
            let welcome = Welcome {
                worker: WorkerId(3),
                log_level: 0,
                pin: None,
                rings: None,
                bounds: Bounds::default(),
            };
            accepted.unwrap().welcome(welcome, &doorbells).map(drop)
        });
        (accepted, worker.join().unwrap())
    }

    #[test]
    fn the_right_worker_is_let_in() {
        let (accepted, connected) = shake(|_| {});
        assert_eq!(connected.unwrap().welcome.worker, WorkerId(3));
        accepted.unwrap();
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
    fn who_says_nothing_is_not_waited_for() {
        let listener = Listener::bind().unwrap();
        assert!(listener.accept().unwrap().is_none());
        let token = listener.issue_token().unwrap();
        let silent = socket::connect(listener.socket.path()).unwrap();
        let connection = listener.accept().unwrap().unwrap();
        assert!(connection.greeting(&token, &[]).unwrap().is_none());
        drop(silent);
        assert!(matches!(connection.greeting(&token, &[]), Err(Refusal::Broken(_))));
    }

    #[test]
    fn nothing_is_left_of_a_listener() {
        let listener = Listener::bind().unwrap();
        let path = listener.socket.path().to_owned();
        assert!(listener.is_there());
        drop(listener);
        assert!(!path.exists());
    }
}
