//! How near to singular a factored matrix is.

use std::cmp::Ordering;

use super::element::Element;

/// The largest sum of the absolute values in a column, as a factor and a number that it
/// multiplies: their product may be beyond the largest float.
pub(super) struct Norm<T>(T, T);

impl<T: Element> Norm<T> {
    /// Of a square matrix; with `is_lower`, of the symmetric one that has its lower triangle.
    pub(super) fn of(matrix: &SquareMatrix<'_, T>, is_lower: bool) -> Self {
        let plain = Self::sum(matrix, is_lower, T::one());
        if plain.is_finite() {
            return Self(T::one(), plain);
        }
        let all = matrix.iter().flat_map(|(row, x)| if is_lower { &x[..=row] } else { x });
        let largest = all.fold(T::zero(), |most, x| larger(most, x.abs()));
        Self(largest, Self::sum(matrix, is_lower, T::one() / largest))
    }

    fn sum(matrix: &SquareMatrix<'_, T>, is_lower: bool, factor: T) -> T {
        let mut sums = vec![T::zero(); matrix.1];
        for (row, elements) in matrix.iter() {
            let elements = if is_lower { &elements[..row] } else { elements };
            for (sum, x) in sums.iter_mut().zip(elements) {
                *sum = *sum + x.abs() * factor;
            }
            if is_lower {
                let above = elements.iter().fold(T::zero(), |sum, x| sum + x.abs() * factor);
                sums[row] = sums[row] + above + matrix.0[row * matrix.1 + row].abs() * factor;
            }
        }
        sums.into_iter().fold(T::zero(), larger)
    }

    /// Whether the reciprocal condition number, 1 / (this times the inverse's), is below the
    /// distance from 1 to the next float: the result may have no right digit.
    pub(super) fn is_ill_conditioned(&self, inverse: T) -> bool {
        let reciprocal = T::one() / inverse / self.0 / self.1;
        // Not a number if the estimate has overflowed.
        matches!(reciprocal.partial_cmp(&T::EPSILON), None | Some(Ordering::Less))
    }
}

fn larger<T: Element>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The 1-norm of the inverse of the matrix whose factors the solutions are made with, estimated
/// from below by a few of them; mostly within a factor of 3.
///
/// Higham, "FORTRAN codes for estimating the one-norm of a real or complex matrix", ACM
/// Transactions on Mathematical Software 14, 1988, as in LAPACK's dlacn2, which dgecon and dpocon
/// call; SciPy's `solve` warns by these.
pub(super) fn inverse_norm<T: Element>(
    n: usize,
    solve: impl Fn(&mut [T]),
    solve_transposed: impl Fn(&mut [T]),
) -> T {
    let size = T::of_len(n);
    let norm = |x: &[T]| x.iter().fold(T::zero(), |sum, x| sum + x.abs());
    let mut x = vec![T::one() / size; n];
    solve(&mut x);
    let mut estimate = norm(&x);
    if n == 1 {
        return estimate;
    }
    let mut signs = to_signs(&mut x);
    solve_transposed(&mut x);
    let mut largest = place_of_largest(&x);
    for _ in 0..4 {
        x.fill(T::zero());
        x[largest] = T::one();
        solve(&mut x);
        let before = std::mem::replace(&mut estimate, norm(&x));
        let earlier = std::mem::replace(&mut signs, to_signs(&mut x));
        // It would go round in circles.
        if signs == earlier || estimate <= before || !estimate.is_finite() {
            break;
        }
        solve_transposed(&mut x);
        let last = std::mem::replace(&mut largest, place_of_largest(&x));
        if x[last] == x[largest].abs() {
            break;
        }
    }
    // For matrices that are made to deceive it.
    let step = T::one() / (size - T::one());
    let mut value = T::one();
    for (place, x) in x.iter_mut().enumerate() {
        *x = if place % 2 == 0 { value } else { T::zero() - value };
        value = value + step;
    }
    solve(&mut x);
    let other = norm(&x) * T::of_len(2) / T::of_len(3 * n);
    if !estimate.is_finite() || other <= estimate { estimate } else { other }
}

/// Replaces numbers by 1 with their sign; says which are positive.
fn to_signs<T: Element>(x: &mut [T]) -> Vec<bool> {
    let sign = |x: &mut T| {
        let is_positive = *x >= T::zero();
        *x = if is_positive { T::one() } else { T::zero() - T::one() };
        is_positive
    };
    x.iter_mut().map(sign).collect()
}

fn place_of_largest<T: Element>(x: &[T]) -> usize {
    let largest =
        |best: usize, place: usize| if x[place].abs() > x[best].abs() { place } else { best };
    (0..x.len()).reduce(largest).unwrap_or(0)
}

/// The rows of a square matrix in C order, before or after it is factored.
pub(super) struct SquareMatrix<'a, T>(&'a [T], usize);

impl<'a, T: Element> SquareMatrix<'a, T> {
    /// `n` rows.
    pub(super) fn of(elements: &'a [T], n: usize) -> Self {
        Self(elements, n)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &'a [T])> + ExactSizeIterator {
        self.0.chunks_exact(self.1).enumerate()
    }

    /// L U x = b, L having ones on its diagonal.
    pub(super) fn solve_lu(&self, x: &mut [T]) {
        for (row, elements) in self.iter() {
            x[row] = x[row] - T::dot(&elements[..row], &x[..row]);
        }
        for (row, elements) in self.iter().rev() {
            let rest = x[row] - T::dot(&elements[row + 1..], &x[row + 1..]);
            x[row] = rest / elements[row];
        }
    }

    /// (L U)^T x = b.
    pub(super) fn solve_lu_transposed(&self, x: &mut [T]) {
        for (row, elements) in self.iter() {
            let (above, below) = x.split_at_mut(row + 1);
            above[row] = above[row] / elements[row];
            T::axpy(T::zero() - above[row], &elements[row + 1..], below);
        }
        for (row, elements) in self.iter().rev() {
            let (above, below) = x.split_at_mut(row);
            T::axpy(T::zero() - below[0], &elements[..row], above);
        }
    }

    /// L L^T x = b.
    pub(super) fn solve_cholesky(&self, x: &mut [T]) {
        for (row, elements) in self.iter() {
            x[row] = (x[row] - T::dot(&elements[..row], &x[..row])) / elements[row];
        }
        for (row, elements) in self.iter().rev() {
            let (above, below) = x.split_at_mut(row);
            below[0] = below[0] / elements[row];
            T::axpy(T::zero() - below[0], &elements[..row], above);
        }
    }
}
