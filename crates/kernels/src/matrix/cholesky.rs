use brigade_proto::{Buffer, Note};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayViewMut2, Axis, s};

use super::condition::{Norm, SquareMatrix, inverse_norm};
use super::element::Element;
use super::operand::{Operand, for_dtype, output, random, sides, synthetic};
use crate::{Context, Family, Inputs, Kernel, KernelError, OutputFormat, Progress, Size, Spec};

/// Factors a symmetric positive definite matrix.
pub(super) struct Cholesky;

/// Columns that are factored at a time.
const PANEL: usize = 64;

impl Kernel for Cholesky {
    fn spec(&self) -> Spec {
        Spec::new("cholesky", "Factors a symmetric positive definite matrix into L times L^T")
            .family(Family::Matrix)
            .details(
                "Only the lower triangle of the input is read. Blocked right-looking: Golub and \
                 Van Loan, Matrix Computations, 4th edition, section 4.2. Agrees with \
                 numpy.linalg.cholesky to rounding. Types are those of matmul. Remarks \
                 `ill-conditioned` as lu-solve does.",
            )
            .inputs(Inputs::exactly(1, "an .npy matrix, (n, n)"))
            .output(OutputFormat::Fixed("npy"), "L, (n, n), lower triangular with zeroes above")
            .default_size("512")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        for_dtype!(job, factor)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let (n, columns) = sides(size)?;
        if n != columns {
            return Err(KernelError::input("a symmetric matrix is square; write 512"));
        }
        let diagonal = n as f64;
        // The same number for (i, j) and (j, i).
        let element = |i: usize, j: usize| {
            let place = (i.max(j) * n + i.min(j)) as u64;
            random(seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15))()
        };
        let matrix = synthetic((n, n), |i, j| element(i, j) + if i == j { diagonal } else { 0.0 })?;
        Ok(vec![matrix])
    }
}

fn factor<T: Element>(job: &mut Context<'_>) -> Result<Progress, KernelError> {
    let a = Operand::<T>::read(job, 0, false)?;
    let (n, columns) = a.shape();
    if n != columns {
        return Err(KernelError::input(format!(
            "the matrix is ({n}, {columns}); it must be square"
        )));
    }
    let mut l = output::<T>(job, (n, n), false)?;
    for row in 0..n {
        l.slice_mut(s![row, ..=row]).assign(&a.matrix.slice(s![row, ..=row]));
    }
    let norm = Norm::of(&SquareMatrix::of(l.as_slice().unwrap_or_default(), n), true);
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        panel(&mut l, start, end)?;
        // What lies right of and below the panel, in strips that end at the
        // diagonal: above it nothing is needed.
        for strip in (end..n).step_by(PANEL) {
            let strip_end = (strip + PANEL).min(n);
            let (done, rest) = l.view_mut().split_at(Axis(1), end);
            let (_, mut strip_rest) = rest.split_at(Axis(0), strip);
            let rows = done.slice(s![strip..strip_end, start..end]);
            let others = done.slice(s![end..strip_end, start..end]);
            let mut target = strip_rest.slice_mut(s![..strip_end - strip, ..strip_end - end]);
            general_mat_mul(T::zero() - T::one(), &rows, &others.t(), T::one(), &mut target);
        }
    }
    // The strips have written above the diagonal.
    for row in 0..n {
        l.slice_mut(s![row, row + 1..]).fill(T::zero());
    }
    let factors = SquareMatrix::of(l.as_slice().unwrap_or_default(), n);
    let solve = |x: &mut [T]| factors.solve_cholesky(x);
    let is_ill_conditioned = norm.is_ill_conditioned(inverse_norm(n, solve, solve));
    if is_ill_conditioned {
        job.note(Note::IllConditioned);
    }
    Ok(Progress::Done)
}

/// Columns `start..end` of L, for all rows below.
fn panel<T: Element>(
    l: &mut ArrayViewMut2<'_, T>,
    start: usize,
    end: usize,
) -> Result<(), KernelError> {
    let n = l.nrows();
    let all = l.as_slice_mut().unwrap_or_default();
    for row in start..n {
        for column in start..end.min(row + 1) {
            let (above, below) = all.split_at_mut(row * n);
            let own = &mut below[..n];
            if row == column {
                let rest = own[row] - T::dot(&own[start..row], &own[start..row]);
                if rest <= T::zero() || !rest.is_finite() {
                    return Err(KernelError::Numeric(format!(
                        "the matrix is not positive definite: its leading minor {} is not positive",
                        row + 1
                    )));
                }
                own[row] = rest.sqrt();
            } else {
                let other = &above[column * n..(column + 1) * n];
                let dot = T::dot(&own[start..column], &other[start..column]);
                own[column] = (own[column] - dot) / other[column];
            }
        }
    }
    Ok(())
}
