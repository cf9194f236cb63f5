//! Ways to be no good over the control channel: packets on the socket of the responses.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use brigade_ipc::wire::{self, MessageResponse};
use brigade_proto::{JobError, JobId, Notes};
use brigade_sys::socket;
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::stage::{HostileWorker, hang};

/// Encoded like `Head` in `ipc/src/envelope.rs`.
#[derive(Serialize)]
struct ForgedHead {
    message: MessageResponse,
    payloads: Vec<ForgedCarrier>,
}

/// Encoded like `Carrier` in `ipc/src/envelope.rs`.
#[derive(Clone, Serialize)]
#[expect(dead_code, reason = "the place of a variant is its encoding")]
pub(super) enum ForgedCarrier {
    Small(ByteBuf),
    Frames { len: u64 },
    Region { len: u64 },
}

/// As ipc-channel makes one.
pub(super) fn packet(message: &[u8]) -> Vec<u8> {
    let len = 16 + message.len();
    [&len.to_ne_bytes(), &message.len().to_ne_bytes(), message].concat()
}

/// Bytes with their length, as postcard writes them.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    let (mut text, mut len) = (Vec::new(), bytes.len());
    while len >= 0x80 {
        text.push(len as u8 | 0x80);
        len >>= 7;
    }
    text.push(len as u8);
    text.extend(bytes);
    text
}

fn envelope(head: &[u8], regions: u8) -> Vec<u8> {
    let mut envelope = text(head);
    envelope.push(regions);
    envelope.extend(0..regions);
    packet(&envelope)
}

fn done(job: JobId, error: Option<JobError>) -> MessageResponse {
    MessageResponse::Done {
        job,
        error,
        notes: Notes::default(),
        in_hand: 0,
        called: 0,
        returned: 0,
        published: 0,
    }
}

impl HostileWorker {
    fn post(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
        // Fails if it has been ended meanwhile.
        let _ = socket::send(&self.socket, packet, descriptors);
    }
}

/// Has a job in hand, sends this, and hangs.
pub(super) fn sends(mut worker: HostileWorker, packet: &[u8]) {
    worker.first();
    worker.post(packet, &[worker.socket.as_fd()]);
    hang();
}

/// Sends a response whose head claims these payloads, the last of which is this file.
pub(super) fn claims(mut worker: HostileWorker, payloads: &[ForgedCarrier], file: Option<OwnedFd>) {
    let job = worker.first().job;
    let head = ForgedHead { message: done(job, None), payloads: payloads.to_vec() };
    let head = wire::encode(&head).unwrap();
    let descriptors: Vec<_> = file.iter().map(AsFd::as_fd).collect();
    worker.post(&envelope(&head, descriptors.len() as u8), &descriptors);
    hang();
}

/// A region of this many bytes, all of them holes.
pub(super) fn sparse(len: u64) -> OwnedFd {
    let name = format!("/dev/shm/brigade-test-{}", std::process::id());
    let file = File::create_new(&name).unwrap();
    std::fs::remove_file(name).unwrap();
    file.set_len(len).unwrap();
    file.into()
}

/// Announces a short payload and sends a longer frame.
pub(super) fn long_frame(mut worker: HostileWorker) {
    let job = worker.first().job;
    let head =
        ForgedHead { message: done(job, None), payloads: vec![ForgedCarrier::Frames { len: 10 }] };
    worker.post(&envelope(&wire::encode(&head).unwrap(), 0), &[]);
    worker.post(&envelope(&[0; 100], 0), &[]);
    hang();
}

/// Announces a payload, sends half of it, and hangs.
pub(super) fn half_a_payload(mut worker: HostileWorker) {
    let job = worker.first().job;
    let payloads = vec![ForgedCarrier::Frames { len: 200_000 }];
    let head = ForgedHead { message: done(job, None), payloads };
    worker.post(&envelope(&wire::encode(&head).unwrap(), 0), &[]);
    worker.post(&envelope(&[0; 100_000], 0), &[]);
    hang();
}

/// An error message that is longer than any message may be.
pub(super) fn long_error(mut worker: HostileWorker) {
    let job = worker.first().job;
    let error = JobError::Kernel { message: "x".repeat(140_000) };
    let head = ForgedHead { message: done(job, Some(error)), payloads: Vec::new() };
    worker.post(&envelope(&wire::encode_bulk(&head).unwrap(), 0), &[]);
    hang();
}

/// A head of garbage in an envelope that is right.
pub(super) fn nonsense(worker: HostileWorker) {
    sends(worker, &envelope(&[0xee; 300], 0));
}
