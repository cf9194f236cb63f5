//! What every backend does alike.

use std::collections::BTreeSet;
use std::time::Duration;

use brigade_exec::{Backend, JobHandle, Pool, Stop, SubmitError};
use brigade_proto::{JobError, JobSpec, Note, Source, Status};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::util::{Gate, ResourceSnapshot, Setup, Test, all_ok, bytes, result, wait_until};

pub(crate) const TESTS: &[Test] = &[
    ("outputs are the same bytes", outputs),
    ("an output that its kernel leaves alone is all zero", untouched),
    ("what a kernel remarks is in the outcome", remarks),
    ("inputs of any size come from memory and from files", sizes_and_files),
    ("errors and panics are reported and the worker goes on", errors),
    ("an input that cannot be read fails its job alone", unreadable),
    ("invalid jobs are refused", invalid),
    ("waiting kernels are called again", waits),
    ("a kernel that looks stops at its timeout", timeout_noticed),
    ("a kernel that returns too late has timed out", timeout_late),
    ("map keeps the order and is bounded", map),
    ("thousands of small jobs through map keep their order and their spans", small_jobs),
    ("map_unordered gives every place once", map_unordered),
    ("wait_timeout gives the handle back", wait_timeout),
    ("a job whose input does not come is cancelled, and stopped", cancel_reading),
    ("draining finishes what runs and cancels what waits", drain),
    ("nothing is left behind", nothing_left),
];

/// Of backends whose caller goes on while its jobs run: all but plain synchronous code.
pub(crate) const TESTS_BESIDE: &[Test] = &[
    ("a queued job is cancelled at once", cancel_queued),
    ("a running job is cancelled", cancel_running),
    ("killing ends what runs", kill),
];

fn outputs(setup: Setup) {
    let pool = setup.pool();
    let job = JobSpec::new("echo").input(bytes(1000, 1)).input(bytes(100_000, 2));
    let outputs = result(pool.submit(job).unwrap().wait()).unwrap();
    assert_eq!(outputs, [bytes(1000, 2).to_vec(), bytes(100_000, 3).to_vec()]);
    let none = result(pool.submit(JobSpec::new("echo")).unwrap().wait()).unwrap();
    assert!(none.is_empty());
    let reports = pool.close();
    assert_eq!(reports.iter().map(|report| report.jobs).sum::<u64>(), 2);
}

fn untouched(setup: Setup) {
    let pool = setup.pool();
    let fill = |byte: i64| JobSpec::new("fill").param("bytes", 200_000).param("byte", byte);
    // Over and over, so that memory which one job has written comes to another.
    for byte in [255, 0, 7, 0, 1, 0, 0] {
        let outputs = result(pool.submit(fill(byte)).unwrap().wait()).unwrap();
        assert_eq!(outputs, [vec![byte as u8; 200_000]]);
    }
}

fn remarks(setup: Setup) {
    let pool = setup.pool();
    let remark = |bytes: i64| JobSpec::new("remark").param("bytes", bytes);
    for bytes in [0, 1, 1000, 1 << 20] {
        let outcome = pool.submit(remark(bytes)).unwrap().wait();
        assert!(outcome.notes.contains(Note::IccDropped), "{bytes}");
        assert_eq!(outcome.notes.iter().count(), 1);
    }
    // In batches, beside jobs without a remark.
    let jobs = (0..40).map(|i| if i % 2 == 0 { remark(i % 4) } else { JobSpec::new("echo") });
    let remarked = pool.map(jobs).map(|outcome| outcome.notes.contains(Note::IccDropped));
    assert_eq!(remarked.collect::<Vec<_>>(), [true, false].repeat(20));
}

