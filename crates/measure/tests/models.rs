//! Models of figures without noise, models beside SciPy, and what is refused.

use brigade_measure::comparison::Estimate;
use brigade_measure::models::{
    AtWorkers, BreakEvenCell, BreakEvenPoint, Model, ModelResult, Refused, ThresholdKind, Transfer,
    amdahl, break_even, hockney, pays_back_after, scaled_speedup, speedup, usl,
};
use serde_json::{Map, Value, json};

fn assert_close(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{value} instead of {expected}");
}

/// Without noise an interval is a point.
fn assert_exact(estimate: Estimate, expected: f64) {
    for value in [estimate.estimate, estimate.interval[0], estimate.interval[1]] {
        assert_close(value, expected);
    }
}

fn transfers(time: impl Fn(f64) -> f64) -> Vec<Transfer> {
    [0_u64, 4096, 1 << 20, 8 << 20]
        .map(|bytes| Transfer { bytes, blocks: vec![time(bytes as f64); 8] })
        .into()
}

fn at_workers(counts: &[usize], figure: impl Fn(f64) -> f64) -> Vec<AtWorkers> {
    let at = |&workers: &usize| AtWorkers { workers, blocks: vec![figure(workers as f64); 8] };
    counts.iter().map(at).collect()
}

fn scipy() -> Value {
    serde_json::from_str(include_str!("models_scipy.json")).unwrap()
}

