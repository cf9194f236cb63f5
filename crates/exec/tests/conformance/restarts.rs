//! How often workers that die are replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade_exec::{Pool, PoolError};
use brigade_proto::{JobError, JobSpec, Status};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::supervision::{kill, script, signal, stop};
use crate::util::{
    Gate, ResourceSnapshot, SetAtEnd, Setup, Test, all_ok, result, wait_until, workers,
};

pub(crate) const TESTS: &[Test] = &[
    ("a pool without progress gives up", no_progress),
    ("a job in hand is not given up for the deaths of idle workers", one_at_work),
    ("a job that a worker was told of is not given up for the deaths of idle ones", one_told),
    ("the death of all busy workers at once ends no pool", all_busy),
    ("the death of all idle workers at once ends no pool", all_idle),
    ("jobs that kill, side by side, end no pool", side_by_side),
    ("a job that kills may be tried more often than workers are replaced", one_bad_job),
    ("a pool whose directory was cleared gets new workers", cleared),
    ("a program that ends at its first start only ends no pool", once),
];

/// Where each worker is a program of its own, not where one program starts them all.
pub(crate) const TESTS_WITH_PROGRAMS: &[Test] = &[
    ("a pool whose new workers cannot start gives up", no_more_workers),
    ("a worker that is killed before it is ready is replaced", killed_at_the_door),
    ("a first worker that exits ends no pool of which another was ready", one_exits_at_first),
    ("a worker that is stopped before its program begins keeps nobody waiting", stopped_unborn),
];

fn no_progress(setup: Setup) {
    let before = ResourceSnapshot::now();
    let pool = setup.builder().max_restarts(3).workers(1).build().unwrap();
    let mut killed = Vec::new();
    while pool.status().gave_up.is_none() {
        let fresh = || workers().into_iter().find(|pid| !killed.contains(pid));
        let is_over = || pool.status().gave_up.is_some() || fresh().is_some();
        wait_until("a new worker, or the end", is_over, || format!("{killed:?}"));
        if let Some(pid) = fresh() {
            kill(pid);
            killed.push(pid);
        }
        assert!(killed.len() <= 4, "it would go on for ever");
    }
    let gave_up = pool.status().gave_up;
    assert!(
        matches!(gave_up.as_deref(), Some(PoolError::NoProgress { deaths: 4, .. })),
        "{gave_up:?}"
    );
    assert!(pool.submit(JobSpec::new("echo")).is_err());
    pool.close();
    before.assert_same();
}

fn stopped_unborn(setup: Setup) {
    let before = ResourceSnapshot::now();
    let is_over = AtomicBool::new(false);
    let stopped = std::thread::scope(|scope| {
        let _ends = SetAtEnd(&is_over);
        // A child is called as its starter for a tenth of a millisecond: not each is caught.
        let hunter = scope.spawn(|| {
            let is_unborn = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name == "supervisor\n")
            };
            while !is_over.load(Ordering::SeqCst) {
                if let Some(pid) = workers().into_iter().find(is_unborn) {
                    signal(pid, Signal::STOP);
                    // It goes on until the signal has reached it.
                    let is_running = |pid| {
                        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
                        stat.is_ok_and(|stat| {
                            stat.rsplit_once(") ")
                                .is_some_and(|(_, rest)| !rest.starts_with(['T', 'Z', 'X']))
                        })
                    };
                    wait_until("it has stopped", || !is_running(pid), String::new);
                    if is_unborn(&pid) {
                        return true;
                    }
                    // It had begun meanwhile.
                    signal(pid, Signal::CONT);
                }
            }
            false
        });
        for _ in 0..200 {
            if hunter.is_finished() {
                break;
            }
            let pool = setup.pool();
            assert_eq!(pool.submit(JobSpec::new("echo")).unwrap().wait().status(), Status::Ok);
        }
        is_over.store(true, Ordering::SeqCst);
        hunter.join().unwrap()
    });
    assert!(stopped, "no worker was caught before its program began");
    before.assert_same();
}

/// Kills workers that have nothing to do, one after the other, more often than is allowed in a row
/// without progress, while the one worker that has something is `busy`.
fn kill_the_idle(pool: &Pool, busy: u32, killed: &mut BTreeSet<u32>) {
    // It is called so once it has been admitted.
    let is_ready = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.starts_with("brigade-"))
    };
    for _ in 0..5 {
        let mut fresh = None;
        let seen = || {
            assert!(pool.status().gave_up.is_none(), "with a job under way: {:?}", pool.status());
            let is_idle = |pid: &u32| *pid != busy && !killed.contains(pid) && is_ready(pid);
            fresh = workers().into_iter().find(is_idle);
            fresh.is_some()
        };
        wait_until("a new worker", seen, || format!("{:?}", pool.status()));
        kill(fresh.unwrap());
        killed.extend(fresh);
    }
}