fn sizes_and_files(setup: Setup) {
    let pool = setup.pool();
    let directory = tempfile::tempdir().unwrap();
    for (i, size) in [0, 1, 64, 2048, 2049, 131_072, 131_073, 3_000_000].into_iter().enumerate() {
        let input = bytes(size, i as u8);
        let path = directory.path().join(format!("{size}"));
        std::fs::write(&path, &input[..]).unwrap();
        let expected = bytes(size, i as u8 + 1).to_vec();
        let from_memory = pool.submit(JobSpec::new("echo").input(input)).unwrap().wait();
        assert_eq!(from_memory.bytes_in, size as u64);
        assert_eq!(from_memory.bytes_out(), size as u64);
        assert_eq!(result(from_memory).unwrap(), std::slice::from_ref(&expected));
        let from_file = pool.submit(JobSpec::new("echo").input(path)).unwrap().wait();
        assert_eq!(from_file.bytes_in, size as u64);
        assert_eq!(result(from_file).unwrap(), [expected]);
    }
}

fn errors(setup: Setup) {
    let pool = setup.builder().workers(1).build().unwrap();
    for _ in 0..3 {
        let failed = result(pool.submit(JobSpec::new("fail")).unwrap().wait()).unwrap_err();
        assert_eq!(failed.to_string(), "these bytes are no good");
        assert_eq!(failed.status(), Status::Failed);
        match result(pool.submit(JobSpec::new("panic")).unwrap().wait()).unwrap_err() {
            JobError::Panic { message, location } => {
                assert_eq!(message, "out of eggs");
                assert!(location.contains("kernels.rs:"), "{location}");
            }
            other => panic!("{other:?}"),
        }
    }
    let ok = pool.submit(JobSpec::new("echo").input(bytes(5, 0))).unwrap().wait();
    assert_eq!(result(ok).unwrap(), [bytes(5, 1).to_vec()]);
    assert_eq!(pool.status().restarts, 0);
}

fn unreadable(setup: Setup) {
    let pool = setup.pool();
    let missing = Source::File("/nowhere/at/all".into());
    let error = result(pool.submit(JobSpec::new("echo").input(missing)).unwrap().wait());
    let error = error.unwrap_err();
    assert_eq!(error.status(), Status::Failed);
    assert!(error.to_string().starts_with("cannot read /nowhere/at/all: "), "{error}");
    let ok = pool.submit(JobSpec::new("echo").input(bytes(5, 0))).unwrap().wait();
    assert!(result(ok).is_ok());
}

fn invalid(setup: Setup) {
    let pool = setup.pool();
    for job in [
        JobSpec::new("ehco"),
        JobSpec::new("wait").param("us", 5),
        JobSpec::new("wait").param("ms", -1),
        JobSpec::new("panic").input(bytes(1, 1)),
    ] {
        assert!(matches!(pool.submit(job), Err(SubmitError::Invalid(_))));
    }
    let deadly = pool.check(&JobSpec::new("die"));
    assert_eq!(deadly.is_ok(), setup.is_processes());
}

fn waits(setup: Setup) {
    let pool = setup.pool();
    let outcome = pool.submit(JobSpec::new("wait").param("ms", 2)).unwrap().wait();
    let compute = outcome.stamps.returned - outcome.stamps.called;
    assert!(compute >= 4_000_000, "two waits of 2 ms took {compute} ns");
    assert_eq!(result(outcome).unwrap(), [vec![2]]);
}

fn timeout_noticed(setup: Setup) {
    let pool = setup.pool();
    let after = Duration::from_millis(20);
    for kernel in ["wait", "busy"] {
        let costs_a_worker = || {
            let before = pool.status().restarts;
            let job = JobSpec::new(kernel).param("ms", 1_000_000).timeout(after);
            let outcome = pool.submit(job).unwrap().wait();
            assert_eq!(result(outcome).unwrap_err(), JobError::TimedOut { after });
            assert!(result(pool.submit(JobSpec::new("busy")).unwrap().wait()).is_ok());
            pool.status().restarts > before
        };
        // A kernel that looks does not cost its worker, unless the worker gets no processor time
        // for as long as it has to look: then it is killed, as it may be beside other load.
        assert!(!(0..20).all(|_| costs_a_worker()), "{kernel}");
    }
}

