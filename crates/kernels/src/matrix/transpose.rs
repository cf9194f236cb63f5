use brigade_proto::Buffer;
use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::element::Element;
use super::operand::{self, Operand, for_dtype, output, random, sides, synthetic};
use crate::{Context, Family, Inputs, Kernel, KernelError, OutputFormat, Progress, Size, Spec};

/// Rows become columns.
pub(super) struct Transpose;

/// Side of the squares that are transposed at a time: two of f64 fit the first
/// cache.
const BLOCK: usize = 32;

impl Kernel for Transpose {
    fn spec(&self) -> Spec {
        Spec::new("transpose", "Turns the rows of a matrix into columns")
            .family(Family::Matrix)
            .details("Exactly numpy.ascontiguousarray(a.T).")
            .param(operand::allow_nan())
            .inputs(Inputs::exactly(1, "an .npy matrix of f32 or f64, (m, n)"))
            .output(OutputFormat::Fixed("npy"), "the transpose, (n, m), in C order")
            .default_size("2048")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        for_dtype!(job, transpose)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let mut a = random(seed);
        Ok(vec![synthetic(sides(size)?, |_, _| a())?])
    }
}

fn transpose<T: Element>(job: &mut Context<'_>) -> Result<Progress, KernelError> {
    let a = Operand::<T>::read(job, 0, job.flag("allow_nan"))?;
    let (rows, columns) = a.shape();
    let mut out = output::<T>(job, (columns, rows), false)?;
    blocked(a.matrix.view(), &mut out);
    Ok(Progress::Done)
}

fn blocked<T: Element>(from: ArrayView2<'_, T>, to: &mut ArrayViewMut2<'_, T>) {
    let (rows, columns) = from.dim();
    for row in (0..rows).step_by(BLOCK) {
        let row_end = (row + BLOCK).min(rows);
        for column in (0..columns).step_by(BLOCK) {
            let column_end = (column + BLOCK).min(columns);
            let block = from.slice(s![row..row_end, column..column_end]);
            to.slice_mut(s![column..column_end, row..row_end]).assign(&block.t());
        }
    }
}
