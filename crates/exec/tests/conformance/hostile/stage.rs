//! What a worker that is no good has at hand: its endpoint, its two channels, and, below
//! what the types of `brigade_ipc` allow, the memory and the socket behind them.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use brigade_ipc::wire::{
    ControlMessage, Instants, MessageResponse, PayloadLocation, RingRequest, RingResponse,
    decode_request, encode_response,
};
use brigade_ipc::{
    Carriage, Connected, Hello, MAX_MESSAGE, SERVER_ENV, SpinPolicy, build_id, connect_and_keep,
    worker_environment,
};
use brigade_proto::{JobError, JobId, Notes, PROTOCOL_VERSION};
use brigade_sys::{clock, process, socket};

use crate::kernels;

/// Words of a ring: where the consumer is, and 32 slots of 64 words, of which the first is
/// the seal.
const RING: u64 = 16 + 32 * 64;

/// What a coordinator expects of its worker.
pub(super) fn hello(nonce: u128) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        build: build_id().to_owned(),
        nonce,
        pid: std::process::id(),
        kernels: kernels::registry().iter().map(|entry| entry.spec.name.to_owned()).collect(),
    }
}

/// The directory in which a worker that does no harm leaves a mark.
pub(super) const ENV: &str = "BRIGADE_TEST_HOSTILE_PLACE";
/// The mark: it has done at least once what it does wrong.
pub(super) const MARK: &str = "mark";

pub(super) fn mark() {
    let place = std::env::var_os(ENV).unwrap();
    fs::write(Path::new(&place).join(MARK), "").unwrap();
}

pub(super) fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// A job, or the first of a batch of so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) job: JobId,
    pub(super) count: Option<u32>,
}

pub(super) struct HostileWorker {
    pub(super) connected: Connected,
    has_rings: bool,
    endpoint: File,
    doorbells: File,
    /// The connection.
    pub(super) socket: OwnedFd,
}

impl HostileWorker {
    /// Becomes a worker, in good manners so far.
    pub(super) fn enter() -> Self {
        let (token, parent) = worker_environment().unwrap().unwrap();
        process::close_inherited_descriptors().unwrap();
        process::die_with_parent(parent).unwrap();
        let hello = hello(token.nonce());
        let server = std::env::var(SERVER_ENV).unwrap();
        let (connected, memory) = connect_and_keep(token, &hello).unwrap();
        let [endpoint, doorbells] = memory.map(File::from);
        let socket = socket::connected_to(server).unwrap();
        let has_rings = connected.welcome.rings.is_some();
        Self { connected, has_rings, endpoint, doorbells, socket }
    }

    /// The next job, however it comes; `None` if there will be no more.
    pub(super) fn next(&mut self) -> Option<Given> {
        let mut buffer = [0; MAX_MESSAGE];
        if self.has_rings {
            let request = self.connected.endpoint.next(&mut buffer, SpinPolicy::NONE).unwrap();
            match decode_request(request).unwrap() {
                RingRequest::Job { job, .. } => return Some(Given { job, count: None }),
                RingRequest::Batch { first, count, .. } => {
                    return Some(Given { job: first, count: Some(count) });
                }
                RingRequest::ControlMessage | RingRequest::Forget { .. } => {}
                RingRequest::Leave => return None,
            }
        }
        loop {
            match self.connected.requests.recv::<ControlMessage>() {
                Ok((ControlMessage::Job(request), _)) => {
                    return Some(Given { job: request.job, count: None });
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The first job, in hand.
    pub(super) fn first(&mut self) -> Given {
        let given = self.next().unwrap();
        self.take(given.job);
        given
    }

    pub(super) fn take(&self, job: JobId) {
        self.connected.endpoint.take(job);
        self.connected.endpoint.call(clock::now());
    }

    /// A response as it should be, but for what it says.
    pub(super) fn respond(
        &mut self,
        job: JobId,
        instants: Instants,
        error: Option<JobError>,
        outputs: Vec<PayloadLocation>,
    ) {
        if self.has_rings {
            let mut buffer = [0; MAX_MESSAGE];
            let (head, body) = buffer.split_at_mut(Instants::BYTES);
            let response = RingResponse { job, error, notes: Notes::default(), outputs };
            let len = encode_response(&response, body).unwrap().unwrap();
            instants.write(head.first_chunk_mut().unwrap());
            self.connected.endpoint.publish(&buffer[..Instants::BYTES + len]);
        } else {
            let Instants { in_hand, called, returned, published } = instants;
            let response = MessageResponse::Done {
                job,
                error,
                notes: Notes::default(),
                in_hand,
                called,
                returned,
                published,
            };
            self.connected.responses.send(response, Vec::new(), Carriage::Shared).unwrap();
        }
    }

    /// Does a job without inputs and outputs as it should be done.
    pub(super) fn do_well(&mut self, job: JobId) {
        let in_hand = clock::now();
        self.take(job);
        let now = clock::now();
        let instants = Instants { in_hand, called: now, returned: now, published: now };
        self.respond(job, instants, None, Vec::new());
        self.connected.endpoint.done();
    }

    /// Writes words into the ring of responses, from the slot of a position on.
    pub(super) fn scribble(&self, position: u64, words: &[u64]) {
        let end = self.endpoint.metadata().unwrap().len() / 8;
        let at = end - RING + 16 + (position % 32) * 64;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.endpoint.write_all_at(&bytes, at * 8).unwrap();
    }

    /// Writes over everything that it shares with its coordinator.
    pub(super) fn scribble_everywhere(&self, byte: u8) {
        let len = self.endpoint.metadata().unwrap().len();
        self.endpoint.write_all_at(&vec![byte; len as usize], 0).unwrap();
    }

    /// Tries to shorten all memory that it shares with its coordinator.
    pub(super) fn cut_off(&self) {
        for memory in [&self.endpoint, &self.doorbells] {
            let _ = memory.set_len(0);
        }
        for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            if target.to_string_lossy().starts_with("/memfd:") {
                let memory = OpenOptions::new().write(true).open(entry.path()).unwrap();
                let _ = memory.set_len(0);
            }
        }
    }

    /// What makes a word of the ring a message of some length at a position.
    pub(super) fn seal(position: u64, len: u64) -> u64 {
        ((position + 1) << 10) | len
    }

    /// Says for everybody that nobody is to be woken.
    pub(super) fn silence_the_bells(&self) -> impl FnMut() + use<> {
        let doorbells = self.doorbells.try_clone().unwrap();
        move || doorbells.write_all_at(&[0; 512], 0).unwrap()
    }
}