/// A pipe that nobody writes to.
fn cancel_reading(setup: Setup) {
    let before = ResourceSnapshot::now();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let is_open = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|open| open == path)
    };
    let opened = |wanted: bool| {
        let what = if wanted { "it waits for the pipe" } else { "it waits no more" };
        wait_until(what, || is_open() == wanted, String::new);
    };
    let pool = setup.pool();
    let job = || JobSpec::new("echo").input(path.clone());
    // There the thread that submits is the one that reads.
    if setup.backend != Backend::Sync {
        let handle = pool.submit(job()).unwrap();
        opened(true);
        handle.cancel();
        assert_eq!(result(handle.wait()).unwrap_err(), JobError::Cancelled);
        opened(false);
    }
    std::thread::scope(|scope| {
        let submitted = scope.spawn(|| pool.submit(job()).unwrap().wait());
        opened(true);
        pool.stop(Stop::Drain);
        assert_eq!(submitted.join().unwrap().result.unwrap_err(), JobError::Cancelled);
    });
    drop(pool);
    before.assert_same();
}

fn timeout_late(setup: Setup) {
    let pool = setup.pool();
    let after = Duration::from_millis(20);
    let job = JobSpec::new("deaf").param("ms", 40).timeout(after);
    assert_eq!(result(pool.submit(job).unwrap().wait()).unwrap_err(), JobError::TimedOut { after });
}

fn map(setup: Setup) {
    let pool = setup.builder().queue(4).build().unwrap();
    let taken = std::cell::Cell::new(0);
    let jobs = (0..100_u8).map(|i| {
        taken.set(taken.get() + 1);
        match i {
            50 => JobSpec::new("no such kernel"),
            _ if i % 7 == 0 => JobSpec::new("wait").param("ms", 1),
            _ => JobSpec::new("echo").input(bytes(10, i)),
        }
    });
    for (done, outcome) in pool.map(jobs).enumerate() {
        assert!(taken.get() <= done + 5, "{} taken after {done}", taken.get());
        let expected = match done {
            50 => None,
            _ if done % 7 == 0 => Some(vec![2]),
            _ => Some(bytes(10, done as u8 + 1).to_vec()),
        };
        assert_eq!(result(outcome).ok().map(|mut outputs| outputs.remove(0)), expected);
    }
    assert_eq!(taken.get(), 100);
}

/// Enough of them that they travel in batches, of several kernels and with errors
/// among them.
fn small_jobs(setup: Setup) {
    let pool = setup.pool();
    let count = 6000;
    let jobs = (0..count).map(|i: usize| match i % 1000 {
        500 => JobSpec::new("fail").input(&[1_u8][..]),
        501 => JobSpec::new("panic"),
        502 => JobSpec::new("echo").input(bytes(5000, 3)),
        _ if i.is_multiple_of(3) => JobSpec::new("busy").param("ms", 0),
        _ => JobSpec::new("echo").input(&i.to_le_bytes()[..]).input(&b"x"[..]),
    });
    let mut seen = 0;
    for (i, outcome) in pool.map(jobs).enumerate() {
        seen += 1;
        let bytes_in = outcome.bytes_in;
        let result = result(outcome);
        match i % 1000 {
            500 => assert!(matches!(result, Err(JobError::Kernel { .. })), "{result:?}"),
            501 => assert!(matches!(result, Err(JobError::Panic { .. })), "{result:?}"),
            502 => assert_eq!(result.unwrap(), [bytes(5000, 4).to_vec()]),
            _ if i.is_multiple_of(3) => assert_eq!(result.unwrap(), Vec::<Vec<u8>>::new()),
            _ => {
                let number: Vec<u8> = i.to_le_bytes().iter().map(|b| b.wrapping_add(1)).collect();
                assert_eq!(result.unwrap(), [number, b"y".to_vec()]);
                assert_eq!(bytes_in, 9);
            }
        }
    }
    assert_eq!(seen, count);
    let done: u64 = pool.close().iter().map(|report| report.jobs).sum();
    assert_eq!(done, count as u64);
}

