//! Jobs for which there is no memory while others run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use brigade_exec::{JobHandle, Pool};
use brigade_kernels::{Context, Inputs, Kernel, KernelError, Progress, Spec};
use brigade_proto::{JobError, JobSpec, Outcome, Status};
use tempfile::TempDir;

use crate::util::{Gate, ResourceSnapshot, Setup, Test, result, wait_until};

pub(crate) const TESTS: &[Test] = &[
    ("a job for which there is no memory waits for the others and runs alone", waits),
    ("a job for which there is no memory although it is alone fails with the reason", fails),
    ("a job that waits for memory is cancelled, and ends with its pool", cancelled),
];

/// Needs more memory than there is, until a file is removed.
pub(crate) struct Needy;

impl Kernel for Needy {
    fn spec(&self) -> Spec {
        Spec::new("needy", "Has no memory").inputs(Inputs::exactly(1, "path of a directory"))
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let directory = Path::new(std::str::from_utf8(job.input(0)?).unwrap());
        let tries = tries(directory);
        fs::write(directory.join(format!("try-{tries}")), "").unwrap();
        match directory.join("short").exists() {
            true => {
                let asks = fs::read_to_string(directory.join("short")).unwrap();
                Err(KernelError::Memory { bytes: asks.parse().unwrap() })
            }
            false => Ok(Progress::Done),
        }
    }
}

fn tries(directory: &Path) -> usize {
    let files = fs::read_dir(directory).unwrap().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with("try-")).count()
}

fn short() -> (TempDir, JobSpec) {
    asks_for(1 << 20)
}

fn asks_for(bytes: u64) -> (TempDir, JobSpec) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("short"), bytes.to_string()).unwrap();
    let job = JobSpec::new("needy").input(directory.path().to_str().unwrap().as_bytes());
    (directory, job)
}

fn ok(outcome: &Outcome) {
    assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 1), "{outcome:?}");
}

/// A pool with a job that runs until the gate is opened.
fn busy_pool(setup: Setup) -> (Pool, Gate, JobHandle) {
    let pool = setup.pool();
    let gate = Gate::shut();
    let runs = pool.submit(gate.job()).unwrap();
    wait_until("it runs", || !gate.begun().is_empty(), String::new);
    (pool, gate, runs)
}

fn waits(setup: Setup) {
    let before = ResourceSnapshot::now();
    let (pool, gate, runs) = busy_pool(setup);
    let (directory, job) = short();
    let needy = pool.submit(job).unwrap();
    wait_until("a try", || tries(directory.path()) == 1, String::new);
    // A worker is free, and it is not tried there, and nothing else is, as that may take the memory.
    let other = pool.submit(JobSpec::new("echo")).unwrap();
    let other = other.wait_timeout(Duration::from_millis(300)).expect_err("it waits");
    assert_eq!(tries(directory.path()), 1);
    fs::remove_file(directory.path().join("short")).unwrap();
    gate.open();
    ok(&runs.wait());
    ok(&needy.wait());
    ok(&other.wait());
    assert_eq!(tries(directory.path()), 2);
    drop(pool);
    before.assert_same();
}

fn fails(setup: Setup) {
    let before = ResourceSnapshot::now();
    let (pool, gate, runs) = busy_pool(setup);
    let (directory, job) = short();
    let needy = pool.submit(job).unwrap();
    let other = pool.submit(JobSpec::new("echo")).unwrap();
    wait_until("a try", || tries(directory.path()) == 1, String::new);
    gate.open();
    ok(&runs.wait());
    let error = result(needy.wait()).unwrap_err();
    assert!(matches!(error, JobError::Shortage { .. }), "{error}");
    assert!(error.to_string().contains("no memory for 1048576 bytes"), "{error}");
    // Once beside another job, and four times alone.
    assert_eq!(tries(directory.path()), 5);
    ok(&other.wait());
    // The next one holds nobody up for long, and what no machine has is not waited for.
    for (bytes, expected) in [(1 << 20, 2), (1 << 60, 1)] {
        let (directory, job) = asks_for(bytes);
        let error = result(pool.submit(job).unwrap().wait()).unwrap_err();
        assert!(matches!(error, JobError::Shortage { .. }), "{error}");
        assert_eq!(tries(directory.path()), expected, "{bytes} bytes");
    }
    drop(pool);
    before.assert_same();
}

fn cancelled(setup: Setup) {
    let before = ResourceSnapshot::now();
    let (pool, gate, runs) = busy_pool(setup);
    let [(one, first), (two, second)] = [short(), short()];
    let [first, second] = [first, second].map(|job| pool.submit(job).unwrap());
    wait_until("a try", || tries(one.path()) + tries(two.path()) >= 1, String::new);
    first.cancel();
    assert_eq!(first.wait().status(), Status::Cancelled);
    pool.stop(brigade_exec::Stop::Drain);
    // A worker may have it in hand at this moment.
    let status = second.wait().status();
    assert!(matches!(status, Status::Cancelled | Status::Failed), "{status:?}");
    gate.open();
    ok(&runs.wait());
    drop(pool);
    before.assert_same();
}
