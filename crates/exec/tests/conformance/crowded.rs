//! Jobs whose outputs do not fit the arena.

use std::fs;

use brigade_proto::{JobSpec, Status};

use crate::util::{Setup, Test, all_ok, bytes, result};

pub(crate) const TESTS: &[Test] = &[
    ("many small jobs with large outputs do not need a large arena", large_outputs),
    ("outputs that are kept fill the arena, and no job fails for that", kept),
];

const LIMIT: u64 = 8 << 20;

/// Shared memory that this process has mapped, in bytes.
fn shared() -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let regions = maps.lines().filter(|line| line.contains("memfd")).map(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        number(to) - number(from)
    });
    regions.sum()
}

fn fill(i: usize) -> JobSpec {
    let len = [1 << 10, 200, 64 << 10, 5000][i % 4];
    JobSpec::new("fill").param("bytes", len).param("byte", (i % 251) as i64)
}

fn check(i: usize, outputs: &[Vec<u8>]) {
    let [output] = outputs else { panic!("{} outputs", outputs.len()) };
    assert_eq!(output.len(), [1 << 10, 200, 64 << 10, 5000][i % 4]);
    assert!(output.iter().all(|&byte| byte == (i % 251) as u8), "job {i}");
}

fn large_outputs(setup: Setup) {
    let pool = setup.builder().arena_limit(Some(LIMIT)).build().unwrap();
    let before = shared();
    let mut most = 0;
    let mut answered = 0;
    for (i, outcome) in pool.map((0..6000).map(fill)).enumerate() {
        assert_eq!(outcome.attempts, 1);
        check(i, &result(outcome).unwrap());
        answered += 1;
        if i % 500 == 0 {
            most = most.max(shared());
        }
    }
    assert_eq!(answered, 6000);
    // Of inputs there are two mappings.
    assert!(most <= before + 2 * LIMIT, "{before} B, then {most} B");
    assert_eq!(pool.status().restarts, 0);
}

fn kept(setup: Setup) {
    let pool = setup.builder().arena_limit(Some(LIMIT)).build().unwrap();
    // Once it is known that they are small they go many at a time.
    all_ok(&pool, (0..2000).map(|_| JobSpec::new("echo")));
    let outcomes: Vec<_> = pool.map((0..2000).map(fill)).collect();
    assert_eq!(outcomes.len(), 2000);
    for (i, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!((outcome.status(), outcome.attempts), (Status::Ok, 1), "{i}: {outcome:?}");
        check(i, &result(outcome).unwrap());
    }
    // There is room again.
    let outcome = pool.submit(JobSpec::new("echo").input(bytes(1 << 20, 0))).unwrap().wait();
    assert_eq!(result(outcome).unwrap(), [bytes(1 << 20, 1).to_vec()]);
}
