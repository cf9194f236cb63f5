//! A thread of the pool panics, here because a subscriber to its events does: nobody waits for
//! ever, and nothing is left. In another process, whose only subscriber that is.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade_exec::{Pool, PoolError, Stop};
use brigade_proto::{JobError, JobSpec};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::util::{ResourceSnapshot, Setup, Test, bytes};

pub(crate) const TESTS: &[Test] = &[
    ("jobs are answered when the pool's supervisor panics", |setup| play_out(setup, "supervisor")),
    ("jobs are answered when a worker's control reader panics", |setup| play_out(setup, "control")),
];

/// Without rings there is no completion thread, and a staging thread has nothing to say.
pub(crate) const TESTS_WITH_RINGS: &[Test] = &[
    ("jobs are answered when the pool's completion thread panics", |setup| {
        play_out(setup, "completions")
    }),
    ("jobs are answered when a worker's staging thread panics", |setup| play_out(setup, "stager")),
];

const ENV: [&str; 2] = ["BRIGADE_TEST_PANIC", "BRIGADE_TEST_PANIC_SETUP"];

/// Whether a thread of this name has panicked once, or is to.
static IS_ARMED: AtomicBool = AtomicBool::new(false);
static PANICS: AtomicU32 = AtomicU32::new(0);
static VICTIM: Mutex<String> = Mutex::new(String::new());

struct Saboteur;

impl Subscriber for Saboteur {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        let victim = VICTIM.lock().unwrap().clone();
        let is_victim = thread::current().name().is_some_and(|name| name.starts_with(&victim));
        if is_victim && IS_ARMED.swap(false, Ordering::SeqCst) {
            PANICS.fetch_add(1, Ordering::SeqCst);
            panic!("sabotage");
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Plays the program whose subscriber panics, if this process is to be one.
pub(crate) fn play() -> Option<ExitCode> {
    let [victim, setup] = ENV.map(std::env::var);
    let (victim, setup) = (victim.ok()?, setup.ok()?);
    let setup = Setup::processes().find(|known| known.to_string() == setup).unwrap();
    VICTIM.lock().unwrap().clone_from(&victim);
    tracing::subscriber::set_global_default(Saboteur).unwrap();
    // See `main`.
    brigade_ipc::prepare_senders();
    let before = ResourceSnapshot::now();
    // So little that a large input does not fit.
    let pool = setup.builder().arena_limit(Some(1 << 20)).retries(3).build().unwrap();
    IS_ARMED.store(true, Ordering::SeqCst);
    let mut ended = submit(&pool, 40);
    if victim == "supervisor" {
        // It says of a death that it has seen it.
        ended.push(pool.submit(JobSpec::new("die").param("how", "segv")).unwrap());
    }
    // The completion thread comes to collect, as nobody waits.
    let begin = Instant::now();
    while PANICS.load(Ordering::SeqCst) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing has panicked");
        thread::sleep(Duration::from_millis(1));
        ended.extend(submit(&pool, 1));
    }
    let (mut good, mut bad) = (0, 0);
    for handle in ended {
        match handle.wait().result {
            Ok(_) => good += 1,
            Err(JobError::PoolGaveUp { .. } | JobError::Cancelled) => bad += 1,
            Err(JobError::Crashed { .. }) if victim == "supervisor" => bad += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let is_over = ["supervisor", "completions"].contains(&victim.as_str());
    if is_over {
        let gave_up = pool.status().gave_up.expect("the pool says that it is over");
        assert!(matches!(&*gave_up, PoolError::Panicked { .. }), "{gave_up}");
        assert!(gave_up.to_string().contains(&format!("{victim} has panicked: sabotage")));
    } else {
        // Another worker goes on.
        assert!(pool.status().gave_up.is_none());
        assert!(good > 0);
        for handle in submit(&pool, 5) {
            handle.wait().result.unwrap();
            good += 1;
        }
    }
    println!("{good} good, {bad} given up");
    pool.stop(Stop::Drain);
    drop(pool);
    before.assert_same();
    Some(ExitCode::SUCCESS)
}

fn submit(pool: &Pool, count: usize) -> Vec<brigade_exec::JobHandle> {
    let jobs = (0..count).map(|i| {
        let len = if i % 4 == 1 { 2 << 20 } else { 100 };
        pool.submit(JobSpec::new("echo").input(bytes(len, 0))).ok()
    });
    jobs.map_while(|job| job).collect()
}

fn play_out(setup: Setup, victim: &str) {
    let done = Command::new(std::env::current_exe().unwrap())
        .env(ENV[0], victim)
        .env(ENV[1], setup.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", done.status);
    assert!(said.contains("sabotage"), "{said}");
}
