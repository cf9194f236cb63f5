//! What worker processes know of the coordinator's environment.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use brigade_exec::{Environment, ForkServer, Pool, Sandbox};

use crate::apart::SECRET_ENV;
use crate::util::{Setup, Test, all_ok, children, workers};
use crate::{apart, kernels};

pub(crate) const TESTS: &[Test] = &[
    ("no process of a pool has the secrets of the coordinator in its memory", secrets),
    ("workers have the variables that they are given", given),
];

fn secret() -> String {
    std::env::var(SECRET_ENV).unwrap()
}

/// Whether a process has `text` anywhere in memory that can be read.
fn knows(pid: u32, text: &str) -> io::Result<bool> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        if !rest.starts_with('r') || rest.contains("[vvar") || rest.contains("[vsyscall") {
            continue;
        }
        const CHUNK: usize = 1 << 20;
        let mut batch = vec![0; CHUNK + text.len()];
        for begin in (from..to).step_by(CHUNK) {
            // One that ends with a batch goes on in the next, so they overlap.
            let len = batch.len().min((to - begin) as usize);
            // What is mapped and not there, beyond the end of a file, cannot be read.
            let read = memory.read_at(&mut batch[..len], begin).unwrap_or(0);
            if batch[..read].windows(text.len()).any(|part| part == text.as_bytes()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn secrets(setup: Setup) {
    let secret = secret();
    match knows(std::process::id(), &secret) {
        Ok(knows) => assert!(knows, "this process has it"),
        Err(error) => return apart::skip("memory", &format!("/proc/self/mem: {error}")),
    }
    for sandbox in [None, Some(Sandbox::BestEffort)] {
        let pool = setup.builder().sandbox(sandbox).build().unwrap();
        all_ok(&pool, (0..20).map(|_| brigade_proto::JobSpec::new("echo").input(&b"x"[..])));
        // With the fork server.
        for pid in children() {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
            let environment = String::from_utf8_lossy(&environment);
            assert!(!environment.contains(SECRET_ENV), "{environment}");
            match knows(pid, &secret) {
                Ok(knows) => assert!(!knows, "process {pid} with sandbox {sandbox:?}"),
                Err(error) => return apart::skip("memory", &format!("/proc/{pid}/mem: {error}")),
            }
        }
    }
    // It would have been found.
    let pool = setup.builder().pass_env(SECRET_ENV).build().unwrap();
    for pid in workers() {
        assert!(knows(pid, &secret).unwrap());
    }
    drop(pool);
}

fn given(setup: Setup) {
    let has = |pid: u32, text: &str| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        environment.split(|byte| *byte == 0).any(|variable| variable == text.as_bytes())
    };
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let passed = format!("{SECRET_ENV}={}", secret());
    let builder = || setup.builder().env("BRIGADE_TEST_GIVEN", "a b").pass_env(SECRET_ENV);
    let pool = builder().env("LANG", "xx").build().unwrap();
    for pid in workers() {
        for variable in ["BRIGADE_TEST_GIVEN=a b", "LANG=xx", &path, &passed] {
            assert!(has(pid, variable), "{variable}");
        }
    }
    drop(pool);
    for name in ["", "A=B", "BRIGADE_WORKER_NONCE"] {
        let error = builder().env(name, "x").build().map(drop).unwrap_err();
        assert!(error.to_string().contains("--env"), "{error}");
    }
    // A fork server that outlasts pools has its own.
    let mut environment = Environment::default();
    environment.set("OF_THE_SERVER", "1");
    let server = ForkServer::start_with(&environment).unwrap();
    let pool = Pool::builder().workers(2).registry(kernels::registry()).fork_server(&server);
    let pool = pool.build().unwrap();
    assert!(workers().into_iter().all(|pid| has(pid, "OF_THE_SERVER=1")));
    drop((pool, server));
}
