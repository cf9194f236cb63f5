use serde_json::json;

use super::*;
use crate::comparison::{Compared, Verdict};
use crate::rng::Rng;

fn cell(backend: &str, times: impl Iterator<Item = f64>) -> Value {
    let samples: Vec<f64> = times.collect();
    json!({"experiment": "latency", "case": {"backend": backend, "bytes": 0},
           "metric": "round_trip", "unit": "us", "per_block": vec![1; samples.len()],
           "samples": samples})
}

/// Result of a machine that is `slow` times as slow and on which processes take `ratio` times as
/// long as threads.
fn result(cpu: &str, slow: f64, ratio: f64) -> Saved {
    let noise = |i: u32| 1.0 + 0.002 * f64::from(i * 7 % 5);
    let times = |base: f64| (0..20).map(move |i| base * slow * noise(i));
    let cells = [cell("threads", times(10.0)), cell("processes", times(10.0 * ratio))];
    let value = json!({"schema": "brigade.bench.v1", "host": {"cpu": cpu}, "experiments": cells});
    Saved::read(&value).unwrap()
}

fn verdicts(base: &Saved, head: &Saved, relative: bool) -> Vec<Verdict> {
    compare(base, head, 0.05, relative).into_iter().map(|cell| cell.verdict).collect()
}

#[test]
fn times_of_one_machine_are_compared_as_they_are() {
    let base = result("a", 1.0, 1.2);
    assert!(host_differences(&base, &base).is_empty());
    assert_eq!(verdicts(&base, &base, false), [Verdict::Same, Verdict::Same]);
    let head = result("a", 1.0, 1.4);
    assert_eq!(verdicts(&base, &head, false), [Verdict::Same, Verdict::Worse]);
    assert_eq!(verdicts(&head, &base, false), [Verdict::Same, Verdict::Better]);
}

#[test]
fn another_machine_is_compared_by_its_ratios() {
    let (base, head) = (result("a", 1.0, 1.2), result("b", 3.0, 1.2));
    assert_eq!(host_differences(&base, &head).len(), 1);
    // Threads have no other threads as a reference.
    let cells = compare(&base, &head, 0.05, true);
    assert_eq!(cells.len(), 1);
    assert_eq!((cells[0].verdict, cells[0].unit.as_str()), (Verdict::Same, "ratio"));
    let head = result("b", 3.0, 1.5);
    assert_eq!(verdicts(&base, &head, true), [Verdict::Worse]);
}

#[test]
fn a_few_blocks_decide_nothing_and_other_files_are_refused() {
    let few = |ratio: f64| {
        let cells = [cell("threads", (0..5).map(move |_| ratio))];
        Saved::read(&json!({"schema": "brigade.bench.v1", "experiments": cells})).unwrap()
    };
    assert_eq!(verdicts(&few(1.0), &few(2.0), false), [Verdict::Inconclusive]);
    let error = Saved::read(&json!({"schema": "brigade.run.v1"})).unwrap_err();
    assert!(error.contains("brigade.run.v1"), "{error}");
    assert!(Saved::read(&json!([1])).is_err());
}

fn saved(cells: &[Value]) -> Saved {
    Saved::read(&json!({"schema": "brigade.bench.v1", "experiments": cells})).unwrap()
}

fn named(cells: &[Compared], backend: &str) -> Compared {
    let is = |cell: &&Compared| cell.case["backend"] == backend;
    cells.iter().find(is).cloned().unwrap()
}

#[test]
fn what_was_not_measured_is_listed_and_is_not_the_same() {
    let failed = |backend: &str| {
        let mut failed = cell(backend, std::iter::empty());
        failed["error"] = json!("a worker died");
        failed
    };
    let times = || (0..20).map(|i| 10.0 + f64::from(i % 3) / 100.0);
    let (both, other) = (cell("threads", times()), cell("processes", times()));
    let base = saved(&[both.clone(), other.clone(), cell("sync", times())]);
    let head = saved(&[both.clone(), failed("processes"), cell("async", times())]);
    let cells = compare(&base, &head, 0.05, false);
    assert_eq!(cells.len(), 4);
    assert_eq!(named(&cells, "threads").verdict, Verdict::Same);
    for (backend, why) in [
        ("processes", "head was not measured to the end: a worker died"),
        ("sync", "head has no such figure"),
        ("async", "base has no such figure"),
    ] {
        let cell = named(&cells, backend);
        assert_eq!((cell.verdict, cell.why.as_str()), (Verdict::Inconclusive, why));
        assert!(cell.ratio.estimate.is_nan() && cell.p.is_nan() && cell.blocks == 0);
    }
    assert!((named(&cells, "async").head - 10.01).abs() < 1e-9);
    // It is also inconclusive if the cell failed on both sides or in the middle.
    let both_failed = compare(&head, &head, 0.05, false);
    assert_eq!(named(&both_failed, "processes").verdict, Verdict::Inconclusive);
    let mut cut = other.clone();
    cut["error"] = json!("a worker died");
    let (base, cut) = (saved(&[other]), saved(&[cut]));
    assert_eq!(verdicts(&base, &cut, false), [Verdict::Inconclusive]);
    // Threads that failed cannot be a reference.
    let (base, head) =
        (result("a", 1.0, 1.2), saved(&[failed("threads"), cell("processes", times())]));
    let cells = compare(&base, &head, 0.05, true);
    let why = &named(&cells, "processes").why;
    assert_eq!(why, "head has neither threads nor a floor to be compared with");
    assert!(compare(&saved(&[both]), &saved(&[cell("sync", times())]), 0.05, false).is_empty());
}

