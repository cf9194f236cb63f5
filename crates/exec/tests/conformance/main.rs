//! One suite for every backend and transport: the same job gives the same bytes,
//! the same errors and the same spans. What only worker processes can do (die, be
//! killed, be replaced) is in `supervision`.

#![allow(clippy::print_stdout, reason = "a test may")]

mod apart;
mod awaited;
mod crowded;
mod environment;
mod fork_server;
mod hostile;
mod inputs;
mod kernels;
mod limits;
mod orphans;
mod panics;
mod restarts;
mod same;
mod sandbox;
mod set_up;
mod short;
mod storm;
mod supervision;
mod trials;
mod util;

use std::process::ExitCode;

use brigade_exec::{Backend, StartMethod, Transport};

use crate::apart::Case;

fn main() -> ExitCode {
    if let Some(code) = hostile::play() {
        return code;
    }
    set_up::handicap();
    // This executable is its own worker program.
    if let Some(code) = brigade_exec::run_if_worker(&kernels::registry()) {
        return code;
    }
    if let Some(code) = orphans::play().or_else(panics::play) {
        return code;
    }
    match apart::requested() {
        None => apart::try_all(cases()),
        Some(name) => {
            // In a worker process a panic has a location; the same in this process only with the hook.
            brigade_exec::install_panic_hook();
            hostile::listen();
            // A process has one channel for sockets that it imports (`ipc/src/fd_import.rs`) from
            // its first pool on: not what a pool leaves behind.
            brigade_ipc::prepare_senders();
            apart::try_one(cases(), &name)
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // They wait until a pool counts as idle. Begun last, they would have nothing beside them.
    for setup in util::Setup::processes().filter(|setup| setup.transport == Transport::Arena) {
        for (name, test) in inputs::TESTS_WITH_RINGS {
            cases.push(Case::new(format!("{setup}::{name}"), move || test(setup)));
        }
    }
    cases.extend(hostile::cases());
    for setup in util::Setup::all() {
        let mut tests: Vec<_> = same::TESTS.iter().chain(awaited::TESTS).collect();
        if setup.backend != Backend::Sync {
            tests.extend(same::TESTS_BESIDE.iter().chain(awaited::TESTS_BESIDE));
        }
        for (name, test) in tests {
            cases.push(Case::new(format!("{setup}::{name}"), move || test(setup)));
        }
    }
    for setup in util::Setup::processes() {
        let has_programs = setup.start_method == StartMethod::Spawn;
        let tests = [
            supervision::TESTS,
            restarts::TESTS,
            trials::TESTS,
            storm::TESTS,
            limits::TESTS,
            crowded::TESTS,
            sandbox::TESTS,
            inputs::TESTS,
            set_up::TESTS,
            environment::TESTS,
            short::TESTS,
            orphans::TESTS,
            panics::TESTS,
            if setup.transport == Transport::Arena { panics::TESTS_WITH_RINGS } else { &[] },
            if has_programs { supervision::TESTS_WITH_PROGRAMS } else { &[] },
            if has_programs { restarts::TESTS_WITH_PROGRAMS } else { &[] },
        ];
        for (name, test) in tests.into_iter().flatten() {
            cases.push(Case::new(format!("{setup}::{name}"), move || test(setup)));
        }
    }
    for (name, test) in fork_server::TESTS {
        cases.push(Case::new(format!("fork-server::{name}"), test));
    }
    let name = "random batches are the same everywhere".to_owned();
    cases.push(Case::new(name, same::random_batches));
    cases
}
