//! Workers killed from outside and from inside at random moments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade_proto::{JobSpec, Status};
use rustix::process::Signal;

use crate::kernels::WAYS;
use crate::supervision::signal;
use crate::util::{ResourceSnapshot, SetAtEnd, Setup, Test, bytes, children, result};

pub(crate) const TESTS: &[Test] = &[("500 jobs survive a storm of kills", storm)];

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2016).
pub(crate) struct TestRng(pub(crate) u64);

impl TestRng {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

fn storm(setup: Setup) {
    let seed = std::env::var("BRIGADE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003 + 1);
    println!("seed {seed}; BRIGADE_TEST_SEED={seed} repeats it");
    let before = ResourceSnapshot::now();
    // A healthy job may be hit again and again; a thousand times it is not.
    let pool = setup.builder().workers(3).retries(1000).max_restarts(1000).build().unwrap();
    let over = AtomicBool::new(false);
    let size = |i: usize| (i * 7919) % 300_000;
    let is_deadly = |i: usize| i % 50 == 25;
    std::thread::scope(|scope| {
        let _ends = SetAtEnd(&over);
        scope.spawn(|| {
            let mut rng = TestRng(seed);
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(200 + rng.roll(12_000)));
                let workers = children();
                if workers.is_empty() {
                    continue;
                }
                let victim = workers[rng.roll(workers.len() as u64) as usize];
                signal(victim, [Signal::KILL, Signal::SEGV, Signal::ABORT][rng.roll(3) as usize]);
            }
        });
        // Each way to die from within, twice. Deadly jobs would be retried a
        // thousand times, so they die once, by a marker file each.
        let directory = tempfile::tempdir().unwrap();
        let jobs = (0..500).map(|i| {
            if is_deadly(i) {
                let marker = directory.path().join(i.to_string());
                let how = WAYS[i / 50 % WAYS.len()];
                JobSpec::new("die-once")
                    .param("how", how)
                    .input(marker.to_str().unwrap().as_bytes())
            } else if i % 5 == 0 {
                JobSpec::new("busy").param("ms", 3)
            } else {
                JobSpec::new("echo").input(bytes(size(i), i as u8))
            }
        });
        let mut count = 0;
        for (i, outcome) in pool.map(jobs).enumerate() {
            count += 1;
            assert_eq!(outcome.status(), Status::Ok, "seed {seed}, job {i}: {outcome:?}");
            let attempts = outcome.attempts;
            let outputs = result(outcome).unwrap();
            if is_deadly(i) {
                assert_eq!(outputs, [b"alive".to_vec()]);
                assert!(attempts >= 2);
            } else if i % 5 != 0 {
                assert_eq!(outputs, [bytes(size(i), (i as u8).wrapping_add(1)).to_vec()]);
            }
        }
        assert_eq!(count, 500);
    });
    let by_themselves = (0..500).filter(|&i| is_deadly(i)).count() as u64;
    assert!(pool.status().restarts > by_themselves, "nobody was hit");
    let reports = pool.close();
    assert_eq!(reports.iter().map(|report| report.jobs).sum::<u64>(), 500);
    before.assert_same();
}