#[test]
fn a_result_is_the_same_as_itself() {
    // Very noisy samples, and only two blocks; and a span that this backend does not have.
    let wild = cell("processes", (0..2).map(|i| 10.0 + 90.0 * f64::from(i)));
    let mut span = cell("threads", std::iter::empty());
    span["metric"] = json!("span_deliver");
    let result = saved(&[cell("threads", (0..20).map(|i| f64::from(i + 1))), wild, span.clone()]);
    let cells = compare(&result, &result, 0.05, false);
    assert_eq!(cells.len(), 2, "what nobody measured is not compared");
    for cell in cells {
        assert_eq!((cell.verdict, cell.why.as_str()), (Verdict::Same, THE_SAME_MEASUREMENTS));
    }
    // Only one side has measured it.
    let mut measured = cell("threads", (0..20).map(f64::from));
    measured["metric"] = json!("span_deliver");
    assert_eq!(verdicts(&saved(&[measured]), &saved(&[span]), false), [Verdict::Inconclusive]);
}

const THE_SAME_MEASUREMENTS: &str = "both sides hold the same measurements";

#[test]
fn zeros_are_the_same_and_more_than_zero_is_worse() {
    let all = |value: f64| saved(&[cell("threads", (0..20).map(move |_| value))]);
    let only = |base: &Saved, head: &Saved| compare(base, head, 0.05, false).remove(0);
    let same = only(&all(0.0), &all(0.0));
    assert_eq!((same.verdict, same.ratio.estimate), (Verdict::Same, 1.0));
    assert_eq!((same.ratio.interval, same.detectable), ([1.0, 1.0], 0.0));
    let more = only(&all(0.0), &all(4096.0));
    assert_eq!(more.verdict, Verdict::Worse);
    assert_eq!(more.why, "base is 0, so that there is no ratio");
    assert_eq!(more.detectable, f64::INFINITY);
    assert_eq!(only(&all(4096.0), &all(0.0)).verdict, Verdict::Better);
}

/// A result with this many cells, each with blocks of three samples.
fn noisy(figures: usize, blocks: usize, slower: f64, rng: &mut Rng) -> Saved {
    let cells: Vec<Value> = (0..figures)
        .map(|figure| {
            let mut sample = |about: f64| about * (1.0 + 0.1 * rng.uniform() * rng.uniform());
            let samples: Vec<f64> = (0..blocks)
                .flat_map(|_| {
                    let of_block = sample(100.0 * slower);
                    [sample(of_block), sample(of_block), sample(of_block)]
                })
                .collect();
            json!({"experiment": "latency", "case": {"backend": figure}, "metric": "round_trip",
                   "unit": "us", "per_block": vec![3; blocks], "samples": samples})
        })
        .collect();
    saved(&cells)
}

#[test]
fn of_many_figures_hardly_ever_one_is_worse_by_chance() {
    let mut rng = Rng::new(0x5a7e_d001);
    let mut wrong = 0;
    for _ in 0..60 {
        let (base, head) = (noisy(10, 12, 1.0, &mut rng), noisy(10, 12, 1.0, &mut rng));
        // With almost no tolerance, any difference that noise causes would be called a change.
        let verdicts: Vec<Verdict> =
            compare(&base, &head, 1e-6, false).into_iter().map(|cell| cell.verdict).collect();
        wrong += usize::from(verdicts.contains(&Verdict::Worse));
    }
    // The permitted error is 1 of 100 in total, half of it on this side.
    assert!(wrong <= 1, "{wrong} of 60");
}

#[test]
fn a_shift_is_found_as_often_as_detectable_says() {
    let mut rng = Rng::new(0x5a7e_d002);
    let (mut found, mut detectable) = (0, Vec::new());
    for _ in 0..40 {
        let base = noisy(5, 20, 1.0, &mut rng);
        let same = compare(&base, &noisy(5, 20, 1.0, &mut rng), 0.01, false);
        detectable.extend(same.into_iter().map(|cell| cell.detectable));
        let head = noisy(5, 20, 1.01 * 1.06, &mut rng);
        let cells = compare(&base, &head, 0.01, false);
        found += cells.iter().filter(|cell| cell.verdict == Verdict::Worse).count();
        for cell in &cells {
            let [low, high] = cell.ratio.interval;
            assert!(low <= cell.ratio.estimate && cell.ratio.estimate <= high);
            assert!((cell.ratio.estimate - cell.head / cell.base).abs() < 1e-12);
            assert!(cell.p_holm >= cell.p);
        }
    }
    let detectable = crate::stats::median(&detectable);
    assert!((0.02..0.06).contains(&detectable), "{detectable}");
    assert!(found >= 160, "{found} of 200");
}
