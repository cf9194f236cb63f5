//! A template process that outlasts pools.

use std::fs;
use std::time::Duration;

use brigade_exec::{ForkServer, Pool, Stop};
use brigade_proto::{JobError, JobSpec};
use rustix::process::Signal;

use crate::kernels;
use crate::supervision::{kill, signal, stop};
use crate::util::{Belongings, bytes, children, result, wait_until, workers};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("one fork server serves pool after pool", many_pools),
    ("a fork server that was killed is started again", killed),
    ("a fork server that was stopped keeps nobody waiting", stopped),
    ("a pool does not wait for a fork server that was stopped to end", stopped_to_the_end),
    ("a fork server that dies between two workers loses none", killed_at_work),
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
    let before = Belongings::now();
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
    let before = Belongings::now();
    let server = ForkServer::start().unwrap();
    let pool = start(&server);
    let template = templates();
    let pid = rustix::process::Pid::from_raw(template[0].cast_signed()).unwrap();
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
    let before = Belongings::now();
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
    let before = Belongings::now();
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
    let before = Belongings::now();
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
