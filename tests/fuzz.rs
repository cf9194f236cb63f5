//! The bodies of the fuzz targets on the stable tool chain: every seed in `fuzz/corpus`,
//! and mutations of seeds, seeded. `BRIGADE_FUZZ_RUNS=1000000 cargo test --test fuzz` runs
//! for longer.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use brigade_measure::rng::Rng;

#[path = "../fuzz/bodies.rs"]
mod bodies;

/// Mutations of each target, unless the environment says another number.
const RUNS: u64 = 20_000;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// What is checked in, and what kernels make up.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(corpus(target))
        .unwrap_or_else(|error| panic!("no corpus of {target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    // In the same order everywhere: a seed of the generator means the same runs.
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    seeds.extend(bodies::synthetic(target));
    seeds
}

/// Numbers at which readers err.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// One to four changes: what libFuzzer's own mutators do, without its feedback.
fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..=rng.roll(4) {
        let at = rng.roll(bytes.len() + 1);
        match rng.roll(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.roll(256) as u8),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.roll(8),
            3 if at < bytes.len() => bytes[at] = rng.roll(256) as u8,
            4 => {
                let number = EDGES[rng.roll(EDGES.len())].to_le_bytes();
                let number = &number[..1 << rng.roll(4)];
                for (to, from) in bytes[at..].iter_mut().zip(number) {
                    *to = *from;
                }
            }
            5 => {
                let end = (at + rng.roll(32)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = rng.roll(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => {
                let other = &others[rng.roll(others.len())];
                let from = rng.roll(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
}

fn try_out(target: &str, body: bodies::Body, bytes: &[u8], what: &str) {
    if catch_unwind(|| body(bytes)).is_err() {
        let path = std::env::temp_dir().join(format!("brigade-fuzz-{target}"));
        let _ = fs::write(&path, bytes);
        panic!("{target} panics at {what}: {} bytes, in {}", bytes.len(), path.display());
    }
}

#[test]
fn no_reader_of_foreign_bytes_panics() {
    let runs = std::env::var("BRIGADE_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok());
    let runs: u64 = runs.unwrap_or(RUNS);
    std::thread::scope(|scope| {
        for &(target, body) in bodies::TARGETS {
            scope.spawn(move || {
                let seeds = seeds(target);
                assert!(!seeds.is_empty(), "{target} has no seeds");
                for (i, seed) in seeds.iter().enumerate() {
                    try_out(target, body, seed, &format!("seed {i}"));
                }
                for run in 0..runs {
                    let mut rng = Rng::new(run);
                    let mut bytes = seeds[rng.roll(seeds.len())].clone();
                    mutate(&mut bytes, &seeds, &mut rng);
                    try_out(target, body, &bytes, &format!("run {run}"));
                }
            });
        }
    });
}

#[test]
fn each_target_has_its_file_and_each_file_its_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(targets)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<String> =
        bodies::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(files, names);
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
    }
}
