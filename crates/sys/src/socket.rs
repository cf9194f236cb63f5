//! Unix sockets.

use std::io;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Connects to a sequenced-packet server and hangs up.
///
/// # Errors
/// When nobody listens there.
pub fn knock(path: impl AsRef<Path>) -> io::Result<()> {
    let address = SocketAddrUnix::new(path.as_ref())?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok(connect(&socket, &address)?)
}
