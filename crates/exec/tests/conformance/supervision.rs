//! What only worker processes do: die, hang, be killed and be replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_exec::{PoolError, Stop, SubmitError};
use brigade_proto::{JobError, JobSpec, Status};

use crate::util::{
    Gate, ResourceSnapshot, Setup, Test, all_ok, bytes, result, wait_until, workers,
};

pub(crate) const TESTS: &[Test] = &[
    ("each way to die is told by its name", deaths),
    ("a job that dies once is retried", retried),
    ("a poison job takes no other with it", poison),
    ("a death among thousands of small jobs harms one", death_in_a_batch),
    ("a worker that hangs is killed at the timeout", hang),
    ("an idle worker that is killed is replaced", killed_while_idle),
    ("a stopped worker with a full pipe of input is killed", stopped_while_sending),
    ("workers are replaced after their share of jobs", retirement),
    ("the deadline of its start is forgotten when a worker is ready", ready_in_time),
    ("what a worker prints blocks nobody", prints),
    ("workers have no descriptors but their own", descriptors),
    ("a program that is no worker is found out", not_a_worker),
    ("jobs of a pool that cannot start are answered", early_job_in_vain),
    ("a worker's peak memory is its own", own_peak),
    ("a worker that sleeps gets its job, though many short ones went before", after_short_ones),
];

/// Where each worker is a program of its own.
pub(crate) const TESTS_WITH_PROGRAMS: &[Test] =
    &[("the first job runs while other workers start", early_job)];

fn deaths(setup: Setup) {
    let pool = setup.builder().retries(0).max_restarts(0).build().unwrap();
    for (how, death) in [
        ("kill", "killed by SIGKILL: killed from outside, perhaps by the kernel for memory"),
        ("segv", "killed by SIGSEGV"),
        ("abort", "killed by SIGABRT"),
        ("exit", "exited with status 0"),
        ("overflow", "killed by SIGABRT"),
    ] {
        let outcome = pool.submit(JobSpec::new("die").param("how", how)).unwrap().wait();
        assert_eq!(outcome.status(), Status::Crashed);
        assert_eq!(outcome.attempts, 1);
        let Err(JobError::Crashed { death: got, attempts: 1, last_words }) = result(outcome) else {
            panic!("{how}: not crashed at the first attempt");
        };
        assert_eq!(got, death, "{how}");
        let spoke = last_words.contains("overflowed its stack");
        assert_eq!(spoke, how == "overflow", "{how} printed {last_words:?}");
    }
}

fn retried(setup: Setup) {
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("marker");
    let pool = setup.pool();
    let path = marker.to_str().unwrap().as_bytes();
    let outcome = pool.submit(JobSpec::new("die-once").input(path)).unwrap().wait();
    assert_eq!(outcome.attempts, 2);
    assert_eq!(result(outcome).unwrap(), [b"alive".to_vec()]);
    wait_until("a new worker", || pool.status().restarts == 1, || format!("{:?}", pool.status()));
}

fn poison(setup: Setup) {
    let pool = setup.builder().retries(1).depth(3).build().unwrap();
    let jobs = (0..200).map(|i| match i {
        17 | 18 | 150 => JobSpec::new("die").param("how", "segv"),
        _ => JobSpec::new("echo").input(bytes(i, 0)),
    });
    for (i, outcome) in pool.map(jobs).enumerate() {
        match i {
            17 | 18 | 150 => {
                assert_eq!(outcome.attempts, 2);
                assert_eq!(outcome.status(), Status::Crashed);
            }
            _ => {
                assert_eq!(outcome.attempts, 1, "job {i} was blamed for another's crash");
                assert_eq!(result(outcome).unwrap(), [bytes(i, 1).to_vec()]);
            }
        }
    }
    wait_until("six restarts", || pool.status().restarts == 6, || format!("{:?}", pool.status()));
    assert!(pool.status().gave_up.is_none());
}

fn death_in_a_batch(setup: Setup) {
    let pool = setup.builder().retries(1).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("died").to_str().unwrap().to_owned();
    // Once the pool knows that these jobs are small, the deadly ones are in the
    // middle of batches.
    let jobs = (0..4000).map(|i: u64| match i {
        2500 => JobSpec::new("die-once").input(marker.as_bytes()),
        3500 => JobSpec::new("die"),
        _ => JobSpec::new("echo").input(&i.to_le_bytes()[..]),
    });
    let mut seen = 0;
    for (i, outcome) in pool.map(jobs).enumerate() {
        seen += 1;
        let attempts = outcome.attempts;
        match i {
            2500 => assert_eq!((attempts, result(outcome).unwrap()), (2, vec![b"alive".to_vec()])),
            3500 => assert_eq!((attempts, outcome.status()), (2, Status::Crashed)),
            _ => assert_eq!(result(outcome).unwrap()[0][0], (i as u8).wrapping_add(1)),
        }
    }
    assert_eq!(seen, 4000);
    // The last one is replaced after its job was answered.
    wait_until("three replacements", || pool.status().restarts == 3, String::new);
}