fn blocks(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn hockney_finds_a_line_and_shows_what_is_none() {
    let line = hockney(&transfers(|bytes| 0.25 + bytes / 9000.0), 1).unwrap();
    assert_exact(line.parameters.latency_us, 0.25);
    assert_exact(line.parameters.bandwidth_mb_per_s, 9000.0);
    assert!(line.worst_residual < 1e-9);
    let flat = hockney(&transfers(|_| 3.0), 1).unwrap();
    assert!(flat.parameters.bandwidth_mb_per_s.estimate > 1e12);
    let step = |bytes| if bytes > 1e5 { 1000.0 } else { 1.0 };
    assert!(hockney(&transfers(step), 1).unwrap().worst_residual > 0.5);
}

#[test]
fn hockney_is_that_of_scipy() {
    let expected = &scipy()["hockney"];
    let bytes: Vec<u64> = serde_json::from_value(expected["bytes"].clone()).unwrap();
    let transfers: Vec<Transfer> = std::iter::zip(bytes, blocks(&expected["blocks"]))
        .map(|(bytes, blocks)| Transfer { bytes, blocks })
        .collect();
    let fit = hockney(&transfers, 1).unwrap();
    let number = |key: &str| expected[key].as_f64().unwrap();
    assert_close(fit.parameters.latency_us.estimate, number("latency_us"));
    assert_close(fit.parameters.bandwidth_mb_per_s.estimate, number("bandwidth_mb_per_s"));
    assert_close(fit.worst_residual, number("worst_residual"));
}

#[test]
fn speedups_are_what_their_authors_define() {
    let reference = [1000.0; 8];
    let strong = speedup(&reference, &at_workers(&[1, 4], |n| 1000.0 * (0.1 + 0.9 / n)), 1);
    let [one, four] = strong.unwrap().points[..] else { panic!("two points") };
    assert_exact(one.speedup, 1.0);
    assert_eq!(one.serial_fraction, None);
    assert_exact(four.speedup, 1.0 / 0.325);
    assert_exact(four.efficiency, 0.25 / 0.325);
    // What Karp and Flatt find where Amdahl's law holds is the share in it.
    assert_exact(four.serial_fraction.unwrap(), 0.1);
    // Gustafson: 4 workers in the time 1, of which 0.2 is serial, do 4 - 3 * 0.2.
    let weak = scaled_speedup(&reference, &at_workers(&[4], |n| 1000.0 * n / 3.4), 1).unwrap();
    assert_exact(weak.points[0].scaled_speedup, 3.4);
    assert_exact(weak.points[0].efficiency, 0.85);
    assert_exact(weak.points[0].serial_fraction.unwrap(), 0.2);
}

#[test]
fn what_slows_a_block_down_is_not_taken_for_speedup() {
    let reference: Vec<f64> = (1..=8).map(|block| 100.0 * f64::from(block)).collect();
    let times = [AtWorkers { workers: 2, blocks: reference.iter().map(|t| t / 1.8).collect() }];
    assert_exact(speedup(&reference, &times, 1).unwrap().points[0].speedup, 1.8);
}

#[test]
fn scaling_laws_find_their_parameters() {
    let counts = [1, 2, 3, 4, 6, 8];
    let serial = amdahl(&at_workers(&counts, |n| 500.0 * n / (1.0 + 0.1 * (n - 1.0))), 1).unwrap();
    assert_exact(serial.parameters.lambda, 500.0);
    assert_exact(serial.parameters.sigma, 0.1);
    let gunther = |n| 500.0 * n / (1.0 + 0.1 * (n - 1.0) + 0.02 * n * (n - 1.0));
    let fit = usl(&at_workers(&counts, gunther), 1).unwrap();
    assert_exact(fit.parameters.lambda, 500.0);
    assert_exact(fit.parameters.sigma, 0.1);
    assert_exact(fit.parameters.kappa, 0.02);
    assert_exact(fit.parameters.peak_workers, 45_f64.sqrt());
    assert!(fit.worst_residual < 1e-9);
    assert!(amdahl(&at_workers(&counts, gunther), 1).unwrap().worst_residual > 0.03);
}

#[test]
fn throughput_that_grows_faster_than_the_workers_has_no_peak() {
    let counts = [1, 2, 3, 4, 6, 8];
    let fit = usl(&at_workers(&counts, |n| 500.0 * n * (1.0 + 0.01 * n)), 1).unwrap();
    assert_eq!(fit.parameters.sigma.interval, [0.0, 0.0]);
    assert_eq!(fit.parameters.kappa.estimate, 0.0);
    assert_eq!(fit.parameters.peak_workers.estimate, f64::INFINITY);
    // Throughput that falls from the first further worker on has its peak at one.
    let fit = usl(&at_workers(&counts, |n| 500.0 / n), 1).unwrap();
    assert_exact(fit.parameters.peak_workers, 1.0);
}

#[test]
fn scaling_laws_are_those_of_scipy() {
    for expected in scipy()["scaling"].as_array().unwrap() {
        let workers: Vec<usize> = serde_json::from_value(expected["workers"].clone()).unwrap();
        let throughputs: Vec<AtWorkers> = std::iter::zip(workers, blocks(&expected["blocks"]))
            .map(|(workers, blocks)| AtWorkers { workers, blocks })
            .collect();
        let number = |law: &str, key: &str| expected[law][key].as_f64().unwrap();
        let fit = amdahl(&throughputs, 1).unwrap();
        assert_close(fit.parameters.lambda.estimate, number("amdahl", "lambda"));
        assert_close(fit.parameters.sigma.estimate, number("amdahl", "sigma"));
        assert_close(fit.worst_residual, number("amdahl", "worst_residual"));
        let fit = usl(&throughputs, 1).unwrap();
        assert_close(fit.parameters.lambda.estimate, number("usl", "lambda"));
        assert_close(fit.parameters.sigma.estimate, number("usl", "sigma"));
        assert_close(fit.parameters.kappa.estimate, number("usl", "kappa"));
        assert_close(fit.worst_residual, number("usl", "worst_residual"));
    }
}

/// Lines `rival` and `threads`, each what a job costs anyway and by compute time.
fn meet(rival: [f64; 2], threads: [f64; 2], tolerance: f64) -> BreakEvenPoint {
    let cells = [0.0, 10.0, 1000.0].map(|compute_us| BreakEvenCell {
        bytes: 64,
        compute_us,
        rival: vec![rival[0] + rival[1] * compute_us; 8],
        reference: vec![threads[0] + threads[1] * compute_us; 8],
    });
    break_even(&cells, tolerance, 1).unwrap().points[0]
}

#[test]
fn lines_meet_at_one_time_or_never_or_always() {
    let at = meet([20.0, 1.01], [2.0, 1.0], 0.1);
    assert_eq!((at.bytes, at.answer, at.extrapolated), (64, ThresholdKind::At, false));
    assert_exact(at.compute_us.unwrap(), 17.8 / 0.09);
    let never = meet([20.0, 1.2], [2.0, 1.0], 0.1);
    assert_eq!((never.answer, never.compute_us), (ThresholdKind::Never, None));
    assert_eq!(never.interval_us, [f64::INFINITY; 2]);
    // It costs less at first, but not from anywhere on.
    assert_eq!(meet([1.0, 1.2], [2.0, 1.0], 0.1).answer, ThresholdKind::Never);
    let always = meet([2.1, 1.05], [2.0, 1.0], 0.1);
    assert_eq!((always.answer, always.compute_us), (ThresholdKind::Always, None));
    assert_eq!(always.interval_us, [0.0; 2]);
    let far = meet([200.0, 1.0], [2.0, 1.0], 0.01);
    assert!(far.extrapolated && far.compute_us.unwrap().estimate > 1000.0);
}

#[test]
fn break_even_is_that_of_scipy() {
    let expected = &scipy()["break_even"];
    let times: Vec<f64> = serde_json::from_value(expected["compute_us"].clone()).unwrap();
    let (rival, reference) = (blocks(&expected["rival"]), blocks(&expected["reference"]));
    let cells: Vec<BreakEvenCell> = (0..times.len())
        .map(|i| BreakEvenCell {
            bytes: 0,
            compute_us: times[i],
            rival: rival[i].clone(),
            reference: reference[i].clone(),
        })
        .collect();
    let found = break_even(&cells, expected["tolerance"].as_f64().unwrap(), 1).unwrap();
    let threshold = found.points[0].compute_us.unwrap().estimate;
    assert_close(threshold, expected["threshold"].as_f64().unwrap());
}

#[test]
fn start_up_pays_back_or_never_does() {
    let paid = pays_back_after(&[2000.0; 8], &[100.0; 8], &[60.0; 8], 1).unwrap();
    assert_eq!(paid.answer, ThresholdKind::At);
    assert_exact(paid.jobs.unwrap(), 50.0);
    let never = pays_back_after(&[2000.0; 8], &[100.0; 8], &[100.0; 8], 1).unwrap();
    assert_eq!((never.answer, never.jobs), (ThresholdKind::Never, None));
}

#[test]
fn too_little_is_refused_with_what_would_be_enough() {
    let refused = usl(&at_workers(&[1, 2, 3, 4, 8, 8], |n| n), 1).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no fit of the universal scalability law: 5 worker counts, a fit needs 6 from 1 on: --workers 1,2,3,4,6,8"
    );
    assert!(usl(&at_workers(&[0, 1, 2, 3, 4, 6], |_| 1.0), 1).is_err());
    let few = [0, 4096, 4096].map(|bytes| Transfer { bytes, blocks: vec![1.0; 8] });
    assert!(hockney(&few, 1).unwrap_err().reason.starts_with("2 payload sizes"));
    let short = pays_back_after(&[1.0; 5], &[1.0; 5], &[1.0; 5], 1).unwrap_err();
    assert_eq!(short.reason, "5 blocks, an interval needs 6");
    assert!(short.needs_blocks);
    let unpaired = pays_back_after(&[1.0; 8], &[1.0; 7], &[1.0; 8], 1).unwrap_err();
    assert!(unpaired.reason.contains("not paired"), "{unpaired}");
    for bad in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
        let at = [AtWorkers { workers: 2, blocks: vec![bad; 8] }];
        assert!(speedup(&[1.0; 8], &at, 1).is_err(), "{bad}");
    }
}