fn one_at_work(setup: Setup) {
    let before = ResourceSnapshot::now();
    let pool = setup.builder().workers(2).max_restarts(2).heartbeat(Duration::from_secs(3));
    let pool = pool.build().unwrap();
    let mut killed = BTreeSet::new();
    for round in 0..2 {
        let gate = Gate::shut();
        let job = pool.submit(gate.job()).unwrap();
        wait_until("it has begun", || gate.begun().len() == 1, String::new);
        let busy = gate.begun()[0];
        // In the second round it hangs, which is found out after three seconds.
        if round == 1 {
            stop(busy);
        }
        kill_the_idle(&pool, busy, &mut killed);
        gate.open();
        let outcome = job.wait();
        assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 1 + round));
    }
    pool.close();
    before.assert_same();
}

fn one_told(setup: Setup) {
    let before = ResourceSnapshot::now();
    let pool = setup.builder().workers(2).max_restarts(2).heartbeat(Duration::from_secs(3));
    let pool = pool.build().unwrap();
    let stopped = workers()[0];
    stop(stopped);
    let mut tries = [(); 2].map(|()| {
        let gate = Gate::shut();
        let job = pool.submit(gate.job()).unwrap();
        (gate, job)
    });
    let has_begun = |(gate, _): &(Gate, _)| !gate.begun().is_empty();
    wait_until("one has begun", || tries.iter().any(has_begun), String::new);
    // The other one is with the worker that was stopped.
    tries.sort_by_key(|with| !has_begun(with));
    let [(gate, job), (other_gate, other)] = tries;
    gate.open();
    assert_eq!(job.wait().status(), Status::Ok);
    kill_the_idle(&pool, stopped, &mut BTreeSet::new());
    assert!(other_gate.begun().is_empty(), "it was to wait for who was stopped");
    other_gate.open();
    let outcome = other.wait();
    assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 1), "it was never begun");
    pool.close();
    before.assert_same();
}

/// A worker program that does something else unless `condition` holds, and the directory in
/// which both are run.
fn worker_if(condition: &str, or_else: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (place, own) = (directory.path().display(), std::env::current_exe().unwrap());
    let text = format!("cd '{place}'; {condition} || {{ {or_else}; }}; exec '{}'", own.display());
    let program = script(directory.path(), &text);
    (directory, program)
}

fn once(setup: Setup) {
    let (directory, program) = worker_if("! mkdir once 2>&-", "exit 3");
    let before = ResourceSnapshot::now();
    let pool = setup.builder().worker_program(Some(program)).workers(1).build().unwrap();
    let job = pool.submit(JobSpec::new("echo").input(&b"x"[..])).unwrap();
    assert_eq!(job.wait().status(), Status::Ok);
    pool.close();
    assert!(directory.path().join("once").exists());
    drop(directory);
    before.assert_same();
}

fn no_more_workers(setup: Setup) {
    let (directory, program) = worker_if("mkdir once 2>&-", "exit 3");
    let before = ResourceSnapshot::now();
    let pool = setup.builder().worker_program(Some(program)).workers(1);
    let pool = pool.retries(100).max_restarts(3).build().unwrap();
    let deadly = pool.submit(JobSpec::new("die")).unwrap();
    let error = result(deadly.wait()).unwrap_err();
    let JobError::PoolGaveUp { reason } = error else { panic!("{error}") };
    assert!(reason.contains("--max-restarts") && reason.contains("status 3"), "{reason}");
    assert!(pool.submit(JobSpec::new("echo")).is_err());
    pool.close();
    drop(directory);
    before.assert_same();
}

fn all_busy(setup: Setup) {
    let pool = setup.builder().workers(8).build().unwrap();
    let gate = Gate::shut();
    let jobs: Vec<_> = (0..8).map(|_| pool.submit(gate.job()).unwrap()).collect();
    let have_begun = || gate.begun().len() == 8;
    wait_until("all have begun", have_begun, || format!("{:?}", gate.begun()));
    workers().into_iter().for_each(kill);
    gate.open();
    for job in jobs {
        let outcome = job.wait();
        assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 2));
    }
    assert!(pool.status().gave_up.is_none());
}

