//! A pool of worker processes inside another program:
//! `cargo run --example embed_pool`.
#![allow(clippy::print_stdout, reason = "a program may")]

use std::process::ExitCode;
use std::time::Duration;

use brigade::{JobSpec, Pool, Registry, Status};

fn main() -> ExitCode {
    if let Some(code) = brigade::run_if_worker(&Registry::builtin()) {
        return code;
    }
    let pool = Pool::builder().workers(2).retries(0).build().expect("workers start");

    // One job, waited for; a good one survives the bad one beside it.
    let crash = pool.submit(JobSpec::new("crash")).expect("there is such a kernel");
    let spin = pool.submit(JobSpec::new("spin").param("us", 2000)).expect("there is such a kernel");
    assert_eq!(crash.wait().status(), Status::Crashed);
    assert_eq!(spin.wait().status(), Status::Ok);

    // A job that one loses interest in.
    let long = pool.submit(JobSpec::new("wait").param("us", 60_000_000)).expect("valid");
    if let Err(still_running) = long.wait_timeout(Duration::from_millis(10)) {
        still_running.cancel();
        assert_eq!(still_running.wait().status(), Status::Cancelled);
    }

    // Many jobs, in order, of which never more than a window is in flight.
    let jobs = (0..1000).map(|i| JobSpec::new("touch").input(&[i as u8; 100][..]));
    for (i, outcome) in pool.map(jobs).enumerate() {
        let outputs = outcome.result.expect("touch does not fail");
        assert_eq!(outputs[0][0], (i as u8).wrapping_add(1));
    }
    for report in pool.close() {
        println!("worker {}: {} jobs", report.worker, report.jobs);
    }
    ExitCode::SUCCESS
}