fn map_unordered(setup: Setup) {
    let pool = setup.pool();
    let jobs = (0..300).map(|i| JobSpec::new(if i % 3 == 0 { "fail" } else { "echo" }));
    let mut places = BTreeSet::new();
    for (place, outcome) in pool.map_unordered(jobs) {
        assert_eq!(outcome.result.is_err(), place % 3 == 0);
        assert!(places.insert(place), "place {place} came twice");
    }
    assert_eq!(places, (0..300).collect());
}

fn wait_timeout(setup: Setup) {
    let pool = setup.pool();
    let Some(mut busy) = BusySlots::occupy(setup, &pool) else {
        // Plain synchronous code is done before one can ask.
        let handle = pool.submit(JobSpec::new("echo")).unwrap();
        assert!(result(handle.wait_timeout(Duration::ZERO).unwrap()).is_ok());
        return;
    };
    let handle = busy.jobs.pop().unwrap();
    let handle = handle.wait_timeout(Duration::from_millis(1)).expect_err("it waits at the gate");
    busy.let_go();
    assert!(result(handle.wait()).is_ok());
    busy.jobs.into_iter().for_each(|job| assert!(result(job.wait()).is_ok()));
}

/// Jobs that keep every slot busy until they are let go.
struct BusySlots {
    gate: Gate,
    jobs: Vec<JobHandle>,
}

impl BusySlots {
    /// `None` where a submitted job runs at once on the caller's thread.
    fn occupy(setup: Setup, pool: &Pool) -> Option<Self> {
        if setup.backend == Backend::Sync {
            return None;
        }
        let gate = Gate::shut();
        let slots = pool.config().slots();
        let jobs = (0..slots).map(|_| pool.submit(gate.job()).unwrap()).collect();
        let running = || gate.begun().len();
        // Under the global lock the others wait for it.
        let busy = if setup.backend == Backend::ThreadsGil { 1 } else { slots };
        wait_until("all slots are busy", || running() == busy, || running().to_string());
        Some(Self { gate, jobs })
    }

    fn let_go(&self) {
        self.gate.open();
    }
}

fn cancel_queued(setup: Setup) {
    let pool = setup.builder().depth(1).build().unwrap();
    let busy = BusySlots::occupy(setup, &pool).unwrap();
    let queued = pool.submit(JobSpec::new("echo")).unwrap();
    queued.cancel();
    let outcome = queued.wait();
    assert_eq!(outcome.attempts, 0, "it never left the queue");
    assert_eq!(result(outcome).unwrap_err(), JobError::Cancelled);
    busy.jobs.iter().for_each(JobHandle::cancel);
    for job in busy.jobs {
        assert_eq!(result(job.wait()).unwrap_err(), JobError::Cancelled);
    }
    assert!(result(pool.submit(JobSpec::new("echo")).unwrap().wait()).is_ok());
}

fn cancel_running(setup: Setup) {
    let pool = setup.pool();
    for kernel in ["busy", "wait"] {
        let job = pool.submit(JobSpec::new(kernel).param("ms", 60_000)).unwrap();
        // Long enough to be running, or not: both have to work.
        let job = job.wait_timeout(Duration::from_millis(20)).unwrap_err();
        job.cancel();
        assert_eq!(result(job.wait()).unwrap_err(), JobError::Cancelled);
    }
    assert!(result(pool.submit(JobSpec::new("echo")).unwrap().wait()).is_ok());
}

