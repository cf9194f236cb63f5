//! Statistics beside those of SciPy, as scripts/reference_stats.py wrote them.

use brigade_measure::rng::Rng;
use brigade_measure::stats::spending::nominal_levels;
use brigade_measure::stats::{
    bootstrap, hodges_lehmann, mann_whitney, median, quantile, sign_flip_test, signed_rank_interval,
};
use serde_json::Value;
use statrs::distribution::{ContinuousCDF, Normal};

fn cases(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("data/stats.json")).unwrap();
    let cases = all[name].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn assert_near(found: f64, expected: &Value, tolerance: f64) {
    let expected = number(expected);
    assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
}

#[test]
fn location() {
    for case in cases("one_sample") {
        let values = numbers(&case["values"]);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        assert_near(median(&values), &case["median"], 1e-14);
        assert_near(quantile(&sorted, 0.95), &case["quantile_95"], 1e-14);
        assert_near(hodges_lehmann(&values), &case["hodges_lehmann"], 1e-14);
        for (confidence, name) in [(0.95, "interval_95"), (0.99, "interval_99")] {
            let found = signed_rank_interval(&values, confidence);
            if case[name].is_null() {
                assert_eq!(found, None, "{} values", values.len());
                continue;
            }
            let [low, high] = found.unwrap();
            assert_near(low, &case[name][0], 1e-14);
            assert_near(high, &case[name][1], 1e-14);
        }
    }
}

#[test]
fn sign_flips() {
    let mut compared = 0;
    for case in cases("one_sample") {
        let values = numbers(&case["values"]);
        for test in case["sign_flip"].as_array().into_iter().flatten() {
            let found = sign_flip_test(&values, number(&test["null"]), &mut Rng::new(9));
            // SciPy tries all flips; here more than 16 values are left to chance, and 0.02
            // is four standard deviations of that.
            assert_near(found, &test["p"], if values.len() > 16 { 0.02 } else { 1e-12 });
            compared += 1;
        }
    }
    assert_eq!(compared, 5 * 2);
}

#[test]
fn bootstrapped_means() {
    let mean = |drawn: &[f64]| drawn.iter().sum::<f64>() / drawn.len() as f64;
    for case in cases("one_sample") {
        let values = numbers(&case["values"]);
        let [low, high] = bootstrap::over_blocks(&values, 0.95, 20_000, &mut Rng::new(2), mean);
        // Both are left to chance, most with the wild blocks.
        let tolerance = 0.03 * (high - low);
        assert_near(low, &case["bootstrap_mean_95"][0], tolerance);
        assert_near(high, &case["bootstrap_mean_95"][1], tolerance);
    }
}

#[test]
fn two_samples() {
    for case in cases("two_sample") {
        let found = mann_whitney(&numbers(&case["a"]), &numbers(&case["b"]));
        assert_near(found.u, &case["u"], 0.0);
        assert_near(found.p, &case["p"], 1e-10);
    }
}

#[test]
fn group_sequential_bounds() {
    for case in cases("spending") {
        let levels = nominal_levels(number(&case["alpha"]), &numbers(&case["looks"]));
        let expected = numbers(&case["z"]);
        assert_eq!(levels.len(), expected.len());
        for (found, z) in levels.iter().zip(expected) {
            let expected = 2.0 * Normal::standard().sf(z);
            // Relative, for the first looks' are tiny; absolute, as is promised.
            let off = (found - expected).abs();
            assert!(off < 1e-4 * expected, "{case}: {found} instead of {expected}");
            assert!(off < 1e-7, "{case}: {found} instead of {expected}");
        }
    }
}
