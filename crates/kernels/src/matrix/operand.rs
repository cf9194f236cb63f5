//! From the bytes of an `.npy` file to a matrix and back, without a copy where the
//! bytes allow it.

use brigade_proto::Buffer;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, CowArray, Ix2, ShapeBuilder};

use super::element::Element;
use crate::npy::{self, Dtype};
use crate::synth::Rng;
use crate::{Context, KernelError, ParamSpec, Size};

/// A matrix input, or a vector as a matrix of one column.
pub(super) struct Operand<'a, T: Element> {
    pub(super) matrix: CowArray<'a, T, Ix2>,
    /// The file held a vector.
    pub(super) is_vector: bool,
}

/// Runs a computation for the element type of the inputs, which must be the same.
macro_rules! for_dtype {
    ($job:expr, $function:ident) => {
        match crate::matrix::operand::common_dtype($job)? {
            crate::npy::Dtype::F32 => $function::<f32>($job),
            crate::npy::Dtype::F64 => $function::<f64>($job),
            crate::npy::Dtype::U8 => Err(crate::KernelError::input(
                "matrices of uint8 are not supported; convert them to float32 or float64",
            )),
        }
    };
}
pub(super) use for_dtype;

pub(super) fn common_dtype(job: &Context<'_>) -> Result<Dtype, KernelError> {
    let first = npy::parse(job.input(0)?).map_err(|error| named(0, &error))?.dtype;
    for (index, input) in job.inputs().iter().enumerate().skip(1) {
        let dtype = npy::parse(input).map_err(|error| named(index, &error))?.dtype;
        if dtype != first {
            return Err(KernelError::input(format!(
                "input 1 is {first:?} and input {} is {dtype:?}; they must be alike",
                index + 1
            )));
        }
    }
    Ok(first)
}

fn named(index: usize, error: &KernelError) -> KernelError {
    KernelError::input(format!("input {}: {error}", index + 1))
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
        let array = npy::parse(job.input(index)?).map_err(|error| named(index, &error))?;
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
        let shape = (rows, columns).set_f(array.fortran);
        let misfit = |_| KernelError::input("an array that is larger than memory");
        let matrix = match bytemuck::try_cast_slice(array.data) {
            Ok(elements) => ArrayView2::from_shape(shape, elements).map_err(misfit)?.into(),
            // Not aligned: the file's header is odd.
            Err(_) => {
                let elements = bytemuck::pod_collect_to_vec(array.data);
                Array2::from_shape_vec(shape, elements).map_err(misfit)?.into()
            }
        };
        let operand = Self { matrix, is_vector };
        if !nan {
            operand.check_finite(index)?;
        }
        Ok(operand)
    }

    /// Refuses NaN and infinities; `index` is the input's.
    pub(super) fn check_finite(&self, index: usize) -> Result<(), KernelError> {
        let elements = self.matrix.as_slice_memory_order().unwrap_or_default();
        // Whole blocks without a branch, which the compiler vectorises.
        let odd = |block: &[T]| block.iter().fold(false, |odd, x| odd | !x.is_finite());
        if !elements.chunks(1024).any(odd) {
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

/// Adds an `.npy` output and gives its elements as a matrix in C order, to be
/// written in place, each of them: they are whatever was there before. A vector is a matrix of one column.
pub(super) fn output<'c, T: Element>(
    job: &'c mut Context<'_>,
    (rows, columns): (usize, usize),
    is_vector: bool,
) -> Result<ArrayViewMut2<'c, T>, KernelError> {
    let shape = if is_vector { &[rows][..] } else { &[rows, columns][..] };
    let header = npy::header(T::DTYPE, shape);
    let bytes = rows
        .checked_mul(columns)
        .and_then(|count| count.checked_mul(T::DTYPE.size()))
        .ok_or(KernelError::Memory { bytes: u64::MAX })?;
    let out = job.output_for_overwrite(header.len() + bytes)?;
    let (head, data) = out.split_at_mut(header.len());
    head.copy_from_slice(&header);
    let elements = bytemuck::try_cast_slice_mut(data)
        .map_err(|error| KernelError::input(format!("output memory is not aligned: {error}")))?;
    ArrayViewMut2::from_shape((rows, columns), elements)
        .map_err(|error| KernelError::input(error.to_string()))
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
    let mut rng = Rng::new(seed);
    move || rng.unit() * 2.0 - 1.0
}
