//! Programs that speak to the coordinator and are no good workers. This executable
//! plays them, when it is told to by a variable.

use std::process::ExitCode;
use std::time::Duration;

use brigade_ipc::{Hello, SERVER_ENV, build_id, connect, worker_environment};
use brigade_proto::PROTOCOL_VERSION;

pub(crate) const ENV: &str = "BRIGADE_TEST_HOSTILE";

/// Plays the part that the variable names, if it does.
pub(crate) fn play() -> Option<ExitCode> {
    match std::env::var(ENV).ok()?.as_str() {
        "connects-and-hangs" => connects_and_hangs(),
        "another-version" => says_hello(|hello| hello.version += 1),
        "another-nonce" => says_hello(|hello| hello.nonce += 1),
        "dies-in-the-handshake" => {
            connects();
            return Some(ExitCode::FAILURE);
        }
        other => panic!("no part {other}"),
    }
    Some(ExitCode::SUCCESS)
}

fn connects() -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let server = SocketAddrUnix::new(std::env::var(SERVER_ENV).unwrap()).unwrap();
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&socket, &server).unwrap();
    socket
}

fn connects_and_hangs() {
    let _socket = connects();
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

fn says_hello(change: impl FnOnce(&mut Hello)) {
    let (server, nonce, _) = worker_environment().unwrap().unwrap();
    let mut hello = Hello {
        version: PROTOCOL_VERSION,
        build: build_id(),
        nonce,
        pid: std::process::id(),
        kernels: Vec::new(),
    };
    change(&mut hello);
    assert!(connect(server, &hello).is_err());
}