fn all_idle(setup: Setup) {
    let pool = setup.builder().workers(8).build().unwrap();
    for round in 1..=2 {
        let old = workers();
        old.iter().copied().for_each(kill);
        let replaced = || {
            let now = workers();
            now.len() == 8 && now.iter().all(|pid| !old.contains(pid))
        };
        wait_until("eight new workers", replaced, || format!("{:?}", pool.status()));
        // Counted right after they are there.
        let counted = || pool.status().restarts == 8 * round;
        wait_until("eight restarts", counted, || format!("{:?}", pool.status()));
    }
    let jobs = (0..50).map(|_| JobSpec::new("echo"));
    all_ok(&pool, jobs);
}

fn side_by_side(setup: Setup) {
    let pool = setup.builder().workers(8).build().unwrap();
    // All of them at once, and no good one among them.
    let deadly = || pool.submit(JobSpec::new("die").param("ms", 100)).unwrap();
    let jobs: Vec<_> = (0..8).map(|_| deadly()).collect();
    for job in jobs {
        let outcome = job.wait();
        assert_eq!((outcome.status(), outcome.attempts), (Status::Crashed, 3));
    }
    assert!(result(pool.submit(JobSpec::new("echo")).unwrap().wait()).is_ok());
}

fn one_bad_job(setup: Setup) {
    let pool = setup.builder().workers(1).retries(5).max_restarts(2).build().unwrap();
    let outcome = pool.submit(JobSpec::new("die")).unwrap().wait();
    assert_eq!((outcome.status(), outcome.attempts), (Status::Crashed, 6));
    assert!(result(pool.submit(JobSpec::new("echo")).unwrap().wait()).is_ok());
}

fn killed_at_the_door(setup: Setup) {
    let slow = "echo $$ > new; mv new pid; exec sleep 1000";
    let (directory, program) = worker_if("! mkdir once 2>&-", slow);
    let pool = setup.builder().worker_program(Some(program)).start().unwrap();
    let pid = || fs::read_to_string(directory.path().join("pid")).ok()?.trim().parse().ok();
    wait_until("one hangs in its start", || pid().is_some(), String::new);
    kill(pid().unwrap());
    pool.ready().unwrap();
    assert_eq!(pool.status().restarts, 1);
    let jobs = (0..50).map(|_| JobSpec::new("echo"));
    all_ok(&pool, jobs);
}

fn one_exits_at_first(setup: Setup) {
    let wait = "while [ ! -e go ]; do sleep 0.01; done";
    let or_else = format!("mkdir second 2>&- && {{ {wait}; exit 3; }}");
    let (directory, program) = worker_if("mkdir first 2>&-", &or_else);
    let pool = setup.builder().worker_program(Some(program)).start().unwrap();
    assert!(result(pool.submit(JobSpec::new("echo")).unwrap().wait()).is_ok());
    assert!(pool.status().startup.is_zero(), "the other one waits");
    fs::write(directory.path().join("go"), "").unwrap();
    pool.ready().unwrap();
    assert_eq!(pool.status().restarts, 1);
}

/// Where this process listens, in the private directory.
fn listeners() -> BTreeSet<PathBuf> {
    let own: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
        .collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let of = |line: &str| {
        // Num RefCount Protocol Flags Type St Inode Path
        let mut fields = line.split_whitespace().skip(6);
        let inode = format!("socket:[{}]", fields.next()?);
        let path = PathBuf::from(fields.next()?);
        let is_own = own.contains(&inode) && path.starts_with(brigade_ipc::runtime_dir::path());
        (is_own && path.exists()).then_some(path)
    };
    // What it has accepted has the same path.
    table.lines().filter_map(of).collect()
}

/// As some programs do with what lies in a temporary directory for long.
fn cleared(setup: Setup) {
    let before = ResourceSnapshot::now();
    let pool = setup.pool();
    let found = listeners();
    assert!(!found.is_empty(), "where do workers report?");
    found.iter().for_each(|path| fs::remove_file(path).unwrap());
    let old = workers();
    assert_eq!(old.len(), 2);
    old.iter().copied().for_each(kill);
    let replaced = || workers().len() == 2 && workers().iter().all(|pid| !old.contains(pid));
    wait_until("two new workers", replaced, || format!("{:?}", pool.status()));
    let jobs = (0..50).map(|_| JobSpec::new("echo"));
    all_ok(&pool, jobs);
    assert!(pool.status().gave_up.is_none(), "{:?}", pool.status());
    pool.close();
    before.assert_same();
}
