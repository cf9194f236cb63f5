//! Whether the statistics keep what they promise, on data that are made up from a seed:
//! 2,000 comparisons each, so that a share of 95 % is known to within 1.5 % (three
//! standard deviations).

use brigade_measure::rng::Rng;
use brigade_measure::stats::bootstrap::{self, BlockSamples};
use brigade_measure::stats::spending::nominal_levels;
use brigade_measure::stats::{
    detectable_by_rank, hodges_lehmann, median, sign_flip_test, signed_rank_interval,
};
use statrs::distribution::{ContinuousCDF, Normal};

const COMPARISONS: usize = 2000;

/// Standard normal (Box and Muller, "A note on the generation of random normal deviates",
/// 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.uniform()).cos()
}

/// Normal, but every tenth block was disturbed and is ten times as far out.
fn disturbed(rng: &mut Rng) -> f64 {
    let calm = normal(rng);
    if rng.roll(10) == 0 { 10.0 * calm } else { calm }
}

fn blocks(rng: &mut Rng, n: usize, noise: fn(&mut Rng) -> f64) -> Vec<f64> {
    std::iter::repeat_with(|| noise(rng)).take(n).collect()
}

/// Of how many comparisons this holds.
fn share(mut holds: impl FnMut(&mut Rng) -> bool) -> f64 {
    let mut rng = Rng::new(0x5eed_0f57_a715_71c5);
    let held = (0..COMPARISONS).filter(|_| holds(&mut rng)).count();
    held as f64 / COMPARISONS as f64
}

fn covers([low, high]: [f64; 2], centre: f64) -> bool {
    low <= centre && centre <= high
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[track_caller]
fn assert_within(share: f64, low: f64, high: f64) {
    assert!(low <= share && share <= high, "{share}, not between {low} and {high}");
}

#[test]
fn the_signed_rank_interval_covers_the_centre() {
    for (n, noise) in [(10, normal as fn(&mut Rng) -> f64), (10, disturbed), (60, disturbed)] {
        let covered =
            share(|rng| covers(signed_rank_interval(&blocks(rng, n, noise), 0.95).unwrap(), 0.0));
        assert_within(covered, 0.935, 0.98);
    }
}

#[test]
fn the_bootstrap_over_blocks_covers() {
    let of_mean = share(|rng| {
        let values = blocks(rng, 30, normal);
        covers(bootstrap::over_blocks(&values, 0.95, 300, rng, mean), 0.0)
    });
    assert_within(of_mean, 0.92, 0.98);
}

#[test]
fn the_bootstrap_of_an_estimate_by_ranks_covers() {
    let mut rng = Rng::new(77);
    // Each resample sorts all Walsh averages: fewer comparisons.
    let covered = (0..400).filter(|_| {
        let values = blocks(&mut rng, 20, disturbed);
        covers(bootstrap::over_blocks(&values, 0.95, 200, &mut rng, hodges_lehmann), 0.0)
    });
    assert_within(covered.count() as f64 / 400.0, 0.91, 0.99);
}

/// A result: blocks of four samples, whose noise is between them as much as within.
fn result(shift: f64, rng: &mut Rng) -> Vec<BlockSamples<1>> {
    let block = |rng: &mut Rng| {
        let own = shift + normal(rng);
        [(0..4).map(|_| own + normal(rng)).collect()]
    };
    (0..20).map(|_| block(rng)).collect()
}

fn difference(base: &[BlockSamples<1>], head: &[BlockSamples<1>]) -> f64 {
    let middle = |blocks: &[BlockSamples<1>]| {
        median(&blocks.iter().map(|[samples]| median(samples)).collect::<Vec<_>>())
    };
    middle(head) - middle(base)
}

#[test]
fn the_bootstrap_of_two_results_is_rarely_wrong_and_finds_a_shift() {
    let mut rng = Rng::new(0x5eed_0002);
    // Of a result and itself, once more: how often it says that head is worse.
    let mut says_worse = |shift: f64, rounds: usize| {
        let worse = (0..rounds).filter(|_| {
            let (base, head) = (result(0.0, &mut rng), result(shift, &mut rng));
            let found = bootstrap::of_two(&base, &head, 0.95, 300, &mut rng, |base, head| {
                difference(base, head)
            });
            found[0] > 0.0
        });
        worse.count() as f64 / rounds as f64
    };
    // 2.5 % are allowed on this side.
    let wrong = says_worse(0.0, 800);
    assert!(wrong <= 0.025, "{wrong}");
    // Four standard errors of a difference of two medians of 20.
    let found = says_worse(2.0, 200);
    assert!(found >= 0.9, "{found}");
}

#[test]
fn sign_flips_reject_a_true_null_hypothesis_at_their_level() {
    let rejected = share(|rng| {
        let values = blocks(rng, 9, disturbed);
        sign_flip_test(&values, 0.0, rng) <= 0.05
    });
    assert_within(rejected, 0.035, 0.065);
}

#[test]
fn a_detectable_effect_is_detected_as_often_as_was_asked() {
    // The noise of one run of blocks says what another one would find.
    let found = |noise: fn(&mut Rng) -> f64| {
        share(|rng| {
            let noise = |rng: &mut Rng| -> Vec<f64> {
                blocks(rng, 25, noise).iter().map(|value| value / 100.0).collect()
            };
            let shift = detectable_by_rank(&noise(rng), 0.05, 0.8).ln_1p();
            let shifted: Vec<f64> = noise(rng).iter().map(|value| value + shift).collect();
            signed_rank_interval(&shifted, 0.95).unwrap()[0] > 0.0
        })
    };
    assert_within(found(normal), 0.7, 0.87);
    assert_within(found(disturbed), 0.68, 0.87);
}

#[test]
fn looking_five_times_rejects_a_true_null_hypothesis_at_the_level() {
    let looks = [0.2, 0.4, 0.6, 0.8, 1.0];
    let levels = nominal_levels(0.05, &looks);
    let bounds: Vec<f64> =
        levels.iter().map(|level| Normal::standard().inverse_cdf(1.0 - level / 2.0)).collect();
    let rejected = share(|rng| {
        let mut sum = 0.0;
        bounds.iter().zip(1..).fold(false, |rejected, (bound, n)| {
            sum += normal(rng);
            rejected || sum.abs() > bound * f64::from(n).sqrt()
        })
    });
    assert_within(rejected, 0.035, 0.065);
}