fn hang(setup: Setup) {
    let pool = setup.builder().build().unwrap();
    let after = Duration::from_millis(30);
    let hanging = pool.submit(JobSpec::new("deaf").param("ms", 1_000_000).timeout(after)).unwrap();
    let good: Vec<_> = (0..20).map(|_| pool.submit(JobSpec::new("echo")).unwrap()).collect();
    // The job would have slept for 1,000 s.
    let hanging = hanging.wait_timeout(Duration::from_secs(100)).expect("it was ended");
    assert_eq!(result(hanging).unwrap_err(), JobError::TimedOut { after });
    for job in good {
        assert!(result(job.wait()).is_ok());
    }
}

fn killed_while_idle(setup: Setup) {
    let pool = setup.pool();
    let before = workers();
    assert_eq!(before.len(), 2);
    kill(before[0]);
    wait_until(
        "a new worker",
        || {
            let now = workers();
            now.len() == 2 && !now.contains(&before[0])
        },
        || format!("{before:?} {:?}", workers()),
    );
    let jobs = (0..50).map(|_| JobSpec::new("echo"));
    all_ok(&pool, jobs);
}

pub(crate) fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    // It may have died by itself.
    let _ = rustix::process::kill_process(pid, signal);
}

fn stopped_while_sending(setup: Setup) {
    let before = ResourceSnapshot::now();
    let pool = setup.builder().workers(1).depth(1).retries(0).build().unwrap();
    let worker = workers()[0];
    // The worker reads nothing from here on, so an inline payload of this size fills
    // its socket and blocks the sender.
    stop(worker);
    let job = pool.submit(JobSpec::new("echo").input(bytes(32 << 20, 0))).unwrap();
    let job = job.wait_timeout(Duration::from_millis(100)).unwrap_err();
    kill(worker);
    // It never had the job in hand, so nobody is to blame and it runs elsewhere.
    assert_eq!(result(job.wait()).unwrap(), [bytes(32 << 20, 1).to_vec()]);
    pool.close();
    before.assert_same();
}

fn retirement(setup: Setup) {
    let pool = setup.builder().max_jobs_per_worker(Some(10)).build().unwrap();
    let jobs = (0..100).map(|i| JobSpec::new("echo").input(bytes(i, 0)));
    let mut pids = std::collections::BTreeMap::new();
    for (i, outcome) in pool.map(jobs).enumerate() {
        *pids.entry(outcome.pid).or_insert(0) += 1;
        assert_eq!(outcome.attempts, 1);
        assert_eq!(result(outcome).unwrap(), [bytes(i, 1).to_vec()]);
    }
    assert!(pids.len() >= 10, "{pids:?}");
    assert!(pids.values().all(|&jobs| jobs <= 10), "{pids:?}");
}

fn ready_in_time(setup: Setup) {
    let deadline = Duration::from_secs(8);
    let pool = setup.builder().start_deadline(deadline).build().unwrap();
    // `wait` waits twice.
    let longer = (deadline * 5 / 8).as_millis() as i64;
    let outcome = pool.submit(JobSpec::new("wait").param("ms", longer)).unwrap().wait();
    assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 1));
    assert_eq!(pool.status().restarts, 0);
}

fn prints(setup: Setup) {
    let pool = setup.pool();
    for _ in 0..3 {
        assert!(result(pool.submit(JobSpec::new("print")).unwrap().wait()).is_ok());
    }
}

