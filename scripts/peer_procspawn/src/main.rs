//! procspawn doing the work of scripts/bench_peers.py: prints samples in microseconds, as
//! a JSON list.

use std::time::{Duration, Instant};

use procspawn::Pool;

fn touch(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
    bytes
}

fn samples(enough: Duration, mut sample: impl FnMut() -> f64) -> Vec<f64> {
    let begin = Instant::now();
    let mut all = Vec::new();
    while all.len() < 3 || begin.elapsed() < enough {
        all.push(sample());
    }
    all
}

fn us(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e6
}

fn main() {
    procspawn::init();
    let mut args = std::env::args().skip(1);
    let work = args.next().expect("which work");
    let enough = Duration::from_secs_f64(args.next().expect("seconds").parse().expect("a number"));
    let workers = if matches!(work.as_str(), "empty" | "array") { 1 } else { 2 };
    let start = || Pool::new(workers).expect("a pool");
    let one = |pool: &Pool| procspawn::spawn!(in pool, (1_u64 => n) || n).join().expect("a job");
    let samples = match work.as_str() {
        "start" | "whole" => samples(enough, || {
            let begin = Instant::now();
            let pool = start();
            one(&pool);
            let first = us(begin);
            pool.shutdown();
            if work == "start" { first } else { us(begin) }
        }),
        "empty" => {
            let pool = start();
            one(&pool);
            samples(enough, || {
                let begin = Instant::now();
                one(&pool);
                us(begin)
            })
        }
        "many" => {
            let pool = start();
            one(&pool);
            samples(enough, || {
                let begin = Instant::now();
                let jobs: Vec<_> =
                    (0..2000_u64).map(|n| procspawn::spawn!(in pool, (n) || n)).collect();
                jobs.into_iter().for_each(|job| {
                    job.join().expect("a job");
                });
                us(begin) / 2000.0
            })
        }
        "array" => {
            let pool = start();
            let bytes = vec![7_u8; 8 << 20];
            samples(enough, || {
                let bytes = bytes.clone();
                let begin = Instant::now();
                let back = procspawn::spawn!(in pool, (bytes) || touch(bytes)).join();
                assert_eq!(back.expect("a job").len(), 8 << 20);
                us(begin)
            })
        }
        other => panic!("no work is called {other}"),
    };
    println!("{samples:?}");
}
