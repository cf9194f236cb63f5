//! Unix sockets of type `SOCK_SEQPACKET`, and what they carry: bytes, and descriptors of sockets
//! and of memory.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    FileType, MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::{Errno, pread};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, recvmsg, sendmsg, shutdown, socket_with,
};

use crate::limits;

/// Maximum number of descriptors in one packet; the kernel drops the rest.
pub const MAX_DESCRIPTORS: usize = 64;

/// Maximum number of pending connections; further callers wait in `connect`.
const BACKLOG: i32 = 128;

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Listens at a path, which must not exist yet. See [`accept`].
///
/// # Errors
/// When the socket cannot be created there.
pub fn listen(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let socket = seqpacket(SocketFlags::NONBLOCK)?;
    bind(&socket, &SocketAddrUnix::new(path.as_ref())?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to the `SOCK_SEQPACKET` server at a path.
///
/// # Errors
/// When no process listens there.
pub fn connect(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let socket = seqpacket(SocketFlags::empty())?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_ref())?)?;
    Ok(socket)
}

/// Duplicates the descriptor of the socket that connects this process to the server at a path. For
/// a connection that a library has made and does not expose.
///
/// # Errors
/// When none of the first 1024 descriptors is such a socket, or no descriptor is free.
pub fn connected_to(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    let path = path.as_ref().as_os_str().as_bytes();
    // Try the standard streams last: the socket is seldom one of them.
    let found = (3..1024).chain(0..3).find(|&number| has_peer(number, path));
    let Some(number) = found else { return Err(io::ErrorKind::NotConnected.into()) };
    // SAFETY: this makes a new descriptor, which nobody owns yet.
    unsafe {
        match libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) {
            again if again >= 0 => Ok(OwnedFd::from_raw_fd(again)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether a descriptor is a socket that is connected to the server at a path. Returns false if no
/// such descriptor is open. Not through rustix, whose types require an open descriptor.
fn has_peer(number: RawFd, path: &[u8]) -> bool {
    // SAFETY: a `sockaddr_un` of zeros is a valid address, of no family.
    let mut peer: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: both pointers point to live values, and `len` is the size of the first.
    let got = unsafe { libc::getpeername(number, (&raw mut peer).cast(), &raw mut len) };
    let name = peer.sun_path.iter().map(|&byte| byte as u8);
    got == 0
        && libc::c_int::from(peer.sun_family) == libc::AF_UNIX
        && !path.is_empty()
        && name.take_while(|&byte| byte != 0).eq(path.iter().copied())
}

/// Tells the other side that this side will send nothing more. This side can still receive.
pub fn close_for_sending(socket: &OwnedFd) {
    // This fails if the other side is gone. Then there is nobody to tell.
    let _ = shutdown(socket, Shutdown::Write);
}

/// Accepts a pending connection. Returns the connection and the pid of the process at its other end
/// (0 if that process is not visible from here). Returns `None` if no connection is pending. Does
/// not wait.
///
/// # Errors
/// When the operating system refuses, for example because no descriptor is free.
pub fn accept(listener: &OwnedFd) -> io::Result<Option<(OwnedFd, u32)>> {
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                let peer = peer(socket.as_fd())?;
                return Ok(Some((socket, peer)));
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The pid of the process at the other end. Not through rustix, whose process ids are never 0.
fn peer(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers point to live values, and `len` is the size of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(peer.pid.cast_unsigned())
}

/// A received packet; its bytes are at the beginning of the buffer.
#[derive(Debug)]
pub struct Packet {
    /// Length in bytes. 0 means that the other side has closed the connection.
    pub len: usize,
    /// The packet was longer than the buffer, had more descriptors than [`MAX_DESCRIPTORS`], or
    /// `is_short` is set; the rest is lost.
    pub is_cut: bool,
    /// Descriptors of the packet are lost because this process cannot open any more.
    pub is_short: bool,
    /// Descriptors that came with the packet.
    pub descriptors: Vec<OwnedFd>,
}

/// Waits for a packet. Programs that this process starts do not inherit its descriptors.
///
/// # Errors
/// When the operating system refuses, or the other side has closed the connection without reading a
/// packet that this side had sent.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Packet> {
    receive_with(socket, buffer, RecvFlags::empty())
}

/// Like [`receive`], but returns `None` if no packet has arrived.
///
/// # Errors
/// As for [`receive`].
pub fn receive_now(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
    match receive_with(socket, buffer, RecvFlags::DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        received => received.map(Some),
    }
}

fn receive_with(socket: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Packet> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC | flags) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            descriptors.extend(found);
        }
    }
    let lost = received.flags.contains(ReturnFlags::CTRUNC);
    let is_cut = received.flags.contains(ReturnFlags::TRUNC) || lost;
    let is_short = lost && descriptors.len() < MAX_DESCRIPTORS;
    Ok(Packet { len: received.bytes, is_cut, is_short, descriptors })
}

/// Sends a packet. Waits while the socket buffer is full because the other side does not read.
///
/// # Errors
/// When the operating system refuses, there are too many descriptors for one packet, or no process
/// holds the other end.
pub fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, descriptors, SendFlags::empty())
}

/// Like [`send`], but a full buffer is an error.
///
/// # Errors
/// As for [`send`], and `WouldBlock` if the buffer is full.
pub fn send_now(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, descriptors, SendFlags::DONTWAIT)
}

fn send_with(
    socket: &OwnedFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one packet"));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | flags) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// A pair of connected sockets.
///
/// # Errors
/// When no descriptor is free.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?)
}