fn descriptors(setup: Setup) {
    // One that is inheritable, as ipc-channel's own are.
    let (reader, _writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
    let pool = setup.pool();
    all_ok(&pool, (0..20).map(|_| JobSpec::new("echo")));
    let workers = workers();
    assert_eq!(workers.len(), 2);
    for worker in workers {
        let open: Vec<String> = std::fs::read_dir(format!("/proc/{worker}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .map(|target| target.display().to_string())
            .collect();
        let count = |kind: &str| open.iter().filter(|target| target.starts_with(kind)).count();
        // One connection, once for sending and once for receiving; null, what it prints (twice).
        assert_eq!(count("socket:"), 2, "{open:?}");
        assert_eq!(count("pipe:"), 2, "{open:?}");
        assert_eq!(count("/dev/null"), 1, "{open:?}");
        // Its memory is mapped, and needs none.
        assert_eq!(open.len(), 5, "{open:?}");
        let environment = std::fs::read(format!("/proc/{worker}/status")).unwrap();
        assert!(!environment.is_empty());
    }
}

/// Stops a process, and waits until it is.
pub(crate) fn stop(pid: u32) {
    signal(pid, rustix::process::Signal::STOP);
    wait_until("it has stopped", || brigade_sys::process::is_stopped(pid), String::new);
}

/// A worker program that is a script.
pub(crate) fn script(directory: &Path, text: &str) -> PathBuf {
    let script = directory.join("worker");
    std::fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    script
}

fn early_job(setup: Setup) {
    let directory = tempfile::tempdir().unwrap();
    let (place, own) = (directory.path().display(), std::env::current_exe().unwrap());
    let wait = format!("while [ ! -e '{place}/go' ]; do sleep 0.01; done");
    let text = format!("mkdir '{place}/first' 2>&- || {wait}; exec '{}'", own.display());
    let program = script(directory.path(), &text);
    let pool = setup.builder().worker_program(Some(program)).start().unwrap();
    let outcome = pool.submit(JobSpec::new("echo").input(&b"x"[..])).unwrap().wait();
    assert_eq!(outcome.status(), Status::Ok);
    assert_eq!(pool.status().startup, Duration::ZERO, "the other worker is not ready");
    std::fs::write(directory.path().join("go"), "").unwrap();
    pool.ready().unwrap();
    assert!(pool.status().startup > Duration::ZERO);
}

fn after_short_ones(setup: Setup) {
    let pool = setup.pool();
    for _ in 0..20 {
        let jobs = [(); 30].map(|()| pool.submit(JobSpec::new("echo")).unwrap());
        jobs.into_iter().for_each(|job| assert_eq!(job.wait().status(), Status::Ok));
    }
    // Both are under way, though nobody attends to the pool any more.
    let gates = [(); 2].map(|()| Gate::shut());
    let jobs = gates.each_ref().map(|gate| pool.submit(gate.job()).unwrap());
    for gate in &gates {
        let has_begun = || !gate.begun().is_empty();
        wait_until("it has begun", has_begun, || format!("{:?}", pool.status()));
    }
    gates.iter().for_each(Gate::open);
    jobs.into_iter().for_each(|job| assert_eq!(job.wait().status(), Status::Ok));
}

fn own_peak(setup: Setup) {
    // A child that has not executed its program yet has its parent's memory.
    let mut held = vec![0_u8; 128 << 20];
    held.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let pool = setup.pool();
    let jobs = [(); 8].map(|()| pool.submit(JobSpec::new("echo").input(&b"x"[..])).unwrap());
    jobs.into_iter().for_each(|job| assert_eq!(job.wait().status(), Status::Ok));
    for report in pool.close() {
        let peak = report.peak_rss_bytes.unwrap();
        assert!(peak > 1 << 20 && peak < 64 << 20, "{peak}");
    }
    drop(std::hint::black_box(held));
}

fn early_job_in_vain(setup: Setup) {
    let before = ResourceSnapshot::now();
    let directory = tempfile::tempdir().unwrap();
    let program = script(directory.path(), "echo sorry >&2; exit 1");
    let pool = setup.builder().worker_program(Some(program)).start().unwrap();
    // It is refused if the pool has given up by then.
    match pool.submit(JobSpec::new("echo").input(&b"x"[..])) {
        Ok(job) => {
            let error = result(job.wait()).unwrap_err();
            assert!(matches!(error, JobError::PoolGaveUp { .. }), "{error}");
        }
        Err(error) => assert!(matches!(error, SubmitError::Closed), "{error}"),
    }
    for _ in 0..2 {
        let error = pool.ready().unwrap_err();
        let is_told =
            matches!(*error, PoolError::DiedEarly { .. } | PoolError::ForkServerDied { .. });
        assert!(is_told, "{error}");
    }
    drop(pool);
    drop(directory);
    before.assert_same();
}

/// What `build` says of a worker program that is a script.
fn start_error(setup: Setup, text: &str, deadline: Duration) -> PoolError {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), text);
    let built = setup.builder().worker_program(Some(script)).start_deadline(deadline).build();
    built.map(|pool| pool.stop(Stop::Kill)).unwrap_err()
}

const AMPLE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn not_a_worker(setup: Setup) {
    let before = ResourceSnapshot::now();
    let nowhere = setup.builder().worker_program(Some("/nowhere/at/all".into())).build();
    assert!(matches!(nowhere, Err(PoolError::Spawn { .. })));
    match start_error(setup, "echo sorry >&2; exit 1", AMPLE) {
        PoolError::DiedEarly { death, stderr } | PoolError::ForkServerDied { death, stderr } => {
            assert_eq!(death, "exited with status 1");
            assert_eq!(stderr, "sorry\n");
        }
        other => panic!("{other}"),
    }
    // As if somebody else had killed it; that is tried again, not for ever.
    match start_error(setup, "kill -9 $$", AMPLE) {
        PoolError::DiedEarly { death, .. } | PoolError::ForkServerDied { death, .. } => {
            assert!(death.starts_with("killed by SIGKILL"));
        }
        other => panic!("{other}"),
    }
    // Waits for ever, and does not even connect.
    let late = start_error(setup, "exec sleep 1000", SHORT);
    assert!(matches!(late, PoolError::StartTimeout { .. }), "{late}");
    before.assert_same();
}
