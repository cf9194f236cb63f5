//! A template process that outlasts pools.

use std::fs;

use brigade_exec::{ForkServer, Pool};
use brigade_proto::JobSpec;

use crate::kernels;
use crate::util::{Belongings, bytes, children, result, wait_until, workers};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("one fork server serves pool after pool", many_pools),
    ("a fork server that was killed is started again", killed),
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
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
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
