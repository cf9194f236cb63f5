use super::*;
use crate::rng::Rng;

/// Values about the given levels with noise of 1 %. The noise is uniform, so it has no outliers.
fn series(levels: &[(usize, f64)]) -> Vec<f64> {
    let mut rng = Rng::new(11);
    let mut values = Vec::new();
    for (count, level) in levels {
        let noise = |rng: &mut Rng| 1.0 + 0.0346 * (rng.uniform() - 0.5);
        values.extend((0..*count).map(|_| level * noise(&mut rng)));
    }
    values
}

fn places(values: &[f64]) -> Vec<usize> {
    change_points(values).iter().map(|point| point.at).collect()
}

#[test]
fn a_step_is_found_where_it_is_with_its_size() {
    let values = series(&[(40, 100.0), (20, 104.0)]);
    let found = change_points(&values);
    assert_eq!(found.iter().map(|point| point.at).collect::<Vec<_>>(), [40]);
    let Estimate { estimate, interval: [low, high], .. } = found[0].ratio;
    assert!((estimate - 1.04).abs() < 0.01, "{estimate}");
    assert!(low < 1.04 && 1.04 < high && high - low < 0.03, "{low} {high}");
    assert!(found[0].p < 1e-6);
    let levels = levels(&values, &found);
    assert_eq!(
        levels.iter().map(|level| (level.from, level.to)).collect::<Vec<_>>(),
        [(0, 40), (40, 60)]
    );
    assert!((levels[1].value / levels[0].value - estimate).abs() < 1e-12);
}

#[test]
fn a_step_down_is_less_than_1() {
    let found = change_points(&series(&[(30, 1.0), (30, 0.95)]));
    assert_eq!(found.len(), 1);
    assert!(found[0].ratio.interval[1] < 1.0);
}

#[test]
fn what_rises_and_falls_again_is_found() {
    assert_eq!(places(&series(&[(40, 1.0), (15, 1.05), (45, 1.0)])), [40, 55]);
    assert_eq!(places(&series(&[(30, 1.0), (30, 1.04), (30, 1.08)])), [30, 60]);
}

#[test]
fn nothing_is_found_in_noise_or_in_three_values() {
    assert_eq!(places(&series(&[(100, 1.0)])), [0; 0]);
    assert_eq!(places(&series(&[(60, 1.0), (3, 1.2)])), [0; 0], "three are no level");
    assert_eq!(places(&series(&[(60, 1.0), (4, 1.2)])), [60]);
    assert_eq!(places(&series(&[(30, 1.0), (2, 2.0), (30, 1.0)])), [0; 0]);
}

#[test]
fn short_series_and_values_without_a_ratio_have_none() {
    for count in 0..FEWEST {
        for at in 0..count {
            let values: Vec<f64> = (0..count).map(|i| if i < at { 1.0 } else { 2.0 }).collect();
            assert_eq!(places(&values), [0; 0], "{at} of {count}");
        }
    }
    assert_eq!(places(&[vec![1.0; FEWEST - 5], vec![2.0; 5]].concat()), [FEWEST - 5]);
    assert_eq!(places(&[vec![1.0; 20], vec![0.0; 20]].concat()), [0; 0]);
    assert_eq!(places(&[vec![1.0; 20], vec![f64::INFINITY; 20]].concat()), [0; 0]);
}

#[test]
fn figures_without_noise_have_change_points_if_they_are_worth_it() {
    let steps = |by: f64| [vec![1e6; 20], vec![1e6 * (1.0 + by); 20]].concat();
    assert_eq!(places(&steps(0.002)), [20]);
    assert_eq!(change_points(&steps(0.002))[0].p, 0.0);
    assert_eq!(places(&steps(0.0005)), [0; 0]);
    // One page of memory more, in two of five values.
    let pages: Vec<f64> = (0..80).map(|i| if i * 2 % 5 < 2 { 501.0 } else { 500.0 }).collect();
    assert_eq!(places(&pages), [0; 0]);
}

#[test]
fn seeded_intervals_cover_the_series_and_are_long_enough() {
    for values in [10, 23, 30, 100, 777] {
        let intervals = seeded_intervals(values);
        assert_eq!(intervals.is_empty(), values < 23, "{values}");
        for (from, to) in &intervals {
            assert!(to - from >= SHORTEST_INTERVAL && *to <= values, "{from} {to} of {values}");
        }
        if let Some((_, last)) = intervals.last() {
            assert_eq!(*last, values);
        }
    }
}
