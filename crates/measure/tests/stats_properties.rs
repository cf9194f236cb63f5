//! What has to hold of the statistics for any values.

use brigade_measure::rng::Rng;
use brigade_measure::stats::spending::{nominal_levels, spent};
use brigade_measure::stats::{
    detectable_by_rank, hodges_lehmann, holm, mann_whitney, median, sign_flip_test,
    signed_rank_interval,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Log ratios: thousandths, so that ties and zeros come up.
fn log_ratios(least: usize) -> impl Strategy<Value = Vec<f64>> {
    vec((-500..500_i32).prop_map(|thousandths| f64::from(thousandths) / 1000.0), least..70)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn estimates_move_and_scale_with_the_values(values in log_ratios(6), by in -2.0..2.0_f64) {
        let (centre, [low, high]) =
            (hodges_lehmann(&values), signed_rank_interval(&values, 0.95).unwrap());
        let moved: Vec<f64> = values.iter().map(|value| value + by).collect();
        prop_assert!(near(hodges_lehmann(&moved), centre + by));
        let [moved_low, moved_high] = signed_rank_interval(&moved, 0.95).unwrap();
        prop_assert!(near(moved_low, low + by) && near(moved_high, high + by));
        // Base over head instead of head over base.
        let turned: Vec<f64> = values.iter().map(|value| -value).collect();
        prop_assert!(near(hodges_lehmann(&turned), -centre));
        let [turned_low, turned_high] = signed_rank_interval(&turned, 0.95).unwrap();
        prop_assert!(near(turned_low, -high) && near(turned_high, -low));
    }

    #[test]
    fn intervals_hold_the_estimate_and_grow_with_confidence(values in log_ratios(8)) {
        let (centre, middle) = (hodges_lehmann(&values), median(&values));
        let [low, high] = signed_rank_interval(&values, 0.8).unwrap();
        prop_assert!(low <= centre && centre <= high);
        let [lower, higher] = signed_rank_interval(&values, 0.99).unwrap();
        prop_assert!(lower <= low && high <= higher);
        let all = values.iter().fold([f64::MAX, f64::MIN], |[least, most], value| {
            [least.min(*value), most.max(*value)]
        });
        prop_assert!(all[0] <= lower && higher <= all[1]);
        prop_assert!(all[0] <= middle && middle <= all[1]);
    }

    #[test]
    fn the_order_of_blocks_does_not_matter(values in log_ratios(6), seed in any::<u64>()) {
        let mut rng = Rng::new(seed);
        let mut other = values.clone();
        for i in (1..other.len()).rev() {
            other.swap(i, rng.roll(i + 1));
        }
        prop_assert_eq!(hodges_lehmann(&values), hodges_lehmann(&other));
        prop_assert_eq!(signed_rank_interval(&values, 0.9), signed_rank_interval(&other, 0.9));
        prop_assert!(near(
            detectable_by_rank(&values, 0.05, 0.8), detectable_by_rank(&other, 0.05, 0.8)
        ));
    }

    #[test]
    fn what_is_turned_about_the_null_has_the_same_p(
        values in vec(-9..9_i32, 1..12), null in -9..9_i32
    ) {
        let p = |values: &[i32]| {
            let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
            sign_flip_test(&values, f64::from(null), &mut Rng::new(1))
        };
        let turned: Vec<i32> = values.iter().map(|value| 2 * null - value).collect();
        prop_assert_eq!(p(&values), p(&turned));
        prop_assert!(p(&values) >= 1.0 / f64::from(1 << (values.len() - 1)));
    }

    #[test]
    fn holm_never_lowers_a_p_value_nor_changes_the_order(p in vec(0.0..=1.0_f64, 0..20)) {
        let adjusted = holm(&p);
        prop_assert_eq!(adjusted.len(), p.len());
        for i in 0..p.len() {
            prop_assert!(p[i] <= adjusted[i] && adjusted[i] <= (p.len() as f64 * p[i]).min(1.0));
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
            }
        }
    }

    #[test]
    fn two_samples_are_treated_alike(a in vec(-9..9_i32, 0..30), b in vec(-9..9_i32, 0..30)) {
        let float = |values: Vec<i32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        let (a, b) = (float(a), float(b));
        let (one, other) = (mann_whitney(&a, &b), mann_whitney(&b, &a));
        prop_assert_eq!(one.u + other.u, (a.len() * b.len()) as f64);
        prop_assert!(near(one.p, other.p) && (0.0..=1.0).contains(&one.p));
    }

    #[test]
    fn levels_are_what_is_spent_to_what_is_left(
        steps in vec(1..40_u32, 1..8), alpha in 0.001..0.2_f64
    ) {
        let all = f64::from(steps.iter().sum::<u32>());
        let mut so_far = 0;
        let fractions: Vec<f64> = steps
            .iter()
            .map(|step| {
                so_far += step;
                f64::from(so_far) / all
            })
            .collect();
        let levels = nominal_levels(alpha, &fractions);
        let mut before = 0.0;
        for (level, fraction) in levels.iter().zip(&fractions) {
            // Each look's own share at the least, and all that was spent up to it at most.
            let spent = spent(alpha, *fraction);
            let rounding = 1e-7;
            prop_assert!(*level >= spent - before - rounding, "{levels:?}");
            prop_assert!(*level <= spent + rounding, "{levels:?}");
            before = spent;
        }
        prop_assert!(near(before, alpha));
    }
}
