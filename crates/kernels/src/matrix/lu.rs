use brigade_proto::{Buffer, Note, count};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayViewMut2, Axis, s};

use super::condition::{Norm, SquareMatrix, inverse_norm};
use super::element::Element;
use super::operand::{Operand, for_dtype, is_finite, output, random, sides, synthetic};
use crate::{Context, Family, Inputs, Kernel, KernelError, OutputFormat, Progress, Size, Spec};

/// Solves a system of linear equations.
pub(super) struct LuSolve;

/// Columns that are eliminated at a time; all that is right of and below them is
/// then one matrix product.
const PANEL: usize = 32;

impl Kernel for LuSolve {
    fn spec(&self) -> Spec {
        Spec::new("lu-solve", "Solves A x = b by LU decomposition with partial pivoting")
            .family(Family::Matrix)
            .details(
                "Blocked right-looking elimination: Golub and Van Loan, Matrix Computations, 4th \
                 edition, section 3.6. Agrees with numpy.linalg.solve to rounding. Types are those \
                 of matmul. Remarks `ill-conditioned`, as scipy.linalg.solve warns, where the \
                 estimated reciprocal condition number is below the machine's epsilon.",
            )
            .inputs(Inputs::exactly(
                2,
                ".npy: A (n, n) and b, a vector (n,) or several as columns (n, m)",
            ))
            .output(OutputFormat::Fixed("npy"), "x, of b's shape")
            .default_size("512")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        for_dtype!(job, solve)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let (rows, columns) = sides(size)?;
        if rows != columns {
            return Err(KernelError::input("a system of equations is square; write 512"));
        }
        let (mut a, mut b) = (random(seed), random(seed ^ 1));
        // Far from singular.
        let diagonal = rows as f64;
        Ok(vec![
            synthetic((rows, rows), |i, j| a() + if i == j { diagonal } else { 0.0 })?,
            synthetic((rows, 1), |_, _| b())?,
        ])
    }
}

fn solve<T: Element>(job: &mut Context<'_>) -> Result<Progress, KernelError> {
    let (a, b) = (Operand::<T>::read(job, 0, false)?, Operand::<T>::read(job, 1, false)?);
    let (n, columns) = a.shape();
    if n != columns {
        return Err(KernelError::input(format!("A is ({n}, {columns}); it must be square")));
    }
    if b.shape().0 != n {
        return Err(KernelError::input(format!(
            "A has {} and b has {}; they must be as many",
            count(n, "row"),
            b.shape().0
        )));
    }
    let (shape, is_vector) = (b.shape(), b.is_vector);
    // In C order, whatever it came in.
    let mut lu = Array2::from_shape_fn((n, n), |place| a.matrix[place]);
    let mut x = output::<T>(job, shape, is_vector)?;
    x.assign(&b.matrix);
    let norm = Norm::of(&square_matrix(&lu), false);
    factor(&mut lu.view_mut(), &mut x)?;
    let has_overflowed = !is_finite(x.as_slice().unwrap_or_default());
    job.check_stop()?;
    let factors = square_matrix(&lu);
    let inverse = inverse_norm(n, |x| factors.solve_lu(x), |x| factors.solve_lu_transposed(x));
    if norm.is_ill_conditioned(inverse) {
        job.note(Note::IllConditioned);
    }
    if has_overflowed {
        job.note(Note::Overflow);
    }
    Ok(Progress::Done)
}

fn square_matrix<T: Element>(matrix: &Array2<T>) -> SquareMatrix<'_, T> {
    SquareMatrix::of(matrix.as_slice().unwrap_or_default(), matrix.ncols())
}

/// Rows `low` and `high > low`.
fn two_rows<'m, T>(
    m: &'m mut ArrayViewMut2<'_, T>,
    low: usize,
    high: usize,
) -> (&'m mut [T], &'m mut [T]) {
    let width = m.ncols();
    let all = m.as_slice_mut().unwrap_or_default();
    let (above, below) = all.split_at_mut(high * width);
    (&mut above[low * width..(low + 1) * width], &mut below[..width])
}

/// Factors `a` in place and turns the right-hand sides in `x` into the solutions.
fn factor<T: Element>(
    a: &mut ArrayViewMut2<'_, T>,
    x: &mut ArrayViewMut2<'_, T>,
) -> Result<(), KernelError> {
    let n = a.nrows();
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        for k in start..end {
            let pivot = (k..n)
                .reduce(|best, row| if a[[row, k]].abs() > a[[best, k]].abs() { row } else { best })
                .unwrap_or(k);
            let head = a[[pivot, k]];
            if head == T::zero() {
                return Err(KernelError::Numeric(format!(
                    "the matrix is singular: no pivot in column {k}"
                )));
            }
            if !head.is_finite() {
                return Err(KernelError::Numeric(format!(
                    "the elimination is beyond the largest {} in column {k}; divide A and b by a \
                     number",
                    T::DTYPE
                )));
            }
            if pivot != k {
                let (upper, lower) = two_rows(a, k, pivot);
                upper.swap_with_slice(lower);
                let (upper, lower) = two_rows(x, k, pivot);
                upper.swap_with_slice(lower);
            }
            for row in k + 1..n {
                let (upper, lower) = two_rows(a, k, row);
                let factor = lower[k] / head;
                lower[k] = factor;
                T::axpy(T::zero() - factor, &upper[k + 1..end], &mut lower[k + 1..end]);
            }
        }
        // The panel's rows of U to its right, and of the right-hand sides.
        for row in start..end {
            for k in start..row {
                let factor = T::zero() - a[[row, k]];
                let (upper, lower) = two_rows(a, k, row);
                T::axpy(factor, &upper[end..], &mut lower[end..]);
                let (upper, lower) = two_rows(x, k, row);
                T::axpy(factor, upper, lower);
            }
        }
        // Everything below, in one product each.
        let (upper, lower) = a.view_mut().split_at(Axis(0), end);
        let (left, mut right) = lower.split_at(Axis(1), end);
        let left = left.slice(s![.., start..end]);
        let minus = T::zero() - T::one();
        general_mat_mul(minus, &left, &upper.slice(s![start..end, end..]), T::one(), &mut right);
        let (upper, mut lower) = x.view_mut().split_at(Axis(0), end);
        general_mat_mul(minus, &left, &upper.slice(s![start..end, ..]), T::one(), &mut lower);
    }
    // x is L's solution by now; from the last row up, U's.
    for start in (0..n).step_by(PANEL).rev() {
        let end = (start + PANEL).min(n);
        for row in (start..end).rev() {
            for k in row + 1..end {
                let factor = T::zero() - a[[row, k]];
                let (upper, lower) = two_rows(x, row, k);
                T::axpy(factor, lower, upper);
            }
            let head = a[[row, row]];
            x.row_mut(row).mapv_inplace(|value| value / head);
        }
        let (mut upper, lower) = x.view_mut().split_at(Axis(0), start);
        let solved = lower.slice(s![..end - start, ..]);
        let minus = T::zero() - T::one();
        general_mat_mul(minus, &a.slice(s![..start, start..end]), &solved, T::one(), &mut upper);
    }
    Ok(())
}