#[test]
fn the_same_seed_gives_the_same_interval_and_many_blocks_give_one_quickly() {
    let figures = |blocks: u32| -> Vec<f64> {
        (0..blocks).map(|block| 100.0 + f64::from(block * 7919 % 101)).collect()
    };
    let interval = |blocks, seed| {
        let [startup, rival] = [figures(blocks), vec![50.0; blocks as usize]];
        let paid = pays_back_after(&startup, &figures(blocks), &rival, seed).unwrap();
        paid.interval_jobs
    };
    assert_eq!(interval(20, 1), interval(20, 1));
    assert_ne!(interval(20, 1), interval(20, 2));
    let width = |[low, high]: [f64; 2]| high - low;
    assert!(width(interval(100_000, 1)) < width(interval(20, 1)) / 10.0);
}

#[test]
fn entries_have_the_form_of_the_schema() {
    let case: Map<String, Value> = Map::from_iter([("backend".to_owned(), json!("processes"))]);
    let entry = |model| json!(ModelResult { model, case: case.clone() });
    let fit = hockney(&transfers(|bytes| 1.0 + bytes / 4096.0), 1);
    let fitted = entry(fit.map_or_else(Model::Refused, Model::Hockney));
    assert_eq!(fitted["model"], "hockney");
    assert_eq!(fitted["case"], json!({"backend": "processes"}));
    assert_eq!(fitted["parameters"]["latency_us"]["confidence"], 0.95);
    assert!(fitted["parameters"]["latency_us"]["interval"][1].is_f64());
    assert!(fitted["worst_residual"].is_f64());
    let refused = Refused { of: "usl", reason: "why".to_owned(), needs_blocks: false };
    assert_eq!(
        entry(Model::Refused(refused)),
        json!({"model": "refused", "of": "usl", "reason": "why", "case": case})
    );
    let point = meet([20.0, 1.2], [2.0, 1.0], 0.1);
    assert_eq!(json!(point)["answer"], "never");
    assert_eq!(json!(point)["compute_us"], Value::Null);
    assert_eq!(json!(point)["interval_us"], json!([null, null]));
}
