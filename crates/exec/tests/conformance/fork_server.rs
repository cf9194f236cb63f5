//! A template process that outlasts pools.

use std::fs;
use std::time::Duration;

use brigade_exec::{ForkServer, Pool, PoolBuilder, PoolError, StartMethod, Stop};
use brigade_proto::{JobError, JobSpec};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::kernels;
use crate::storm::TestRng;
use crate::supervision::{kill, script, signal, stop};
use crate::util::{ResourceSnapshot, bytes, children, result, wait_until, workers};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("one fork server serves pool after pool", many_pools),
    ("a fork server that was killed is started again", killed),
    ("a fork server that was stopped keeps nobody waiting", stopped),
    ("a pool does not wait for a fork server that was stopped to end", stopped_to_the_end),
    ("a fork server that dies between two workers loses none", killed_at_work),
    ("kills of a fork server that starts end no pool", killed_at_its_start),
    ("a fork server that outlasts pools may be killed at its start", killed_at_its_start_shared),
    ("a fork server that is killed at each start ends the pool with the reason", killed_each_time),
    ("a fork server that ends at each start ends the pool at once", ends_each_time),
    ("a fork server that is stopped at its start is replaced", stopped_at_its_start),
    ("a fork server whose workers die at their start is replaced", starved),
];

fn templates() -> Vec<u32> {
    let workers = workers();
    children().into_iter().filter(|pid| !workers.contains(pid)).collect()
}

fn start(server: &ForkServer) -> Pool {
    let pool = Pool::builder().workers(2).registry(kernels::registry()).fork_server(server);
    pool.build().unwrap()
}

fn echo(pool: &Pool) {
    let outcome = pool.submit(JobSpec::new("echo").input(bytes(1000, 0))).unwrap().wait();
    assert_eq!(result(outcome).unwrap(), [bytes(1000, 1).to_vec()]);
}

fn many_pools() {
    let before = ResourceSnapshot::now();
    let server = ForkServer::start().unwrap();
    let first = start(&server);
    let template = templates();
    assert_eq!(template.len(), 1);
    let second = start(&server);
    echo(&first);
    drop(first);
    echo(&second);
    drop(second);
    assert_eq!(children(), template, "it outlasts pools, and no worker does");
    let third = start(&server);
    // The pool holds it.
    drop(server);
    echo(&third);
    assert_eq!(templates(), template);
    drop(third);
    before.assert_same();
}

