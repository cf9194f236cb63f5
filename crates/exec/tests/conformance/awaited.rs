//! How callers await outcomes and end a pool: handles as futures, a look without waiting, a map that
//! is dropped midway, and the end of a pool whose jobs take long.

use std::cell::Cell;
use std::time::{Duration, Instant};

use brigade_exec::{Backend, Pool};
use brigade_proto::{JobError, JobSpec, Outcome};

use crate::util::{Setup, Test, bytes, result, wait_until};

pub(crate) const TESTS: &[Test] = &[
    ("handles are awaited by a runtime that does not poll the pool", awaited),
    ("awaited jobs end beside jobs that are waited for", awaited_beside),
    ("a handle says whether its job has finished", finished),
    ("shutdown lets short jobs end", shutdown_short),
];

/// Of backends whose caller goes on while its jobs run.
pub(crate) const TESTS_BESIDE: &[Test] = &[
    ("a map that is dropped midway cancels the rest", dropped_map),
    ("a pool that is dropped does not wait for a long job", dropped_pool),
    ("shutdown does not wait for a long job", shutdown_long),
];

/// Longer than any test may take.
const LONG_MS: i64 = 100_000;
/// Much less, and much more than an end takes on a busy machine.
const SOON: Duration = Duration::from_secs(50);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn echo(pool: &Pool, seed: u8) -> impl Future<Output = (u8, Outcome)> + use<> {
    let handle = pool.submit(JobSpec::new("echo").input(bytes(3000, seed))).unwrap();
    async move { (seed, handle.await) }
}

fn assert_echoed((seed, outcome): (u8, Outcome)) {
    assert_eq!(result(outcome).unwrap(), [bytes(3000, seed.wrapping_add(1)).to_vec()]);
}

fn awaited(setup: Setup) {
    let pool = setup.pool();
    block_on(async {
        // One after another: each await begins before its job has ended, or after.
        for seed in 0..100 {
            assert_echoed(echo(&pool, seed).await);
        }
        // Many at a time, awaited in another order than they end.
        let all: Vec<_> = (0..100).map(|seed| echo(&pool, seed)).collect();
        for one in all.into_iter().rev() {
            assert_echoed(one.await);
        }
        // One that nobody awaits to its end.
        let mut handle = pool.submit(JobSpec::new("echo")).unwrap();
        let _ = std::future::poll_fn(|context| {
            let handle = std::pin::Pin::new(&mut handle);
            std::task::Poll::Ready(handle.poll(context).is_ready())
        })
        .await;
        drop(handle);
        assert_echoed(echo(&pool, 7).await);
    });
    let jobs: u64 = pool.close().iter().map(|report| report.jobs).sum();
    assert_eq!(jobs, 202);
}

fn awaited_beside(setup: Setup) {
    let pool = setup.pool();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 0..50 {
                let job = JobSpec::new("echo").input(bytes(3000, seed));
                assert_echoed((seed, pool.submit(job).unwrap().wait()));
            }
        });
        block_on(async {
            for seed in 0..50 {
                assert_echoed(echo(&pool, seed).await);
            }
        });
    });
}

fn finished(setup: Setup) {
    let pool = setup.pool();
    let mut handle = pool.submit(JobSpec::new("wait").param("ms", 20)).unwrap();
    if setup.backend != Backend::Sync {
        assert!(!handle.is_finished());
        handle = handle.try_wait().expect_err("its job takes longer");
    }
    wait_until("it has finished", || handle.is_finished(), String::new);
    let outcome = handle.try_wait().expect("it has finished");
    assert!(outcome.result.is_ok());
}

fn shutdown_short(setup: Setup) {
    let pool = setup.pool();
    let job = || JobSpec::new("wait").param("ms", 1);
    let handles: Vec<_> = (0..10).map(|_| pool.submit(job()).unwrap()).collect();
    let jobs: u64 = pool.shutdown(SOON).iter().map(|report| report.jobs).sum();
    assert_eq!(jobs, 10);
    assert!(handles.into_iter().all(|handle| handle.wait().result.is_ok()));
}

fn dropped_map(setup: Setup) {
    // There all jobs run at a time, so none waits.
    if setup.backend == Backend::Async {
        return;
    }
    let pool = setup.builder().depth(1).queue(20).build().unwrap();
    let taken = Cell::new(0);
    let jobs = (0..).map(|i| {
        taken.set(taken.get() + 1);
        JobSpec::new("wait").param("ms", if i == 0 { 0 } else { 500 })
    });
    let mut map = pool.map(jobs);
    assert!(map.next().unwrap().result.is_ok());
    drop(map);
    let jobs: u64 = pool.close().iter().map(|report| report.jobs).sum();
    // Those that workers had begun have ended.
    assert!(taken.get() >= 10 && jobs < taken.get(), "{jobs} of {}", taken.get());
}

fn long_job(pool: &Pool) -> brigade_exec::JobHandle {
    pool.submit(JobSpec::new("wait").param("ms", LONG_MS)).unwrap()
}

fn dropped_pool(setup: Setup) {
    let pool = setup.pool();
    let handle = long_job(&pool);
    let begin = Instant::now();
    drop(pool);
    assert!(begin.elapsed() < SOON);
    assert_eq!(result(handle.wait()).unwrap_err(), JobError::Cancelled);
}

fn shutdown_long(setup: Setup) {
    let pool = setup.pool();
    let handle = long_job(&pool);
    let begin = Instant::now();
    pool.shutdown(Duration::from_millis(10));
    assert!(begin.elapsed() < SOON);
    assert_eq!(result(handle.wait()).unwrap_err(), JobError::Cancelled);
}
