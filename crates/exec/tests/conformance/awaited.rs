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
    ("an awaited outcome does not wait for the worker's next job", awaited_before_a_long_job),
    ("a map that is dropped midway cancels the rest", dropped_map),
    ("a pool that is dropped does not wait for a long job", dropped_pool),
    ("shutdown does not wait for a long job", shutdown_long),
    ("shutdown does not wait for long jobs of more threads than places", shutdown_narrow),
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

fn awaited_before_a_long_job(setup: Setup) {
    let pool = setup.builder().workers(1).depth(2).build().unwrap();
    let wait = |ms: i64| pool.submit(JobSpec::new("wait").param("ms", ms)).unwrap();
    let mut took: Vec<Duration> = (0..5)
        .map(|_| {
            let (short, long) = (wait(1), wait(300));
            let begin = Instant::now();
            assert!(block_on(short).result.is_ok());
            let took = begin.elapsed();
            assert!(long.wait().result.is_ok());
            took
        })
        .collect();
    took.sort_unstable();
    // The worker goes on for 300 ms; a completion thread that only looks by itself takes up to 100.
    assert!(took[2] < Duration::from_millis(80), "{took:?}");
}

fn dropped_map(setup: Setup) {
    let pool = setup.builder().depth(1).queue(20).build().unwrap();
    // A worker process runs its jobs to their end, a kernel in this process is asked to stop.
    let ms = if setup.backend == Backend::Processes { 500 } else { LONG_MS };
    let taken = Cell::new(0);
    let jobs = (0..).map(|i| {
        taken.set(taken.get() + 1);
        JobSpec::new("wait").param("ms", if i == 0 { 0 } else { ms })
    });
    let mut map = pool.map(jobs);
    assert!(map.next().unwrap().result.is_ok());
    let begin = Instant::now();
    drop(map);
    let jobs: u64 = pool.close().iter().map(|report| report.jobs).sum();
    assert!(begin.elapsed() < SOON);
    // An event loop begins all jobs at once.
    if setup.backend != Backend::Async {
        assert!(taken.get() >= 10 && jobs <= taken.get() / 2, "{jobs} of {}", taken.get());
    }
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

/// Fewer places in the queue than threads: `close` is then still handing out the ends of threads when
/// the limit is over.
fn shutdown_narrow(setup: Setup) {
    // With another backend, `submit` would wait for room in the queue.
    if !matches!(setup.backend, Backend::Threads | Backend::ThreadsGil) {
        return;
    }
    for _ in 0..20 {
        let pool = setup.builder().workers(4).queue(1).build().unwrap();
        let handles: Vec<_> = (0..4).map(|_| long_job(&pool)).collect();
        let begin = Instant::now();
        pool.shutdown(Duration::from_millis(2));
        assert!(begin.elapsed() < SOON);
        for handle in handles {
            assert_eq!(result(handle.wait()).unwrap_err(), JobError::Cancelled);
        }
    }
}
