//! From the bytes of an `.npy` file to a matrix and back, without a copy where the
//! bytes allow it.

use std::borrow::Cow;

use brigade_proto::Buffer;
use bytemuck::Pod;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, CowArray, Ix2, ShapeBuilder};

use super::element::Element;
use crate::npy::{self, Array, Dtype};
use crate::synth::SynthRng;
use crate::{Context, KernelError, ParamSpec, Size};

/// A matrix input, or a vector as a matrix of one column.
pub(super) struct Operand<'a, T: Element> {
    pub(super) matrix: CowArray<'a, T, Ix2>,
    /// The file held a vector.
    pub(super) is_vector: bool,
}

/// Runs a computation in the precision that holds the elements of all inputs exactly.
macro_rules! for_dtype {
    ($job:expr, $function:ident) => {
        match crate::matrix::operand::precision($job)? {
            crate::matrix::operand::Precision::Single => $function::<f32>($job),
            crate::matrix::operand::Precision::Double => $function::<f64>($job),
        }
    };
}
pub(super) use for_dtype;

/// What is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Single,
    Double,
}

/// Single for inputs of float16 and float32 alone: of the other types only float64 has all
/// numbers, and of those of 64 bits most.
pub(super) fn precision(job: &Context<'_>) -> Result<Precision, KernelError> {
    let mut precision = Precision::Single;
    for index in 0..job.inputs().len() {
        if !matches!(parse(job, index)?.dtype, Dtype::F16 | Dtype::F32) {
            precision = Precision::Double;
        }
    }
    Ok(precision)
}

/// Input `index` as an array.
pub(super) fn parse<'a>(job: &Context<'a>, index: usize) -> Result<Array<'a>, KernelError> {
    npy::parse(job.input(index)?).map_err(|error| named(index, &error))
}

fn named(index: usize, error: &KernelError) -> KernelError {
    let text = format!("input {}: {error}", index + 1);
    match error {
        KernelError::Numeric(_) => KernelError::Numeric(text),
        _ => KernelError::Input(text),
    }
}

/// Rows and columns of input `index`, and whether it is a vector. Refuses empty ones.
pub(super) fn shape(array: &Array<'_>, index: usize) -> Result<(usize, usize, bool), KernelError> {
    let (rows, columns, is_vector) = match array.shape[..] {
        [n] => (n, 1, true),
        [rows, columns] => (rows, columns, false),
        _ => {
            return Err(KernelError::input(format!(
                "input {} has shape {:?}; a matrix (rows, columns) or a vector (n,) is read",
                index + 1,
                array.shape
            )));
        }
    };
    if rows == 0 || columns == 0 {
        return Err(KernelError::input(format!(
            "input {} is empty: its shape is {:?}",
            index + 1,
            array.shape
        )));
    }
    Ok((rows, columns, is_vector))
}

/// Elements in the order of the file as a matrix.
pub(super) fn matrix<'a, P: Pod>(
    elements: Cow<'a, [P]>,
    (rows, columns): (usize, usize),
    fortran: bool,
) -> Result<CowArray<'a, P, Ix2>, KernelError> {
    let shape = (rows, columns).set_f(fortran);
    let misfit = |_| KernelError::input("an array that is larger than memory");
    Ok(match elements {
        Cow::Borrowed(elements) => ArrayView2::from_shape(shape, elements).map_err(misfit)?.into(),
        Cow::Owned(elements) => Array2::from_shape_vec(shape, elements).map_err(misfit)?.into(),
    })
}

/// Whether NaN and infinities are let through.
pub(super) fn allow_nan() -> ParamSpec {
    ParamSpec::flag("allow_nan", "let NaN and infinite elements through instead of refusing them")
        .default(false)
}

impl<'a, T: Element> Operand<'a, T> {
    /// Input `index`. Refuses empty ones and, unless `nan`, those that are not
    /// finite.
    pub(super) fn read(job: &Context<'a>, index: usize, nan: bool) -> Result<Self, KernelError> {
        let array = parse(job, index)?;
        let (rows, columns, is_vector) = shape(&array, index)?;
        let elements = array.floats().map_err(|error| named(index, &error))?;
        let operand = Self { matrix: matrix(elements, (rows, columns), array.fortran)?, is_vector };
        if !nan {
            operand.check_finite(index)?;
        }
        Ok(operand)
    }

