//! Rank-sum test of a split.

use crate::stats::mann_whitney;

/// Up to this many values on the smaller side, the null distribution is computed exactly; beyond,
/// it is approximated by a normal distribution.
const EXACT: usize = 8;

/// Two-sided p-value of "values before and after do not differ", by Wilcoxon's rank-sum test
/// (Lehmann, "Nonparametrics", 1975, section 1.2). It is exact if one side has few values, because
/// the normal approximation is inaccurate that far out in the tails. Equal values on both sides
/// count against a difference.
pub(super) fn rank_sum_p(before: &[f64], after: &[f64]) -> f64 {
    let (few, many) = if before.len() <= after.len() { (before, after) } else { (after, before) };
    if few.len() > EXACT {
        return mann_whitney(few, many).p;
    }
    let mut sorted = many.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Number of pairs in which the value of the smaller side is not above the other, and not below
    // it.
    let not_above: usize =
        few.iter().map(|value| sorted.len() - sorted.partition_point(|other| other < value)).sum();
    let not_below: usize =
        few.iter().map(|value| sorted.partition_point(|other| other <= value)).sum();
    let out_of_order = not_above.min(not_below);
    (2.0 * share_with_at_most(few.len(), many.len(), out_of_order)).min(1.0)
}

/// The share of all orders of `few` and `many` values in which at most `out_of_order` pairs, one
/// value from each side, are out of order.
fn share_with_at_most(few: usize, many: usize, out_of_order: usize) -> f64 {
    // The number of orders with k pairs out of order is the coefficient of q^k in the Gaussian
    // binomial: the product over i of (1 - q^(many + i)) / (1 - q^i).
    let mut orders = vec![0.0; out_of_order + 1];
    orders[0] = 1.0;
    let mut all = 1.0;
    for i in 1..=few {
        for at in (many + i..=out_of_order).rev() {
            orders[at] -= orders[at - many - i];
        }
        for at in i..=out_of_order {
            orders[at] += orders[at - i];
        }
        all *= (many + i) as f64 / i as f64;
    }
    orders.iter().sum::<f64>() / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_that_of_the_tables() {
        // pwilcox(q, m, n) in R.
        for (few, many, q, p) in [
            (4, 4, 0, 1.0 / 70.0),
            (4, 6, 3, 7.0 / 210.0),
            (5, 25, 3, 7.0 / 142_506.0),
            (3, 3, 9, 1.0),
            (2, 3, 6, 1.0),
        ] {
            let found = share_with_at_most(few, many, q);
            assert!((found - p).abs() < 1e-12, "{few} {many} {q}: {found}");
        }
    }

    #[test]
    fn four_values_on_one_side_are_rare_and_equal_ones_are_not() {
        let before: Vec<f64> = (0..16).map(f64::from).collect();
        // 2 of 4,845 orders.
        let p = rank_sum_p(&before, &[20.0, 21.0, 22.0, 23.0]);
        assert!((p - 2.0 / 4845.0).abs() < 1e-12, "{p}");
        assert_eq!(rank_sum_p(&[20.0, 21.0, 22.0, 23.0], &before), p);
        assert_eq!(rank_sum_p(&[1.0; 16], &[1.0; 4]), 1.0);
        assert!(rank_sum_p(&before, &[20.0, 21.0, 22.0, 0.0]) > 0.005);
    }

    #[test]
    fn the_approximation_takes_over_without_a_jump() {
        let before: Vec<f64> = (0..40).map(f64::from).collect();
        let after: Vec<f64> = (0..9).map(|i| 33.5 + f64::from(i)).collect();
        let [exact, normal] = [rank_sum_p(&before, &after[1..]), rank_sum_p(&before, &after)];
        assert!(exact < normal && normal < 20.0 * exact, "{exact} {normal}");
    }
}
