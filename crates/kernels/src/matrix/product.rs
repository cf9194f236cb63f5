use brigade_proto::{Buffer, Note};
use ndarray::linalg::general_mat_mul;

use super::element::Element;
use super::operand::{self, Operand, for_dtype, is_finite, output, random, sides, synthetic};
use crate::{
    Context, Family, Inputs, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Size, Spec,
};

/// Matrix times matrix.
pub(super) struct Matmul;

impl Kernel for Matmul {
    fn spec(&self) -> Spec {
        Spec::new("matmul", "Multiplies two matrices")
            .family(Family::Matrix)
            .details(
                "C = A B, on one core. Agrees with numpy.matmul to rounding: the sums are taken \
                 in another order. float16 and float32 alone are computed in float32, all other \
                 types of number in float64; an integer that float64 cannot hold is refused.",
            )
            .param(operand::allow_nan())
            .param(ParamSpec::max_bytes())
            .inputs(Inputs::exactly(2, "two .npy matrices: (m, k) and (k, n)"))
            .output(OutputFormat::Fixed("npy"), "the product, (m, n), of float32 or float64")
            .default_size("512")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        for_dtype!(job, multiply)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let (rows, columns) = sides(size)?;
        let (mut a, mut b) = (random(seed), random(seed ^ 1));
        Ok(vec![synthetic((rows, columns), |_, _| a())?, synthetic((columns, rows), |_, _| b())?])
    }
}

/// Matrix times vector.
pub(super) struct Matvec;

impl Kernel for Matvec {
    fn spec(&self) -> Spec {
        Spec::new("matvec", "Multiplies a matrix and a vector")
            .family(Family::Matrix)
            .details(
                "y = A x, on one core. Agrees with numpy.matmul to rounding. Types are those of matmul.",
            )
            .param(operand::allow_nan())
            .inputs(Inputs::exactly(2, ".npy: a matrix (m, n) and a vector (n,)"))
            .output(OutputFormat::Fixed("npy"), "the product, (m,), of float32 or float64")
            .default_size("2048")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        for_dtype!(job, multiply_vector)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let (rows, columns) = sides(size)?;
        let (mut a, mut x) = (random(seed), random(seed ^ 1));
        Ok(vec![synthetic((rows, columns), |_, _| a())?, synthetic((columns, 1), |_, _| x())?])
    }
}

fn operands<'a, T: Element>(
    job: &Context<'a>,
) -> Result<(Operand<'a, T>, Operand<'a, T>), KernelError> {
    let nan = job.flag("allow_nan");
    operands_unless(job, nan)
}

fn operands_unless<'a, T: Element>(
    job: &Context<'a>,
    nan: bool,
) -> Result<(Operand<'a, T>, Operand<'a, T>), KernelError> {
    let (a, b) = (Operand::<T>::read(job, 0, nan)?, Operand::<T>::read(job, 1, nan)?);
    let ((rows, inner), (other, columns)) = (a.shape(), b.shape());
    if inner != other {
        return Err(KernelError::input(format!(
            "shapes do not fit: ({rows}, {inner}) times ({other}, {columns}); the columns of the \
             first must be the rows of the second"
        )));
    }
    Ok((a, b))
}

fn multiply<T: Element>(job: &mut Context<'_>) -> Result<Progress, KernelError> {
    let (a, b) = operands::<T>(job)?;
    let shape = (a.shape().0, b.shape().1);
    // A column times a row has as many elements as both together squared.
    let bytes = shape.0.checked_mul(shape.1).and_then(|count| count.checked_mul(size_of::<T>()));
    job.check_growth(bytes.map_or(u64::MAX, |bytes| bytes as u64))?;
    let mut product = output::<T>(job, shape, b.is_vector)?;
    general_mat_mul(T::one(), &a.matrix, &b.matrix, T::zero(), &mut product);
    let has_overflowed = !is_finite(product.as_slice().unwrap_or_default());
    if has_overflowed && a.check_finite(0).is_ok() && b.check_finite(1).is_ok() {
        job.note(Note::Overflow);
    }
    Ok(Progress::Done)
}

fn multiply_vector<T: Element>(job: &mut Context<'_>) -> Result<Progress, KernelError> {
    // The matrix is read once: an element that is not finite leaves a sum that is not
    // finite either, and only then the inputs are looked through.
    let refuse_nan = !job.flag("allow_nan");
    let (a, x) = operands_unless::<T>(job, true)?;
    if x.shape().1 != 1 {
        return Err(KernelError::input(format!(
            "input 2 has {} columns; a vector has one (matmul multiplies matrices)",
            x.shape().1
        )));
    }
    let rows = a.shape().0;
    let mut product = output::<T>(job, (rows, 1), true)?;
    // A column of a matrix in C order, so not contiguous in general.
    let mut factors: Vec<T> = operand::zeros(x.shape().0)?;
    factors.iter_mut().zip(x.matrix.column(0)).for_each(|(to, x)| *to = *x);
    match a.matrix.is_standard_layout() {
        true => {
            for (to, row) in product.iter_mut().zip(a.matrix.rows()) {
                *to = T::dot(row.to_slice().unwrap_or_default(), &factors);
            }
        }
        // Column by column, as they lie in memory.
        false => {
            let mut sums: Vec<T> = operand::zeros(rows)?;
            for (column, &factor) in a.matrix.columns().into_iter().zip(&factors) {
                T::axpy(factor, column.to_slice().unwrap_or_default(), &mut sums);
            }
            product.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
        }
    }
    if product.iter().any(|sum| !sum.is_finite()) {
        match a.check_finite(0).and_then(|()| x.check_finite(1)) {
            Ok(()) => job.note(Note::Overflow),
            Err(error) if refuse_nan => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Progress::Done)
}
