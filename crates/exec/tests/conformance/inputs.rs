//! What a worker can do with inputs: read its own. It writes none, and, where each worker has its
//! inputs to itself, it reads those of no other worker's job.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use brigade_exec::{Pool, Sandbox, Transport};
use brigade_kernels::{Context, Inputs, Kernel, KernelError, ParamSpec, Progress, Spec};
use brigade_proto::{Bytes, JobError, JobSpec, Status};
use brigade_sys::sandbox::{self, attempts};
use rustix::process::{Pid, Signal, kill_process};

use crate::apart;
use crate::util::{ResourceSnapshot, Setup, Test, bytes, result, wait_until, workers};

pub(crate) const TESTS: &[Test] = &[
    ("a kernel that writes into its input fails alone", scribbles),
    ("a worker in the sandbox has no input of another in its memory", sees_its_own),
    ("jobs whose inputs are their worker's alone are tried again", tried_again),
    ("regions of a worker go with it", go_with_it),
];

pub(crate) const TESTS_WITH_RINGS: &[Test] =
    &[("memory of inputs is given back when the pool is idle", given_back)];

/// Writes into its input.
pub(crate) struct Scribble;

impl Kernel for Scribble {
    fn spec(&self) -> Spec {
        Spec::new("scribble", "Writes into its input")
            .param(ParamSpec::choice("how", &["pointer", "proc"], "").default("pointer"))
            .inputs(Inputs::exactly(1, "any bytes"))
            .needs_isolation()
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let input = job.input(0)?;
        if job.choice("how") == "pointer" {
            attempts::write_astray(input);
        } else {
            attempts::write_through_proc(input, &vec![0xee; input.len()])
                .map_err(|error| KernelError::input(error.to_string()))?;
        }
        Ok(Progress::Done)
    }
}

