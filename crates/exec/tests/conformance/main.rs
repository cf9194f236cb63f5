//! One suite for every backend and transport: the same job gives the same bytes,
//! the same errors and the same spans. What only worker processes can do (die, be
//! killed, be replaced) is in `supervision`.

#![allow(clippy::print_stdout, reason = "a test may")]

mod crowded;
mod fork_server;
mod hostile;
mod kernels;
mod limits;
mod orphans;
mod panics;
mod restarts;
mod same;
mod sandbox;
mod set_up;
mod storm;
mod supervision;
mod trials;
mod util;

use std::process::ExitCode;

use brigade_exec::Transport;
use libtest_mimic::{Arguments, Trial};

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
    hostile::listen();
    util::watch();
    // A process has one bridge (`ipc/src/bridge.rs`) from its first pool on: not what a pool
    // leaves behind.
    drop(brigade_ipc::Bells::create());
    let mut trials: Vec<Trial> = hostile::trials().collect();
    for setup in util::Setup::all() {
        for (name, test) in same::TESTS {
            trials.push(util::under_watch(format!("{setup}::{name}"), move || test(setup)));
        }
    }
    for setup in util::Setup::processes() {
        let tests = [
            supervision::TESTS,
            restarts::TESTS,
            trials::TESTS,
            storm::TESTS,
            limits::TESTS,
            crowded::TESTS,
            sandbox::TESTS,
            set_up::TESTS,
            orphans::TESTS,
            panics::TESTS,
            if setup.transport == Transport::Arena { panics::TESTS_WITH_RINGS } else { &[] },
        ];
        for (name, test) in tests.into_iter().flatten() {
            trials.push(util::under_watch(format!("{setup}::{name}"), move || test(setup)));
        }
    }
    for (name, test) in fork_server::TESTS {
        trials.push(util::under_watch(format!("fork-server::{name}"), test));
    }
    let name = "random batches are the same everywhere".to_owned();
    trials.push(util::under_watch(name, same::random_batches));
    let mut arguments = Arguments::from_args();
    // They count processes and descriptors of this process.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}