    /// Refuses NaN and infinities; `index` is the input's.
    pub(super) fn check_finite(&self, index: usize) -> Result<(), KernelError> {
        if is_finite(self.matrix.as_slice_memory_order().unwrap_or_default()) {
            return Ok(());
        }
        match self.matrix.indexed_iter().find(|(_, x)| !x.is_finite()) {
            Some(((row, column), x)) => Err(KernelError::Numeric(format!(
                "input {} holds {x} at [{row}, {column}]",
                index + 1
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        self.matrix.dim()
    }
}

/// Whether all are finite.
pub(super) fn is_finite<T: Element>(elements: &[T]) -> bool {
    // Whole blocks without a branch, which the compiler vectorises.
    let odd = |block: &[T]| block.iter().fold(false, |odd, x| odd | !x.is_finite());
    !elements.chunks(1024).any(odd)
}

/// Adds an `.npy` output and gives its elements as a matrix in C order, to be
/// written in place, each of them: they are whatever was there before. A vector is a matrix of one column.
pub(super) fn output<'c, T: Element>(
    job: &'c mut Context<'_>,
    shape: (usize, usize),
    is_vector: bool,
) -> Result<ArrayViewMut2<'c, T>, KernelError> {
    output_of(job, T::DTYPE, shape, is_vector)
}

/// The same with elements of any type, as numbers of its size.
pub(super) fn output_of<'c, P: Pod>(
    job: &'c mut Context<'_>,
    dtype: Dtype,
    (rows, columns): (usize, usize),
    is_vector: bool,
) -> Result<ArrayViewMut2<'c, P>, KernelError> {
    let shape = if is_vector { &[rows][..] } else { &[rows, columns][..] };
    let header = npy::header(dtype, shape);
    let bytes = rows
        .checked_mul(columns)
        .and_then(|count| count.checked_mul(dtype.size()))
        .ok_or(KernelError::Memory { bytes: u64::MAX })?;
    let out = job.output_for_overwrite(header.len() + bytes)?;
    let (head, data) = out.split_at_mut(header.len());
    head.copy_from_slice(&header);
    let elements = bytemuck::try_cast_slice_mut(data)
        .map_err(|error| KernelError::input(format!("output memory is not aligned: {error}")))?;
    ArrayViewMut2::from_shape((rows, columns), elements)
        .map_err(|error| KernelError::input(error.to_string()))
}

/// So many zeros, where there is memory for them.
pub(super) fn zeros<T: Element>(len: usize) -> Result<Vec<T>, KernelError> {
    let mut zeros = Vec::new();
    let memory = |_| KernelError::Memory { bytes: len as u64 * size_of::<T>() as u64 };
    zeros.try_reserve_exact(len).map_err(memory)?;
    zeros.resize(len, T::zero());
    Ok(zeros)
}

/// Sides of a synthetic matrix: `512` or `640x480` (columns x rows).
pub(super) fn sides(size: Size) -> Result<(usize, usize), KernelError> {
    match size {
        Size::Count(n) if (1..=1 << 20).contains(&n) => Ok((n as usize, n as usize)),
        Size::Area { width, height } => Ok((height as usize, width as usize)),
        other => Err(KernelError::input(format!(
            "`{other}` is no size of a matrix; write 512 (rows and columns) or 640x480 (columns x \
             rows)"
        ))),
    }
}

/// A synthetic f64 matrix, element by element.
pub(super) fn synthetic(
    (rows, columns): (usize, usize),
    mut element: impl FnMut(usize, usize) -> f64,
) -> Result<Buffer, KernelError> {
    let header = npy::header(Dtype::F64, &[rows, columns]);
    let bytes = (rows as u64).saturating_mul(columns as u64).saturating_mul(8);
    let none = || KernelError::Memory { bytes };
    let len = usize::try_from(bytes).ok().and_then(|len| len.checked_add(header.len()));
    let mut buffer = len.and_then(Buffer::try_zeroed).ok_or_else(none)?;
    buffer[..header.len()].copy_from_slice(&header);
    for (place, to) in buffer[header.len()..].chunks_exact_mut(8).enumerate() {
        to.copy_from_slice(&element(place / columns, place % columns).to_le_bytes());
    }
    Ok(buffer)
}

/// Uniform in [-1, 1).
pub(super) fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut rng = SynthRng::new(seed);
    move || rng.unit() * 2.0 - 1.0
}