fn drain(setup: Setup) {
    let pool = setup.builder().depth(1).build().unwrap();
    let Some(busy) = BusySlots::occupy(setup, &pool) else {
        pool.stop(Stop::Drain);
        assert!(matches!(pool.submit(JobSpec::new("echo")), Err(SubmitError::Closed)));
        return;
    };
    let waiting: Vec<_> = (0..5).map(|_| pool.submit(JobSpec::new("echo")).unwrap()).collect();
    pool.stop(Stop::Drain);
    assert!(matches!(pool.submit(JobSpec::new("echo")), Err(SubmitError::Closed)));
    busy.let_go();
    let ends: Vec<_> = busy.jobs.into_iter().map(|job| result(job.wait())).collect();
    // Under the global lock only one was running for certain.
    let gil = setup.backend == Backend::ThreadsGil;
    assert!(ends.iter().any(Result::is_ok), "{ends:?}");
    assert!(
        ends.iter().all(|end| end.is_ok() || (gil && *end == Err(JobError::Cancelled))),
        "{ends:?}"
    );
    for job in waiting {
        assert_eq!(result(job.wait()).unwrap_err(), JobError::Cancelled);
    }
    pool.close();
}

fn kill(setup: Setup) {
    let pool = setup.pool();
    // Nobody lets them go.
    let busy = BusySlots::occupy(setup, &pool).unwrap();
    let waiting: Vec<_> = (0..5).map(|_| pool.submit(JobSpec::new("echo")).unwrap()).collect();
    pool.stop(Stop::Kill);
    for job in busy.jobs.into_iter().chain(waiting) {
        assert_eq!(result(job.wait()).unwrap_err(), JobError::Cancelled);
    }
    pool.close();
}

fn nothing_left(setup: Setup) {
    // Whatever is made once per process.
    drop(setup.pool());
    let before = ResourceSnapshot::now();
    let pool = setup.pool();
    for _ in 0..20 {
        let jobs = (0..20).map(|i| JobSpec::new("echo").input(bytes(i * 5_000, 1)));
        all_ok(&pool, jobs);
    }
    pool.close();
    before.assert_same();
}

/// One job of a random batch, and what must come of it on any backend.
#[derive(Clone, Debug)]
enum Piece {
    Echo(Vec<usize>),
    Fail(usize),
    Panic,
    Wait,
    Unreadable,
}

impl Piece {
    fn job(&self) -> JobSpec {
        match self {
            Self::Echo(sizes) => sizes
                .iter()
                .enumerate()
                .fold(JobSpec::new("echo"), |job, (i, &size)| job.input(bytes(size, i as u8))),
            Self::Fail(size) => JobSpec::new("fail").input(bytes(*size, 0)),
            Self::Panic => JobSpec::new("panic"),
            Self::Wait => JobSpec::new("wait").param("ms", 0),
            Self::Unreadable => JobSpec::new("echo").input(Source::File("/nowhere".into())),
        }
    }
}

pub(crate) fn random_batches() {
    let size = prop_oneof![4 => 0..5_000_usize, 1 => 0..(4_usize << 20)];
    let piece = prop_oneof![
        6 => prop::collection::vec(size, 0..3).prop_map(Piece::Echo),
        1 => (0..100_000_usize).prop_map(Piece::Fail),
        1 => Just(Piece::Panic),
        1 => Just(Piece::Wait),
        1 => Just(Piece::Unreadable),
    ];
    let pools: Vec<_> = Setup::all().map(|setup| (setup, setup.pool())).collect();
    let mut stager =
        TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let batches = prop::collection::vec(piece, 0..25);
    let run = |batch: Vec<Piece>| {
        let mut expected = None;
        for (setup, pool) in &pools {
            let outcomes: Vec<_> = pool.map(batch.iter().map(Piece::job)).map(result).collect();
            prop_assert_eq!(outcomes.len(), batch.len());
            let expected = expected.get_or_insert_with(|| outcomes.clone());
            // Not prop_assert_eq: megabytes of bytes are no message.
            prop_assert!(*expected == outcomes, "{} differs from sync", setup);
        }
        Ok(())
    };
    stager.run(&batches, run).unwrap();
}
