//! The coordinator's side of a [handshake](crate::handshake). Nothing in here waits: the pool's
//! supervisor looks after all workers, and asks what has come when the kernel says that something has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use brigade_proto::PROTOCOL_VERSION;
use brigade_sys::{shortage, socket};
use tempfile::NamedTempFile;

use crate::channel::Sender;
use crate::endpoint::{CoordinatorEndpoint, DoorbellsRegion};
use crate::handshake::{Answer, BootstrapToken, Hello, Refusal, Welcome, build_id};
use crate::hardened_receiver::HardenedReceiver;
use crate::packet::{self, Malformed};
use crate::{runtime_dir, wire};

/// Where the workers of a pool connect. One for all: a file made and removed for each worker
/// would be a write to a disk, which is slow, and at times very slow, where the directory for it is
/// on one.
#[derive(Debug)]
pub struct Listener {
    /// Its path is removed with it.
    socket: NamedTempFile<OwnedFd>,
    name: String,
}

/// Somebody who has connected. It may be anybody of this user.
#[derive(Debug)]
pub struct PendingConnection {
    socket: Arc<OwnedFd>,
    pid: u32,
}

/// A worker that is the right one, and waits to be admitted.
#[derive(Debug)]
pub struct Accepted(Arc<OwnedFd>);

/// The coordinator's side of a connection.
#[derive(Debug)]
pub struct Admitted {
    /// The worker's endpoint.
    pub pass: CoordinatorEndpoint,
    /// Jobs go here.
    pub requests: Sender,
    /// Results come from here.
    pub replies: HardenedReceiver,
}

/// Readable when somebody has connected.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_file().as_fd()
    }
}

/// Readable when it has said something, or hung up.
impl AsFd for PendingConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Makes one in the private directory.
    ///
    /// # Errors
    /// When the directory or the socket cannot be made.
    pub fn bind() -> io::Result<Self> {
        let directory = runtime_dir::prepare()?;
        // Not in a directory of its own, as ipc-channel does it: that takes longer than all
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

    /// Whether workers can still find it: somebody may have cleared its directory.
    pub fn is_there(&self) -> bool {
        self.socket.path().exists()
    }

    /// For one more worker.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn issue_token(&self) -> io::Result<BootstrapToken> {
        BootstrapToken::to(&self.name)
    }

    /// Who has connected. `None`: nobody else.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn accept(&self) -> io::Result<Option<PendingConnection>> {
        let accepted = socket::accept(self.socket.as_file())?;
        Ok(accepted.map(|(socket, pid)| PendingConnection { socket: Arc::new(socket), pid }))
    }
}

impl PendingConnection {
    /// Its process id, from the kernel (0 if it cannot be seen from here).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Hears and checks a worker that was invited. `None`: it has not said anything yet.
    ///
    /// # Errors
    /// See [`Refusal`]. A worker that is refused for a mismatch is told why.
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
            let _ = answer(&self.socket, &Err(reason.clone()), &[]);
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

/// Not through ipc-channel, which maps what it sends: to take a mapping back stops all threads of
/// this process for a moment, several times for each worker.
///
/// A worker is not waited for.
fn answer(socket: &OwnedFd, answer: &Answer, regions: &[BorrowedFd<'_>]) -> Result<(), Refusal> {
    let head = wire::encode(answer).map_err(|error| Refusal::Broken(error.to_string()))?;
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
    /// Lets the worker in.
    ///
    /// # Errors
    /// When the worker has died meanwhile or there is no memory for the endpoint.
    pub fn welcome(
        self,
        welcome: Welcome,
        doorbells: &DoorbellsRegion,
    ) -> Result<Admitted, Refusal> {
        let no_memory = || {
            let why = shortage::of_shared_memory(0);
            Refusal::Shortage(format!("no shared memory for it: {why}"))
        };
        let endpoint = CoordinatorEndpoint::memory().ok_or_else(no_memory)?;
        answer(&self.0, &Ok(welcome), &[endpoint.as_fd(), doorbells.as_fd()])?;
        // The worker goes on meanwhile.
        let pass = CoordinatorEndpoint::open(&endpoint).ok_or_else(no_memory)?;
        let requests = Sender::over(Arc::clone(&self.0));
        let requests = requests.map_err(|error| {
            let remedy = shortage::remedy(&error);
            Refusal::Shortage(format!("no channel to it: {error}{remedy}"))
        })?;
        Ok(Admitted { pass, requests, replies: HardenedReceiver::new(self.0) })
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
        let spin_policy = Some(std::time::Duration::from_secs(60));
        assert!(wait_readable(&[source.as_fd()], spin_policy).unwrap()[0], "nothing has come");
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
        let caller = listener.accept().unwrap().unwrap();
        assert_eq!(caller.pid(), process::pid());
        wait(&caller);
        let accepted = caller.greeting(&token, &["noop".to_owned()]).and_then(|accepted| {
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
        let caller = listener.accept().unwrap().unwrap();
        assert!(caller.greeting(&token, &[]).unwrap().is_none());
        drop(silent);
        assert!(matches!(caller.greeting(&token, &[]), Err(Refusal::Broken(_))));
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
