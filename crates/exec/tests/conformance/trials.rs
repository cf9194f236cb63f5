//! What becomes of jobs whose worker died, and of workers that do not take up jobs.

use std::time::{Duration, Instant};

use brigade_proto::{JobSpec, Status};

use crate::supervision::stop;
use crate::util::{
    Gate, ResourceSnapshot, Setup, Test, all_ok, bytes, result, wait_until, workers,
};

pub(crate) const TESTS: &[Test] = &[
    ("a worker that does not take up a job is replaced", stopped_before_a_job),
    ("a worker that is stopped while it is idle is replaced", stopped_while_idle),
    ("a job whose worker is stopped in the middle is tried again", stopped_in_a_job),
    ("jobs that kill their worker are tried again one at a time", one_at_a_time),
    ("suspects are tried although the queue never runs empty", not_starved),
    ("a suspect that is cancelled while it waits is not tried", cancelled_suspect),
];

fn stopped_before_a_job(setup: Setup) {
    let before = ResourceSnapshot::now();
    // Long enough for a good worker on a busy machine not to be taken for one that hangs.
    let heartbeat = Duration::from_secs(3);
    let pool = setup.builder().workers(1).retries(0).heartbeat(heartbeat).build().unwrap();
    stop(workers()[0]);
    let jobs: Vec<_> =
        (0..5).map(|i| pool.submit(JobSpec::new("echo").input(bytes(i, 0))).unwrap()).collect();
    for (i, job) in jobs.into_iter().enumerate() {
        let outcome = job.wait();
        assert_eq!(outcome.attempts, 1, "it was never begun");
        assert_eq!(result(outcome).unwrap(), [bytes(i, 1).to_vec()]);
    }
    assert_eq!(pool.status().restarts, 1);
    pool.close();
    before.assert_same();
}

fn stopped_while_idle(setup: Setup) {
    let before = ResourceSnapshot::now();
    // Long enough for a good worker on a busy machine not to be taken for one that hangs.
    let heartbeat = Duration::from_secs(3);
    let pool = setup.builder().retries(0).heartbeat(heartbeat).build().unwrap();
    let old = workers();
    stop(old[0]);
    let is_replaced = || {
        let now = workers();
        now.len() == 2 && !now.contains(&old[0])
    };
    wait_until("another worker", is_replaced, || format!("{old:?} {:?}", workers()));
    assert!(workers().contains(&old[1]), "the other one stays");
    all_ok(&pool, (0..50).map(|_| JobSpec::new("echo")));
    let counted = || pool.status().restarts == 1;
    wait_until("one restart", counted, || format!("{:?}", pool.status()));
    pool.close();
    before.assert_same();
}

fn stopped_in_a_job(setup: Setup) {
    let (soon, late) = (Duration::from_millis(200), Duration::from_secs(100));
    // Found by the one, or by the other.
    for (heartbeat, timeout) in [(soon, None), (late, Some(Duration::from_secs(1)))] {
        let pool = setup.builder().workers(1).heartbeat(heartbeat).build().unwrap();
        let gate = Gate::shut();
        let mut job = gate.job();
        job.timeout = timeout;
        let job = pool.submit(job).unwrap();
        wait_until("it has begun", || !gate.begun().is_empty(), String::new);
        let worker = workers()[0];
        stop(worker);
        gate.open();
        let outcome = job.wait();
        assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 2), "{timeout:?}");
        assert_ne!(outcome.pid, worker);
    }
}

fn one_at_a_time(setup: Setup) {
    let pool = setup.builder().workers(4).retries(1).depth(3).build().unwrap();
    let deadly = JobSpec::new("die").param("ms", 20);
    let jobs = (0..60).map(|i| if i % 20 == 7 { deadly.clone() } else { JobSpec::new("echo") });
    let mut tried = Vec::new();
    for outcome in pool.map(jobs) {
        match outcome.status() {
            Status::Crashed => tried.push((outcome.stamps.assigned, outcome.stamps.collected)),
            status => assert_eq!(status, Status::Ok),
        }
    }
    // Of each this is the second try.
    tried.sort_unstable();
    assert_eq!(tried.len(), 3);
    for pair in tried.windows(2) {
        assert!(pair[1].0 >= pair[0].1, "two at a time: {tried:?}");
    }
}

fn not_starved(setup: Setup) {
    let pool = setup.builder().workers(2).retries(1).build().unwrap();
    let deadly = pool.submit(JobSpec::new("die")).unwrap();
    let ended = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| deadly.wait());
        // There is always a next job; not for ever, so that a failure is one.
        let begin = Instant::now();
        let stream = std::iter::repeat_with(|| JobSpec::new("echo"))
            .take_while(|_| begin.elapsed() < Duration::from_secs(100));
        for outcome in pool.map(stream) {
            assert_eq!(outcome.status(), Status::Ok);
            if waiter.is_finished() {
                break;
            }
        }
        assert!(waiter.is_finished(), "it is still waiting for a worker");
        waiter.join().unwrap()
    });
    assert_eq!((ended.status(), ended.attempts), (Status::Crashed, 2));
}

fn cancelled_suspect(setup: Setup) {
    // Uncancelled it would be tried for minutes, and end as crashed.
    let pool = setup.builder().workers(1).retries(1000).max_restarts(1000).build().unwrap();
    // Each death takes the only worker along, so between two tries it waits.
    let deadly = pool.submit(JobSpec::new("die").param("ms", 1)).unwrap();
    wait_until("a death", || pool.status().restarts > 0, || format!("{:?}", pool.status()));
    deadly.cancel();
    let outcome = deadly.wait();
    assert_eq!(outcome.status(), Status::Cancelled, "{outcome:?}");
    assert!(result(pool.submit(JobSpec::new("echo")).unwrap().wait()).is_ok());
}
