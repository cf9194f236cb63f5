//! Ways to write into the inputs of others.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use brigade_ipc::Received;
use brigade_ipc::wire::ControlMessage;
use brigade_sys::mapping::{Mapping, View};
use brigade_sys::sandbox::attempts;

use super::control;
use super::stage::HostileWorker;

type WriteAttempt = (&'static str, fn(&OwnedFd) -> io::Result<()>);

const WRITE_ATTEMPTS: &[WriteAttempt] = &[
    ("map it for writing", |memory| Mapping::of(memory).map(drop)),
    ("write to it", |memory| again(memory, false)?.write_all_at(b"spam", 0)),
    ("open it for writing, and write to it", |memory| {
        again(memory, true)?.write_all_at(b"spam", 0)
    }),
    ("open it for writing, and map it", |memory| {
        Mapping::of(&again(memory, true)?.into()).map(drop)
    }),
    ("open it for writing, and shorten it", |memory| again(memory, true)?.set_len(0)),
    ("make a mapping of it writable", |memory| {
        let view = View::of(memory)?;
        attempts::unprotect(view.get(0..view.len()).unwrap())
    }),
    ("write to a mapping of it through /proc", |memory| {
        let view = View::of(memory)?;
        attempts::write_through_proc(view.get(0..8).unwrap(), b"spam")
    }),
];

/// A file of the same memory.
fn again(memory: &OwnedFd, opened: bool) -> io::Result<File> {
    match opened {
        true => {
            let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
            File::options().read(true).write(true).open(path)
        }
        false => Ok(memory.try_clone()?.into()),
    }
}

/// Tries every way. If none works, it ends by what is found out.
pub(super) fn writes(mut worker: HostileWorker) {
    let memory = loop {
        let (mail, payloads) = worker.connected.requests.recv::<ControlMessage>().unwrap();
        if let (ControlMessage::Inputs { .. }, Some(Received::Memory(memory, _))) =
            (mail, payloads.into_iter().next())
        {
            break memory;
        }
    };
    for (name, way) in WRITE_ATTEMPTS {
        assert!(way(&memory).is_err(), "it could {name}");
    }
    control::sends(worker, &[0xee; 100]);
}