fn killed() {
    let before = ResourceSnapshot::now();
    let server = ForkServer::start().unwrap();
    let pool = start(&server);
    let template = templates();
    let pid = Pid::from_raw(template[0].cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let stat = format!("/proc/{}/stat", template[0]);
    let is_dead = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
    wait_until("it is dead", is_dead, || fs::read_to_string(&stat).unwrap_or_default());
    let other = start(&server);
    echo(&other);
    echo(&pool);
    assert_eq!(templates().len(), 1);
    assert_ne!(templates(), template);
    drop((pool, other, server));
    before.assert_same();
}

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(1000);
/// How long a test waits at most.
const CAP: Duration = Duration::from_secs(20);

fn patient(server: &ForkServer) -> Pool {
    let pool = Pool::builder().workers(2).registry(kernels::registry()).fork_server(server);
    pool.start_deadline(FOR_EVER).build().unwrap()
}

fn stopped() {
    let before = ResourceSnapshot::now();
    let server = ForkServer::start().unwrap();
    let pool = patient(&server);
    let (template, old) = (templates(), workers());
    stop(template[0]);
    kill(old[0]);
    let gone = || !workers().contains(&old[0]);
    wait_until("it is reaped", gone, || format!("{old:?} {:?}", workers()));
    // The other one works on, and is watched.
    let after = Duration::from_millis(30);
    let job = pool.submit(JobSpec::new("deaf").param("ms", 1_000_000).timeout(after)).unwrap();
    let outcome = job.wait_timeout(CAP).expect("its timeout was not kept");
    assert_eq!(result(outcome).unwrap_err(), JobError::TimedOut { after });
    // And another one is started in place of the one that does not answer.
    wait_until("two workers", || workers().len() == 2, || format!("{:?}", children()));
    echo(&pool);
    assert_eq!(templates().len(), 1);
    assert_ne!(templates(), template);
    drop((pool, server));
    before.assert_same();
}

fn stopped_to_the_end() {
    let before = ResourceSnapshot::now();
    let server = ForkServer::start().unwrap();
    // It has to have taken its name.
    wait_until("its start", || templates().len() == 1, || format!("{:?}", children()));
    let template = templates();
    stop(template[0]);
    // Its workers are asked for, and nobody answers.
    let pool = Pool::builder().workers(2).registry(kernels::registry()).fork_server(&server);
    let pool = pool.start_deadline(FOR_EVER).start().unwrap();
    drop(server);
    pool.stop(Stop::Kill);
    drop(pool);
    before.assert_same();
}

/// More than it is asked for ahead.
const MANY: usize = 20;

fn killed_at_work() {
    let before = ResourceSnapshot::now();
    for forked in [0, 1, 5, 17] {
        let server = ForkServer::start().unwrap();
        wait_until("its start", || templates().len() == 1, || format!("{:?}", children()));
        let template = templates();
        // All that it is asked for waits for it.
        stop(template[0]);
        let pool = Pool::builder().workers(MANY).registry(kernels::registry()).fork_server(&server);
        let pool = pool.start_deadline(FOR_EVER).start().unwrap();
        signal(template[0], Signal::CONT);
        wait_until("some workers", || workers().len() >= forked, || format!("{:?}", children()));
        kill(template[0]);
        pool.ready().unwrap();
        assert_eq!(workers().len(), MANY, "those that it could not tell of are gone");
        echo(&pool);
        drop((pool, server));
    }
    before.assert_same();
}

/// Kills of starting fork servers in each of the two trials of them; more for a soak.
const KILLS_ENV: &str = "BRIGADE_TEST_START_KILLS";

fn kills() -> usize {
    std::env::var(KILLS_ENV).ok().and_then(|kills| kills.parse().ok()).unwrap_or(60)
}

fn rng() -> TestRng {
    let seed = std::env::var("BRIGADE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003 + 1);
    println!("seed {seed}; BRIGADE_TEST_SEED={seed} repeats it");
    TestRng(seed)
}

fn builder() -> PoolBuilder {
    let pool = Pool::builder().workers(2).registry(kernels::registry());
    pool.start_method(StartMethod::Forkserver)
}

/// Kills the next child of a pool that none of `known` is, some time after it was started: its
/// fork server, or a worker. `None`: the pool is ready, and needs no other.
fn kill_the_next(pool: &Pool, known: &[u32], after: Duration) -> Option<u32> {
    let mut next = None;
    let has_come = || {
        next = children().into_iter().find(|pid| !known.contains(pid));
        next.is_some() || !pool.status().startup.is_zero()
    };
    wait_until("a fork server", has_come, || format!("known {known:?}, now {:?}", children()));
    std::thread::sleep(after);
    // Not reaped by its parent, this process, unless it has ended by itself.
    next.inspect(|&pid| kill(pid))
}

/// From the first instruction of its process to its first worker; mostly early.
fn moment(rng: &mut TestRng) -> Duration {
    let most = 1 << (6 + rng.roll(9));
    Duration::from_micros(rng.roll(most))
}

fn killed_at_its_start() {
    const MOST: u32 = 4;
    let (mut rng, before) = (rng(), ResourceSnapshot::now());
    let mut killed = 0;
    while killed < kills() {
        let pool = builder().max_restarts(MOST).start().unwrap();
        let mut known = Vec::new();
        // As many in a row as it has to stand.
        for _ in 0..1 + rng.roll(u64::from(MOST)) {
            let Some(pid) = kill_the_next(&pool, &known, moment(&mut rng)) else { break };
            known.push(pid);
            killed += 1;
        }
        let started = pool.ready();
        assert!(started.is_ok(), "after {killed}, {known:?}: {}", started.unwrap_err());
        echo(&pool);
    }
    before.assert_same();
}

fn killed_at_its_start_shared() {
    let (mut rng, before) = (rng(), ResourceSnapshot::now());
    for killed in 0..kills() {
        let server = ForkServer::start().unwrap();
        let template = children();
        // Before it is asked for anything, or while it is.
        let first = rng.roll(2) == 0;
        let pool = || Pool::builder().workers(2).registry(kernels::registry()).fork_server(&server);
        let early = (!first).then(|| pool().start().unwrap());
        std::thread::sleep(moment(&mut rng));
        template.iter().copied().for_each(kill);
        let pool = early.unwrap_or_else(|| pool().start().unwrap());
        let started = pool.ready();
        assert!(started.is_ok(), "after {killed}: {}", started.unwrap_err());
        echo(&pool);
        drop((pool, server));
    }
    before.assert_same();
}

fn killed_each_time() {
    let before = ResourceSnapshot::now();
    let directory = tempfile::tempdir().unwrap();
    let text = format!("echo >>{}/count; echo sorry >&2; kill -9 $$", directory.path().display());
    let program = script(directory.path(), &text);
    for most in [0, 3] {
        let pool = builder().worker_program(Some(program.clone())).max_restarts(most).start();
        let error = pool.unwrap().ready().unwrap_err();
        assert!(matches!(&*error, PoolError::ForkServerDied { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("killed by SIGKILL") && said.contains("sorry"), "{said}");
        let count = fs::read_to_string(directory.path().join("count")).unwrap().lines().count();
        // Two workers are not always asked of the same one.
        let starts = most as usize + 1;
        assert!((starts..=2 * starts).contains(&count), "{count} starts with {most} restarts");
        fs::remove_file(directory.path().join("count")).unwrap();
    }
    drop(directory);
    before.assert_same();
}

/// It lives, and forks, but what it forks has no room for anything.
fn starved() {
    let before = ResourceSnapshot::now();
    let server = ForkServer::start().unwrap();
    let pool = Pool::builder().workers(2).registry(kernels::registry()).fork_server(&server);
    let pool = pool.max_restarts(2).build().unwrap();
    let (template, old) = (templates(), workers());
    let pid = Pid::from_raw(template[0].cast_signed()).unwrap();
    let none = Rlimit { current: Some(4096), maximum: Some(4096) };
    prlimit(Some(pid), Resource::As, none).unwrap();
    kill(old[0]);
    let replaced = || templates().len() == 1 && templates() != template && workers().len() == 2;
    wait_until("another fork server, and its worker", replaced, || format!("{:?}", pool.status()));
    echo(&pool);
    drop((pool, server));
    before.assert_same();
}

fn ends_each_time() {
    let before = ResourceSnapshot::now();
    let directory = tempfile::tempdir().unwrap();
    let text = format!("echo >>{}/count; echo sorry >&2; exit 3", directory.path().display());
    let program = script(directory.path(), &text);
    let pool = builder().worker_program(Some(program)).start().unwrap();
    let said = pool.ready().unwrap_err().to_string();
    assert!(said.contains("status 3") && said.contains("sorry"), "{said}");
    let count = fs::read_to_string(directory.path().join("count")).unwrap().lines().count();
    // Once more for each worker, and those are not always asked of the same one.
    assert!((2..=4).contains(&count), "it was started {count} times");
    drop(pool);
    let nowhere = builder().worker_program(Some("/nowhere/at/all".into())).build();
    assert!(matches!(nowhere, Err(PoolError::Spawn { .. })));
    drop(directory);
    before.assert_same();
}

fn stopped_at_its_start() {
    let before = ResourceSnapshot::now();
    // Long enough for a start that nobody stops.
    let pool = builder().start_deadline(Duration::from_secs(3)).start().unwrap();
    wait_until("a fork server", || !children().is_empty(), String::new);
    children().into_iter().for_each(stop);
    pool.ready().unwrap();
    echo(&pool);
    drop(pool);
    before.assert_same();
}
