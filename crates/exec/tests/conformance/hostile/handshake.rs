//! Ways to be no good before having been admitted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use brigade_ipc::{Hello, SERVER_ENV, connect, wire, worker_environment};
use brigade_sys::socket;

use super::control::{packet, text};
use super::stage::{hang, hello};

/// Says hello, with something changed.
pub(super) fn says(change: impl FnOnce(&mut Hello)) {
    let (token, _) = worker_environment().unwrap().unwrap();
    let mut hello = hello(token.nonce());
    change(&mut hello);
    assert!(connect(token, &hello).is_err());
    hang();
}

fn connects() -> OwnedFd {
    socket::connect(std::env::var(SERVER_ENV).unwrap()).unwrap()
}

pub(super) fn connects_and_hangs() {
    let _socket = connects();
    hang();
}

pub(super) fn dies() {
    let _socket = connects();
    std::process::abort();
}

/// Sends this for a greeting.
fn sends(packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let socket = connects();
    socket::send(&socket, packet, descriptors).unwrap();
    hang();
}

pub(super) fn garbage() {
    sends(&[0xee; 1000], &[]);
}

pub(super) fn half_a_header() {
    sends(&8_usize.to_ne_bytes(), &[]);
}

pub(super) fn claims_too_much() {
    let socket = connects();
    // ipc-channel would reserve that, as there is a socket to receive the rest from.
    let claim = [&18_usize.to_ne_bytes()[..], &(1_usize << 60).to_ne_bytes(), b"xy"].concat();
    socket::send(&socket, &claim, &[socket.as_fd()]).unwrap();
    hang();
}

pub(super) fn too_long() {
    sends(&packet(&vec![0; 180 << 10]), &[]);
}

/// A hello that is right, in a greeting with a descriptor: as a region of it, or only beside it.
pub(super) fn descriptors(regions: &[u8]) {
    let (token, _) = worker_environment().unwrap().unwrap();
    let mut greeting = text(&wire::encode(&hello(token.nonce())).unwrap());
    greeting.extend(regions);
    let (reader, _writer) = std::io::pipe().unwrap();
    sends(&packet(&greeting), &[reader.as_fd()]);
}

/// A hello of garbage, of some length.
pub(super) fn hello_of(len: usize) {
    let mut greeting = text(&vec![0xff; len]);
    greeting.push(0);
    sends(&packet(&greeting), &[]);
}
