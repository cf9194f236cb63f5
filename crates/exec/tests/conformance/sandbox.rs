//! What a kernel can do outside of the sandbox, and cannot do in it.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use brigade_exec::{Pool, Sandbox};
use brigade_kernels::{Context, Inputs, Kernel, KernelError, ParamSpec, Progress, Spec};
use brigade_proto::{JobError, JobSpec, Status};
use brigade_sys::sandbox::{self, attempts};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};

use crate::apart;
use crate::util::{ResourceSnapshot, Setup, Test, all_ok, bytes, result};

pub(crate) const TESTS: &[Test] = &[
    ("a kernel in the sandbox cannot get out of it", escapes),
    ("a kernel in the sandbox computes and dies as outside", as_outside),
];

/// A way out. It is given a directory in which there is a file `secret` and a socket
/// `door`, the port of a server on this machine, and a process that does nothing.
type EscapeAttempt = fn(&Path, u16, u32) -> io::Result<()>;

const ESCAPES: &[(&str, EscapeAttempt)] = &[
    ("read a file", |place, _, _| fs::read(place.join("secret")).map(drop)),
    ("write a file", |place, _, _| fs::write(place.join("new"), "")),
    ("list a directory", |place, _, _| fs::read_dir(place).map(drop)),
    ("remove a file", |place, _, _| fs::remove_file(place.join("new"))),
    ("connect to a socket", |place, _, _| UnixStream::connect(place.join("door")).map(drop)),
    ("connect to a server", |_, port, _| TcpStream::connect(("127.0.0.1", port)).map(drop)),
    ("make a datagram socket", |_, _, _| UnixDatagram::unbound().map(drop)),
    ("start a program", |_, _, _| Command::new("/bin/true").status().map(drop)),
    ("become a program", |_, _, _| Err(Command::new("/bin/sh").args(["-c", "exit 7"]).exec())),
    ("start a thread", |_, _, _| {
        thread::Builder::new().spawn(|| {}).map(|thread| thread.join().unwrap())
    }),
    ("fork", |_, _, _| attempts::fork()),
    ("trace a process", |_, _, process| attempts::trace(process)),
    ("signal the coordinator", |_, _, _| {
        Ok(rustix::process::kill_process(coordinator(), Signal::CONT)?)
    }),
    ("read what the coordinator was started with", |_, _, _| {
        fs::read(format!("/proc/{}/environ", parent_id())).map(drop)
    }),
    ("read the coordinator's memory", |_, _, _| {
        File::open(format!("/proc/{}/mem", parent_id())).map(drop)
    }),
    // Needs the same rights as ptrace.
    ("take the coordinator's descriptors", |_, _, _| {
        let process = rustix::process::pidfd_open(coordinator(), PidfdFlags::empty())?;
        Ok(rustix::process::pidfd_getfd(process, 0, PidfdGetfdFlags::empty()).map(drop)?)
    }),
];

fn coordinator() -> Pid {
    Pid::from_raw(parent_id().cast_signed()).unwrap()
}

/// Some machines let nobody trace who is not their child.
fn needs_tracing(way: &str) -> bool {
    ["trace a process", "read the coordinator's memory", "take the coordinator's descriptors"]
        .contains(&way)
}

fn tracing_is_restricted() -> bool {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0")
}

/// Tries a way out.
pub(crate) struct Escape;

impl Kernel for Escape {
    fn spec(&self) -> Spec {
        Spec::new("escape", "Tries a way out")
            .param(ParamSpec::int("way", 0..=100, "").default(0))
            .param(ParamSpec::int("port", 0..=65535, "").default(0))
            .param(ParamSpec::int("process", 0..=1 << 30, "").default(0))
            .inputs(Inputs::exactly(1, "path of a directory"))
            .needs_isolation()
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let place = Path::new(std::str::from_utf8(job.input(0)?).unwrap());
        let (_, way) = ESCAPES[job.int("way") as usize];
        way(place, job.int("port") as u16, job.int("process") as u32)
            .map_err(|error| KernelError::input(error.to_string()))?;
        Ok(Progress::Done)
    }
}

