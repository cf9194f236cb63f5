//! Workers that fail in their set-up: the person who starts the pool reads why.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use brigade_exec::Sandbox;
use brigade_sys::sandbox::attempts;

use crate::util::{ResourceSnapshot, Setup, Test, wait_until, workers};

pub(crate) const TESTS: &[Test] = &[
    ("a set-up that fails is told with its reason", told),
    ("the kernel ends workers first when memory runs out", first_to_go),
];

/// A system call that this worker may not use.
const ENV: &str = "BRIGADE_TEST_REFUSED_CALL";

/// Takes a call from this process, if it is to go without.
pub(crate) fn handicap() {
    if let Ok(call) = std::env::var(ENV) {
        attempts::refuse(&call).unwrap();
    }
}

fn told(setup: Setup) {
    let before = ResourceSnapshot::now();
    let directory = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let reasons = [
        // Before the handshake, and after it.
        ("close_range", "close", "Operation not permitted"),
        ("prlimit64", "cannot limit its files", "Operation not permitted"),
    ];
    for (call, what, why) in reasons {
        let program = directory.path().join(call);
        fs::write(&program, format!("#!/bin/sh\n{ENV}={call} exec {}\n", own.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let pool = setup.builder().worker_program(Some(program)).max_restarts(1).start().unwrap();
        let mut error = pool.ready().err().map(|error| error.to_string());
        if error.is_none() {
            // They were ready before they failed.
            wait_until(
                "the pool gives up",
                || pool.status().gave_up.is_some(),
                || format!("{:?}", pool.status()),
            );
            error = pool.status().gave_up.map(|error| error.to_string());
        }
        let error = error.unwrap();
        assert!(error.contains(what) && error.contains(why), "{call}: {error}");
        drop(pool);
    }
    before.assert_same();
}

fn first_to_go(setup: Setup) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    for sandbox in [None, Some(Sandbox::BestEffort)] {
        let pool = setup.builder().sandbox(sandbox).build().unwrap();
        let workers = workers();
        assert_eq!(workers.len(), 2);
        for worker in workers {
            let score = fs::read_to_string(format!("/proc/{worker}/oom_score_adj")).unwrap();
            assert_eq!(score.trim(), "1000", "with sandbox {sandbox:?}");
        }
        drop(pool);
    }
    assert_eq!(fs::read_to_string("/proc/self/oom_score_adj").unwrap(), own, "not this process");
}
