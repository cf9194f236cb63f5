//! What is left when a coordinator is killed: nothing. It is another process of this
//! executable, so that it can be.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use brigade_kernels::{Context, Inputs, Kernel, KernelError, Progress, Spec};
use brigade_proto::JobSpec;
use rustix::fs::{CWD, Mode};

use crate::util::{Setup, Test, wait_until};

pub(crate) const TESTS: &[Test] =
    &[("workers and what they started end with a killed coordinator", coordinator_killed)];

/// A coordinator's setup, and where its job is to say that it runs.
const ENV: [&str; 2] = ["BRIGADE_TEST_COORDINATOR", "BRIGADE_TEST_FIFO"];

/// Starts a program that goes on for ever, waits for it, and holds a file as long as one of
/// the two lives.
pub(crate) struct Shepherd;

impl Kernel for Shepherd {
    fn spec(&self) -> Spec {
        Spec::new("shepherd", "Waits for a program without end")
            .inputs(Inputs::exactly(1, "path of a FIFO"))
            .needs_isolation()
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let path = Path::new(std::str::from_utf8(job.input(0)?).unwrap());
        let fifo = File::options().write(true).open(path).unwrap();
        // The shell's child has no parent any more when the shell has gone.
        let script = "sleep 1000 & sleep 1000 & echo both run; exec sleep 1000";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).stdout(fifo.try_clone().unwrap());
        shell.status().unwrap();
        Ok(Progress::Done)
    }
}

/// Plays the coordinator, if this process is to be one: until it is killed.
pub(crate) fn play() -> Option<ExitCode> {
    let [setup, fifo] = ENV.map(std::env::var);
    let (setup, fifo) = (setup.ok()?, fifo.ok()?);
    let setup = Setup::processes().find(|known| known.to_string() == setup).unwrap();
    let pool = setup.builder().workers(1).build().unwrap();
    let job = pool.submit(JobSpec::new("shepherd").input(fifo.as_bytes())).unwrap();
    let _ = job.wait();
    Some(ExitCode::FAILURE)
}

fn coordinator_killed(setup: Setup) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let mut coordinator = Command::new(std::env::current_exe().unwrap())
        .env(ENV[0], setup.to_string())
        .env(ENV[1], &path)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    // Opened by who writes, too, so that this does not wait for ever if nobody does.
    let mut fifo = File::options().read(true).write(true).open(&path).unwrap();
    let limit = Some(Duration::from_secs(60));
    let is_there = brigade_sys::event_fd::wait_readable(&[fifo.as_fd()], limit).unwrap()[0];
    assert!(is_there, "nothing runs: {:?}", coordinator.try_wait());
    let mut said = [0; 9];
    fifo.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"both run\n");
    let mut fifo = {
        let reader = File::open(&path).unwrap();
        drop(fifo);
        brigade_sys::event_fd::set_nonblocking(&reader).unwrap();
        reader
    };
    let mut is_held = || match fifo.read(&mut [0]) {
        Ok(0) => false,
        Ok(_) => panic!("nothing more is said"),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            true
        }
    };
    assert!(is_held(), "the programs run");
    // It alone, not its group.
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    let is_held = std::cell::RefCell::new(is_held);
    wait_until("all are gone", || !(is_held.borrow_mut())(), || "some live".to_owned());
}
