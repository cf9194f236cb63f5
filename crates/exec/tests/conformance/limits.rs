//! Limits of memory and processor time, and kernels that run into them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use brigade_exec::Transport;
use brigade_kernels::{Context, Inputs, Kernel, KernelError, ParamSpec, Progress, Spec};
use brigade_proto::{JobError, JobSpec, Status};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::util::{ResourceSnapshot, Setup, Test, all_ok, bytes, result, wait_until, workers};

pub(crate) const TESTS: &[Test] = &[
    ("a job beyond the memory limit fails, however it asks for memory", memory),
    ("shared memory does not count as a job's own", shared_memory),
    ("a worker that keeps memory is replaced before a job fails of it", leak),
    ("a job beyond the processor time limit fails, and only that", cpu),
    ("a worker's descriptors and files are bounded", files),
    ("a worker that has no room for anything is replaced at once", no_room),
];

const MIB: usize = 1 << 20;
const LIMIT: u64 = 64 << 20;

/// Takes memory.
pub(crate) struct Grab;

impl Kernel for Grab {
    fn spec(&self) -> Spec {
        Spec::new("grab", "Takes memory")
            .param(ParamSpec::int("mib", 0..=1 << 20, "").default(256))
            .param(ParamSpec::choice("how", &["abort", "error", "output"], "").default("abort"))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let len = job.int("mib") as usize * MIB;
        match job.choice("how") {
            "output" => drop(job.output(len)?),
            "error" => {
                let mut taken = Vec::<u8>::new();
                let memory = KernelError::Memory { bytes: len as u64 };
                taken.try_reserve_exact(len).map_err(|_| memory)?;
                taken.resize(len, 1);
                std::hint::black_box(taken);
            }
            _ => drop(std::hint::black_box(vec![1_u8; len])),
        }
        Ok(Progress::Done)
    }
}

/// Takes memory and never gives it back.
pub(crate) struct Leak;

impl Kernel for Leak {
    fn spec(&self) -> Spec {
        Spec::new("leak", "Keeps memory").inputs(Inputs::between(0, 1, "any bytes"))
    }
    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        std::mem::forget(std::hint::black_box(vec![1_u8; 4 * MIB]));
        Ok(Progress::Done)
    }
}

/// Computes for ever, and never looks whether it should stop.
pub(crate) struct Burn;

impl Kernel for Burn {
    fn spec(&self) -> Spec {
        Spec::new("burn", "Computes for ever").needs_isolation()
    }
    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        loop {
            std::hint::spin_loop();
        }
    }
}

fn memory(setup: Setup) {
    let before = ResourceSnapshot::now();
    // No death may count as one without progress.
    let pool = setup.builder().memory_limit(Some(LIMIT)).max_restarts(0).build().unwrap();
    for how in ["abort", "error", "output"] {
        let good = pool.submit(JobSpec::new("grab").param("how", how).param("mib", 16)).unwrap();
        assert_eq!(result(good.wait()).map(drop), Ok(()), "{how}");
        let bad = pool.submit(JobSpec::new("grab").param("how", how)).unwrap().wait();
        assert_eq!((bad.attempts, bad.status()), (1, Status::Failed), "{how}");
        assert_eq!(result(bad).unwrap_err(), JobError::MemoryLimit { limit: LIMIT }, "{how}");
    }
    all_ok(&pool, (0..20).map(|_| JobSpec::new("echo")));
    assert!(pool.status().gave_up.is_none());
    pool.close();
    before.assert_same();
}

fn shared_memory(setup: Setup) {
    let pool = setup.builder().memory_limit(Some(LIMIT)).build().unwrap();
    // The kernel says something of every input that reaches it.
    let job = JobSpec::new("fail").input(bytes(96 * MIB, 0));
    let error = result(pool.submit(job).unwrap().wait()).unwrap_err();
    match setup.transport {
        // There it is the worker's own.
        Transport::Inline => assert_eq!(error, JobError::MemoryLimit { limit: LIMIT }),
        _ => assert!(matches!(error, JobError::Kernel { .. }), "{error}"),
    }
}

fn leak(setup: Setup) {
    let pool = setup.builder().memory_limit(Some(LIMIT)).workers(1).build().unwrap();
    let mut pids = BTreeSet::new();
    // With an input, so that they do not go many at a time.
    for outcome in pool.map((0..60).map(|_| JobSpec::new("leak").input(bytes(1000, 0)))) {
        pids.insert(outcome.pid);
        assert_eq!((outcome.attempts, outcome.status()), (1, Status::Ok), "{outcome:?}");
    }
    // 240 MiB in steps of a little more than 32: none begins another job after that, however many
    // it was given and however late the coordinator hears of it.
    assert!((7..=9).contains(&pids.len()), "{pids:?}");
    assert!(pool.status().gave_up.is_none());
}

fn cpu(setup: Setup) {
    let limit = Duration::from_millis(100);
    let builder = setup.builder().cpu_limit(Some(limit)).max_restarts(0).workers(1);
    let pool = builder.build().unwrap();
    let burn = pool.submit(JobSpec::new("burn")).unwrap().wait();
    assert_eq!(burn.attempts, 1);
    assert_eq!(result(burn).unwrap_err(), JobError::CpuLimit { limit });
    // Time in which nothing is computed is not counted.
    let sleeper = pool.submit(JobSpec::new("deaf").param("ms", 300)).unwrap();
    assert_eq!(result(sleeper.wait()).map(drop), Ok(()));
    // Nor that of other jobs.
    let busy = (0..40).map(|_| JobSpec::new("busy").param("ms", 5));
    let pids: BTreeSet<u32> = pool
        .map(busy)
        .map(|outcome| {
            assert_eq!(outcome.status(), Status::Ok, "{outcome:?}");
            outcome.pid
        })
        .collect();
    assert_eq!(pids.len(), 1);
    wait_until("one replacement", || pool.status().restarts == 1, String::new);
}

fn files(setup: Setup) {
    let pool = setup.pool();
    let workers = workers();
    assert_eq!(workers.len(), 2);
    for worker in workers {
        let limits = || fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
        let is_at_most = |name: &str, most: u64| {
            let limits = limits();
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let hard = line.split_whitespace().nth(1).unwrap();
            hard.parse().is_ok_and(|hard: u64| hard <= most)
        };
        // A worker sets them before its first job.
        let bounded =
            || is_at_most("Max open files", 1024) && is_at_most("Max file size", 16 << 30);
        wait_until("its limits are set", bounded, limits);
    }
    drop(pool);
}

/// What is wrong with a worker is no shortage of memory: its job is tried elsewhere, and no other job
/// waits until that one is tried alone.
fn no_room(setup: Setup) {
    let before = ResourceSnapshot::now();
    let pool = setup.builder().workers(1).retries(1).build().unwrap();
    all_ok(&pool, (0..2).map(|_| JobSpec::new("echo")));
    let worker = Pid::from_raw(workers()[0].cast_signed()).unwrap();
    let none = Rlimit { current: Some(4096), maximum: Some(4096) };
    prlimit(Some(worker), Resource::As, none).unwrap();
    let outcome = pool.submit(JobSpec::new("echo").input(bytes(8 << 20, 1))).unwrap().wait();
    // Inline, the worker ends while it receives the job, which it has never had in hand then.
    let attempts = if setup.transport == Transport::Inline { 1 } else { 2 };
    assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, attempts), "{outcome:?}");
    assert_eq!(result(outcome).unwrap(), [bytes(8 << 20, 2).to_vec()]);
    assert_eq!(pool.status().restarts, 1);
    pool.close();
    before.assert_same();
}
