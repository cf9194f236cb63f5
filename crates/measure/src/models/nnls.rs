//! Least squares with non-negative parameters.

/// The `x >= 0` that minimises the sum of `(row . x - target)^2`.
///
/// It uses active sets (Lawson and Hanson, "Solving least squares problems", 1974, chapter 23) on
/// the normal equations (Bro and de Jong, "A fast non-negativity-constrained least squares
/// algorithm", 1997). This is exact enough for two or three columns that are not nearly parallel. A
/// column that depends linearly on others gets 0.
pub(super) fn nnls<const K: usize>(rows: impl IntoIterator<Item = ([f64; K], f64)>) -> [f64; K] {
    let (mut gram, mut moment, mut square) = ([[0.0; K]; K], [0.0; K], 0.0);
    for (row, target) in rows {
        for i in 0..K {
            moment[i] += row[i] * target;
            for j in 0..K {
                gram[i][j] += row[i] * row[j];
            }
        }
        square += target * target;
    }
    // A gradient above this threshold is not a rounding error; |column| |target| is its largest
    // possible value.
    let rounding: [f64; K] = std::array::from_fn(|i| 1e-12 * (gram[i][i] * square).sqrt());
    let (mut x, mut free) = ([0.0; K], [false; K]);
    // Each step frees one parameter. Rounding could repeat steps forever, so their number is
    // limited.
    for _ in 0..3 * K {
        let steepness = |i: usize| {
            let slope = moment[i] - (0..K).map(|j| gram[i][j] * x[j]).sum::<f64>();
            slope / rounding[i]
        };
        let next = (0..K)
            .filter(|&i| !free[i] && steepness(i) > 1.0)
            .max_by(|&i, &j| steepness(i).total_cmp(&steepness(j)));
        let Some(next) = next else { break };
        free[next] = true;
        loop {
            let solved = solve(&gram, &moment, &free);
            // The share of the way to the solution on which all free parameters stay at or above 0.
            let blocking = (0..K)
                .filter(|&i| free[i] && solved[i] <= 0.0)
                .map(|i| (i, if x[i] > 0.0 { x[i] / (x[i] - solved[i]) } else { 0.0 }))
                .min_by(|a, b| a.1.total_cmp(&b.1));
            let Some((first, share)) = blocking else {
                x = solved;
                break;
            };
            for i in 0..K {
                x[i] += share * (solved[i] - x[i]);
            }
            (x[first], free[first]) = (0.0, false);
        }
    }
    x
}

/// Solves the least-squares problem for the `free` columns, with 0 for the others: Cholesky, row by
/// row.
fn solve<const K: usize>(gram: &[[f64; K]; K], moment: &[f64; K], free: &[bool; K]) -> [f64; K] {
    let mut lower = [[0.0; K]; K];
    let mut x = [0.0; K];
    for i in (0..K).filter(|&i| free[i]) {
        for j in (0..=i).filter(|&j| free[j]) {
            let rest = gram[i][j] - (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
            lower[i][j] = if i > j {
                if lower[j][j] > 0.0 { rest / lower[j][j] } else { 0.0 }
            } else if rest > 1e-14 * gram[i][i] {
                rest.sqrt()
            } else {
                0.0
            };
        }
        let rest = moment[i] - (0..i).map(|k| lower[i][k] * x[k]).sum::<f64>();
        x[i] = if lower[i][i] > 0.0 { rest / lower[i][i] } else { 0.0 };
    }
    for i in (0..K).rev() {
        let rest = x[i] - (i + 1..K).map(|k| lower[k][i] * x[k]).sum::<f64>();
        x[i] = if lower[i][i] > 0.0 { rest / lower[i][i] } else { 0.0 };
    }
    x
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn agrees_with_scipy() {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/models_scipy.json")).unwrap();
        let numbers =
            |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        let cases = reference["nnls"].as_array().unwrap();
        let mut at_zero = 0;
        for case in cases {
            let rows = case["rows"].as_array().unwrap().iter().map(numbers);
            let rows = rows.map(|row| <[f64; 3]>::try_from(row).unwrap());
            let x = nnls(rows.zip(numbers(&case["target"])));
            for (x, expected) in x.into_iter().zip(numbers(&case["x"])) {
                assert!((x - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "{case} {x}");
                at_zero += usize::from(expected == 0.0);
            }
        }
        // The cases cover both free and bound parameters.
        assert!((10..3 * cases.len() - 10).contains(&at_zero), "{at_zero}");
    }

    #[test]
    fn a_dependent_column_gets_nothing() {
        let x = nnls([([1.0, 2.0], 3.0), ([2.0, 4.0], 6.0)]);
        assert!((x[0] + 2.0 * x[1] - 3.0).abs() < 1e-12 && x.iter().all(|x| *x >= 0.0), "{x:?}");
    }
}
