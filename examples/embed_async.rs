//! A pool inside an asynchronous program: jobs are awaited like any other future:
//! `cargo run --example embed_async`.
#![allow(clippy::print_stdout, reason = "a program may")]

use std::process::ExitCode;
use std::time::Duration;

use brigade::{JobSpec, Pool, Registry};

fn main() -> ExitCode {
    // This executable is also the worker program, so this call comes first.
    if let Some(code) = brigade::run_if_worker(&Registry::builtin()) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(serve())
}

async fn serve() -> ExitCode {
    let pool = Pool::builder().workers(2).build().expect("workers start");
    let spin = |us: i64| pool.submit(JobSpec::new("spin").param("us", us)).expect("a valid job");
    // Both run at once, each in a process of its own.
    let (one, other) = tokio::join!(spin(2000), spin(3000));
    println!("{:?}, {:?}", one.status(), other.status());
    // Dropping a handle does not cancel its job; `cancel` does.
    let slow = pool.submit(JobSpec::new("wait").param("us", 60_000_000)).expect("a valid job");
    let mut slow = std::pin::pin!(slow);
    if tokio::time::timeout(Duration::from_millis(100), &mut slow).await.is_err() {
        slow.cancel();
        println!("{:?}", slow.await.status());
    }
    pool.shutdown(Duration::from_secs(5));
    ExitCode::SUCCESS
}