fn scribbles(setup: Setup) {
    let pool = setup.builder().retries(0).build().unwrap();
    let input = |i: usize| bytes(50_000 + i, i as u8);
    // In place before any of them runs, if the pool has an arena.
    let inputs: Vec<_> = (0..60)
        .map(|i| {
            let mut buffer = pool.alloc(50_000 + i).unwrap();
            buffer.copy_from_slice(&input(i));
            Bytes::from(buffer)
        })
        .collect();
    let mut scribblers = Vec::new();
    let mut others = Vec::new();
    for (i, input) in inputs.into_iter().enumerate() {
        if i % 10 == 5 {
            let how = ["pointer", "proc"][i / 10 % 2];
            let job = JobSpec::new("scribble").param("how", how).input(input);
            scribblers.push((how, pool.submit(job).unwrap()));
        } else {
            others.push((i, pool.submit(JobSpec::new("echo").input(input)).unwrap()));
        }
    }
    for (how, job) in scribblers {
        match (how, result(job.wait())) {
            // A copy of its own, on its heap.
            (_, Ok(_)) if setup.transport == Transport::Inline => {}
            ("pointer", Err(JobError::Crashed { death, .. })) => {
                assert!(death.starts_with("killed by SIG"), "{death}");
            }
            ("proc", Err(JobError::Kernel { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    for (i, job) in others {
        let expected: Vec<u8> = input(i).iter().map(|byte| byte.wrapping_add(1)).collect();
        assert!(result(job.wait()).unwrap() == [expected], "job {i}");
    }
    // The workers that replace those that died are no worse off.
    let outcome = pool.submit(JobSpec::new("echo").input(input(0))).unwrap().wait();
    assert_eq!(outcome.status(), Status::Ok);
}

/// The inputs of so many jobs.
const MARKED: usize = 24;

/// What is in the input of a job alone, over and over.
fn mark(i: usize) -> [u8; 64] {
    let mut mark = [0; 64];
    for (k, byte) in mark.iter_mut().enumerate() {
        // So that neither it nor the output of `echo` is in this program.
        *byte = (i * 67 + k * k * 13 + 101) as u8 ^ 0x5a;
    }
    mark
}

/// Those of the marks that are anywhere in the memory of a process.
fn marks_in(pid: u32) -> BTreeSet<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = BTreeSet::new();
    for line in maps.lines().filter(|line| line.contains(" r") && !line.contains("[v")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut part = vec![0; (to - from) as usize];
        // Some cannot be read: a guard, or a page behind the end of a file.
        if memory.read_exact_at(&mut part, from).is_err() {
            continue;
        }
        // Inputs are aligned, and their marks with them.
        let (parts, _) = part.as_chunks::<64>();
        found.extend((0..MARKED).filter(|&i| parts.contains(&mark(i))));
    }
    found
}

/// The processes of the jobs, and which marks each process has in its memory after them.
fn marked(pool: &Pool, setup: Setup) -> Vec<(u32, BTreeSet<usize>)> {
    let inputs: Vec<Bytes> = (0..MARKED)
        .map(|i| {
            let mut buffer = pool.alloc(64 * 500).unwrap();
            buffer.chunks_exact_mut(64).for_each(|batch| batch.copy_from_slice(&mark(i)));
            buffer.into()
        })
        .collect();
    let job = |input: &Bytes| JobSpec::new("echo").input(input.clone());
    let handles: Vec<_> = inputs.iter().map(|input| pool.submit(job(input)).unwrap()).collect();
    let ran: Vec<u32> = handles.into_iter().map(|handle| handle.wait().pid).collect();
    drop(inputs);
    workers()
        .into_iter()
        .map(|pid| {
            let foreign = |i: &usize| ran[*i] != pid;
            let marks = marks_in(pid);
            // A region for one job goes with it.
            let keeps = setup.transport == Transport::Arena && ran.contains(&pid);
            assert!(
                !keeps || marks.iter().any(|i| !foreign(i)),
                "it does not even have its own: {marks:?}"
            );
            (pid, marks.into_iter().filter(foreign).collect())
        })
        .collect()
}

fn sees_its_own(setup: Setup) {
    if setup.transport == Transport::Arena {
        // So that it is known that the search finds what is there.
        // Not if one worker had all the jobs.
        let is_found =
            || marked(&setup.pool(), setup).iter().any(|(_, foreign)| !foreign.is_empty());
        wait_until("an input of another worker", is_found, String::new);
    }
    let missing = sandbox::missing();
    let sandboxes = [None, Some(Sandbox::Strict)];
    for sandbox in &sandboxes[..if missing.is_empty() { 2 } else { 1 }] {
        let pool = setup.builder().own_inputs(sandbox.is_none()).sandbox(*sandbox).build().unwrap();
        for (pid, foreign) in marked(&pool, setup) {
            assert!(foreign.is_empty(), "worker {pid} has {foreign:?}, sandbox {sandbox:?}");
        }
    }
    if !missing.is_empty() {
        apart::skip("sandbox", &format!("inputs in the sandbox: this kernel lacks {missing:?}"));
    }
}

fn tried_again(setup: Setup) {
    let before = ResourceSnapshot::now();
    let directory = tempfile::tempdir().unwrap();
    let pool = setup.builder().own_inputs(true).retries(2).build().unwrap();
    let others: Vec<_> = (0..40)
        .map(|i| pool.submit(JobSpec::new("echo").input(bytes(30_000 + i, 3))).unwrap())
        .collect();
    // Too long for a request: its input is in the arena.
    let marker = directory.path().join("x".repeat(200));
    let input = marker.to_str().unwrap().as_bytes();
    let outcome = pool.submit(JobSpec::new("die-once").input(input)).unwrap().wait();
    assert_eq!((outcome.attempts, result(outcome).unwrap()), (2, vec![b"alive".to_vec()]));
    for worker in workers() {
        let _ = kill_process(Pid::from_raw(worker.cast_signed()).unwrap(), Signal::KILL);
    }
    for (i, job) in others.into_iter().enumerate() {
        assert!(result(job.wait()).unwrap() == [bytes(30_000 + i, 4).to_vec()], "job {i}");
    }
    pool.close();
    before.assert_same();
}

fn go_with_it(setup: Setup) {
    let before = ResourceSnapshot::now().shared_mappings;
    let pool = setup.builder().own_inputs(true).max_jobs_per_worker(Some(1)).build().unwrap();
    for i in 0..20 {
        let outcome = pool.submit(JobSpec::new("echo").input(bytes(1 << 20, i))).unwrap().wait();
        assert_eq!(outcome.status(), Status::Ok);
    }
    // For each of two workers an endpoint, and regions for inputs and for outputs; and doorbells.
    wait_until(
        "the regions of dead workers are given back",
        || ResourceSnapshot::now().shared_mappings <= before + 2 * 4 + 1,
        || format!("{} shared mappings", ResourceSnapshot::now().shared_mappings),
    );
}

fn given_back(setup: Setup) {
    for own_inputs in [false, true] {
        let pool = setup.builder().own_inputs(own_inputs).build().unwrap();
        let inputs: Vec<_> = (0..8).map(|_| pool.alloc(4 << 20).unwrap()).collect();
        let jobs = inputs.into_iter().map(|input| JobSpec::new("echo").input(input));
        let handles: Vec<_> = jobs.map(|job| pool.submit(job).unwrap()).collect();
        for handle in handles {
            assert_eq!(handle.wait().status(), Status::Ok);
        }
        let shared = |(pid, access): (String, &str)| {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            let is_input = |line: &&str| line.contains("memfd:brigade") && line.contains(access);
            let lines = maps.lines().filter(is_input);
            let len = |line: &str| {
                let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
                to - from
            };
            lines.map(len).sum::<u64>()
        };
        let all = || {
            // Outputs, the other way round, are not given back.
            let workers = workers().into_iter().map(|pid| (pid.to_string(), " r--s "));
            workers.chain([("self".to_owned(), " rw-s ")]).map(shared).collect::<Vec<u64>>()
        };
        assert!(all().iter().max().unwrap() > &(4 << 20), "{:?}", all());
        wait_until(
            "memory of inputs is unmapped by all",
            || all().iter().all(|&bytes| bytes < 1 << 20),
            || format!("{:?}", all()),
        );
        // It goes on as before.
        let outcome = pool.submit(JobSpec::new("echo").input(bytes(1 << 20, 1))).unwrap().wait();
        assert!(result(outcome).unwrap() == [bytes(1 << 20, 2).to_vec()]);
    }
}