/// Creates memory to be shared, of `len` bytes, all zero. It is sealed: no process that has it can
/// make it shorter or longer.
///
/// # Errors
/// When no descriptor is free, or there is no memory.
pub fn memory(len: u64) -> io::Result<OwnedFd> {
    let memory = unsealed_memory(len)?;
    fcntl_add_seals(&memory, FIXED_LENGTH)?;
    Ok(memory)
}

/// Seals that fix the length of memory and forbid any further seal.
pub(crate) const FIXED_LENGTH: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Like [`memory`], but the length can still be changed.
pub(crate) fn unsealed_memory(len: u64) -> io::Result<OwnedFd> {
    let memory = memfd_create("brigade", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    limits::with_large_files(|| ftruncate(&memory, len))?;
    Ok(memory)
}

/// Length in bytes, if the descriptor is a regular file or a memory file; otherwise `None`.
pub fn file_len(descriptor: &OwnedFd) -> Option<u64> {
    let stat = fstat(descriptor).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then_some(stat.st_size)?.try_into().ok()
}

/// Fills `to` with the first bytes of a file. Unlike an access through a mapping, this survives if
/// another process shortens the file meanwhile.
///
/// # Errors
/// When the file is shorter than `to`, or cannot be read.
pub fn read_file(descriptor: &OwnedFd, to: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < to.len() {
        match pread(descriptor, &mut to[filled..], filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_socket(descriptor: &OwnedFd) -> bool {
        let kind = fstat(descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode));
        kind == Ok(FileType::Socket)
    }

    #[test]
    fn packets_arrive_with_their_descriptors_and_say_if_they_were_cut() {
        let (one, other) = pair().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        send(&one, b"hello", &[reader.as_fd(), one.as_fd()]).unwrap();
        send(&one, b"hello", &[]).unwrap();
        let mut buffer = [0; 8];
        let packet = receive(&other, &mut buffer).unwrap();
        assert_eq!((packet.len, packet.is_cut, packet.descriptors.len()), (5, false, 2));
        assert_eq!(&buffer[..5], b"hello");
        assert!(!is_socket(&packet.descriptors[0]) && is_socket(&packet.descriptors[1]));
        assert_eq!(file_len(&packet.descriptors[0]), None);
        let cut = receive(&other, &mut buffer[..3]).unwrap();
        assert!(cut.is_cut && cut.descriptors.is_empty());
        // Drop all copies of the sending socket: only then does the receiver see the end.
        drop((one, packet));
        assert_eq!(receive(&other, &mut buffer).unwrap().len, 0);
    }

    #[test]
    fn descriptors_that_have_no_room_are_missed() {
        const LIMITED: &str = "BRIGADE_TEST_LIMITED";
        if std::env::var_os(LIMITED).is_none() {
            // The limit applies to the whole process, so the test runs in a child process.
            let own = std::env::current_exe().unwrap();
            let name = "socket::tests::descriptors_that_have_no_room_are_missed";
            let done = std::process::Command::new("sh")
                .args([
                    "-c",
                    "ulimit -n 64; exec \"$0\" --exact \"$1\"",
                    own.to_str().unwrap(),
                    name,
                ])
                .env(LIMITED, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(done.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let (one, other) = pair().unwrap();
        send(&one, b"hello", &[one.as_fd(), one.as_fd()]).unwrap();
        send(&one, b"hello", &[one.as_fd()]).unwrap();
        let mut hoard: Vec<_> = (0..).map_while(|_| one.try_clone().ok()).collect();
        assert!(!hoard.is_empty());
        hoard.pop();
        let packet = receive(&other, &mut [0; 8]).unwrap();
        assert!(packet.is_short && packet.is_cut, "{packet:?}");
        assert_eq!((packet.len, packet.descriptors.len()), (5, 1));
        drop(packet);
        assert!(!receive(&other, &mut [0; 8]).unwrap().is_short);
    }

    #[test]
    fn whoever_connects_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = listen(&path).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let caller = connect(&path).unwrap();
        let (connection, peer) = accept(&listener).unwrap().unwrap();
        assert_eq!(peer, std::process::id());
        assert!(receive_now(&connection, &mut [0; 8]).unwrap().is_none());
        drop(caller);
        assert_eq!(receive_now(&connection, &mut [0; 8]).unwrap().unwrap().len, 0);
        assert!(send_now(&connection, b"hello", &[]).is_err());
    }

    #[test]
    fn a_connection_is_found_by_the_name_of_its_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = listen(&path).unwrap();
        assert!(connected_to(&path).is_err());
        let caller = connect(&path).unwrap();
        let again = connected_to(&path).unwrap();
        let (connection, _) = accept(&listener).unwrap().unwrap();
        send(&again, b"hello", &[]).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive(&connection, &mut buffer).unwrap().len, 5);
        // In the other direction, both descriptors are the same connection too.
        send(&connection, b"hi", &[]).unwrap();
        close_for_sending(&connection);
        assert_eq!(receive(&caller, &mut buffer).unwrap().len, 2);
        assert_eq!(receive(&again, &mut buffer).unwrap().len, 0, "nothing more will come");
        send(&caller, b"bye", &[]).unwrap();
        assert_eq!(receive(&connection, &mut buffer).unwrap().len, 3);
    }

    #[test]
    fn whoever_reads_nothing_holds_nobody_up() {
        let (one, _other) = pair().unwrap();
        let full = (0..100_000).find_map(|_| send_now(&one, &[0; 1000], &[]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_and_no_signal() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let file = OwnedFd::from(file);
        assert_eq!(file_len(&file), Some(10));
        let mut bytes = [1; 20];
        read_file(&file, &mut bytes[..10]).unwrap();
        assert_eq!(bytes[..10], [0; 10]);
        assert!(read_file(&file, &mut bytes).is_err());
    }
}
