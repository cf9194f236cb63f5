use brigade_proto::Buffer;
use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::operand::{self, matrix, output_of, random, sides, synthetic};
use crate::npy::{Array, Dtype, Word};
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
            .details(
                "Exactly numpy.ascontiguousarray(a.T) of any type of number; what is big-endian becomes \
                 little-endian. A vector stays as it is.",
            )
            .param(operand::allow_nan())
            .inputs(Inputs::exactly(1, "an .npy matrix of numbers, (m, n)"))
            .output(OutputFormat::Fixed("npy"), "the transpose, (n, m), in C order")
            .default_size("2048")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let array = operand::parse(job, 0)?;
        match array.dtype.size() {
            1 => transpose::<u8>(job, &array),
            2 => transpose::<u16>(job, &array),
            4 => transpose::<u32>(job, &array),
            _ => transpose::<u64>(job, &array),
        }
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let mut a = random(seed);
        Ok(vec![synthetic(sides(size)?, |_, _| a())?])
    }
}

/// Elements stay as they are, so their bits are moved whatever they mean.
fn transpose<W: Word>(job: &mut Context<'_>, array: &Array<'_>) -> Result<Progress, KernelError> {
    let (rows, columns, is_vector) = operand::shape(array, 0)?;
    let words = array.words::<W>()?;
    if !job.flag("allow_nan") {
        check_finite(array, &words)?;
    }
    let words = matrix(words, (rows, columns), array.fortran)?;
    if is_vector {
        output_of(job, array.dtype, (rows, 1), true)?.assign(&words);
        return Ok(Progress::Done);
    }
    let mut out = output_of(job, array.dtype, (columns, rows), false)?;
    blocked(words.view(), &mut out);
    Ok(Progress::Done)
}

/// Refuses NaN and infinities, whose exponents are all ones.
fn check_finite<W: Word>(array: &Array<'_>, words: &[W]) -> Result<(), KernelError> {
    let (exponent, fraction) = match array.dtype {
        Dtype::F16 => (0x7c00, 0x03ff),
        Dtype::F32 => (0x7f80_0000, 0x007f_ffff),
        Dtype::F64 => (0x7ff0 << 48, (1 << 52) - 1),
        _ => return Ok(()),
    };
    let is_odd = |word: &W| word.bits() & exponent == exponent;
    // Whole blocks without a branch, which the compiler vectorises.
    let odd = |block: &[W]| block.iter().fold(false, |odd, word| odd | is_odd(word));
    if !words.chunks(1024).any(odd) {
        return Ok(());
    }
    let Some(place) = words.iter().position(is_odd) else { return Ok(()) };
    let bits = words[place].bits();
    let name = match (bits & fraction, bits & !(exponent | fraction)) {
        (0, 0) => "inf",
        (0, _) => "-inf",
        _ => "NaN",
    };
    Err(KernelError::Numeric(format!("input 1 holds {name} at {:?}", array.index(place))))
}

fn blocked<T: Copy>(from: ArrayView2<'_, T>, to: &mut ArrayViewMut2<'_, T>) {
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