/// Ended with the test, however that ends.
struct Idle(Child);

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this machine lacks a part of the sandbox.
fn cannot_be_shown(what: &str) -> bool {
    let missing = sandbox::missing();
    if missing.is_empty() {
        return false;
    }
    apart::skip("sandbox", &format!("{what}: this kernel lacks {missing:?}"));
    true
}

fn escapes(setup: Setup) {
    if cannot_be_shown("the ways out") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "eggs").unwrap();
    let _door = UnixListener::bind(directory.path().join("door")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let idle = Idle(Command::new("sleep").arg("1000").spawn().unwrap());
    let place = directory.path().to_str().unwrap().as_bytes();
    let escape = |pool: &Pool, way: usize| {
        let job = JobSpec::new("escape").param("way", way as i64).param("port", i64::from(port));
        let job = job.param("process", i64::from(idle.0.id()));
        pool.submit(job.input(place)).unwrap().wait()
    };
    let open = setup.builder().workers(1).retries(0).build().unwrap();
    let shut = setup.builder().workers(1).retries(0).sandbox(Some(Sandbox::Strict));
    let shut = shut.build().unwrap();
    for (way, (name, _)) in ESCAPES.iter().enumerate() {
        let refused = |error: &JobError| {
            let said = error.to_string();
            said.contains("Operation not permitted") || said.contains("Permission denied")
        };
        let outcome = escape(&open, way);
        match outcome.result {
            Ok(_) => {}
            Err(JobError::Crashed { ref death, .. }) if *name == "become a program" => {
                assert_eq!(death, "exited with status 7");
            }
            Err(error) if needs_tracing(name) && tracing_is_restricted() => {
                assert!(refused(&error), "{name}: {error}");
            }
            Err(error) => panic!("{name} without a sandbox: {error}"),
        }
        let outcome = escape(&shut, way);
        let error = outcome.result.err().unwrap_or_else(|| panic!("{name} in the sandbox"));
        assert!(refused(&error), "{name}: {error}");
    }
    assert_eq!(shut.status().restarts, 0, "nobody is killed for trying");
}

fn as_outside(setup: Setup) {
    if cannot_be_shown("kernels in the sandbox") {
        return;
    }
    let before = ResourceSnapshot::now();
    let builder = setup.builder().sandbox(Some(Sandbox::Strict)).retries(0);
    // Little enough that outputs grow beyond it and go by shm.
    let pool = builder.arena_limit(Some(8 << 20)).build().unwrap();
    for len in [0, 100, 10_000, 1 << 20, 5 << 20, 20 << 20] {
        let outcome = pool.submit(JobSpec::new("echo").input(bytes(len, 0))).unwrap().wait();
        assert!(result(outcome).unwrap() == [bytes(len, 1).to_vec()], "{len} bytes");
    }
    all_ok(&pool, (0..2000).map(|_| JobSpec::new("echo")));
    for kernel in ["wait", "busy", "deaf", "print"] {
        let outcome = pool.submit(JobSpec::new(kernel)).unwrap().wait();
        assert_eq!(outcome.status(), Status::Ok, "{kernel}");
    }
    let panic = result(pool.submit(JobSpec::new("panic")).unwrap().wait());
    assert!(matches!(panic, Err(JobError::Panic { .. })), "{panic:?}");
    for (how, death) in [
        ("kill", "killed by SIGKILL"),
        ("segv", "killed by SIGSEGV"),
        ("abort", "killed by SIGABRT"),
        ("exit", "exited with status 0"),
        ("overflow", "killed by SIGABRT"),
    ] {
        match result(pool.submit(JobSpec::new("die").param("how", how)).unwrap().wait()) {
            Err(JobError::Crashed { death: said, .. }) => {
                assert!(said.starts_with(death), "{how}: {said}");
            }
            other => panic!("{how}: {other:?}"),
        }
    }
    pool.close();
    before.assert_same();
}
