//! The elements of an array as numbers of one type: as they lie in the file where they can be,
//! else converted, each of them exactly.

use std::borrow::Cow;
use std::fmt;

use bytemuck::Pod;
use half::f16;

use super::{Array, Dtype};
use crate::KernelError;

/// f32 or f64.
pub(crate) trait Float: Pod {
    const DTYPE: Dtype;

    /// The same number, if it has one that is the same.
    fn of_integer(value: i128) -> Option<Self>;
    fn of_f32(value: f32) -> Self;
    /// The same number, if every f64 has one.
    fn of_f64(value: f64) -> Option<Self>;
}

macro_rules! float {
    ($type:ident, $dtype:ident, $of_f64:expr) => {
        impl Float for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn of_integer(value: i128) -> Option<Self> {
                let float = value as Self;
                // As far as every integer has a float: the common case, without a slow conversion.
                if value.unsigned_abs() <= 1 << Self::MANTISSA_DIGITS {
                    return Some(float);
                }
                (float as i128 == value).then_some(float)
            }
            fn of_f32(value: f32) -> Self {
                value.into()
            }
            fn of_f64(value: f64) -> Option<Self> {
                $of_f64(value)
            }
        }
    };
}
float!(f32, F32, |_| None);
float!(f64, F64, Some);

/// The bytes of an element as a number: u8, u16, u32 or u64.
pub(crate) trait Word: Pod {
    fn swap(self) -> Self;
    fn bits(self) -> u64;
}

macro_rules! word {
    ($($type:ident),*) => {$(
        impl Word for $type {
            fn swap(self) -> Self {
                self.swap_bytes()
            }
            fn bits(self) -> u64 {
                self.into()
            }
        }
    )*};
}
word!(u8, u16, u32, u64);

impl<'a> Array<'a> {
    /// All elements, in the order of the file, as floats of one type: those of the file itself
    /// where they are of that type.
    ///
    /// # Errors
    /// When an element is not the same number in that type, or memory is short.
    pub(crate) fn floats<T: Float>(&self) -> Result<Cow<'a, [T]>, KernelError> {
        if self.dtype == T::DTYPE && !self.is_big_endian {
            return self.cast();
        }
        macro_rules! integers {
            ($type:ident) => {
                self.convert(|bytes| {
                    let value = $type::from_le_bytes(bytes);
                    T::of_integer(value.into()).ok_or(value)
                })
            };
        }
        let converted = match self.dtype {
            Dtype::Bool => self.convert(|[byte]| match byte {
                0 | 1 => T::of_integer(byte.into()).ok_or(byte),
                _ => Err(byte),
            }),
            Dtype::I8 => integers!(i8),
            Dtype::I16 => integers!(i16),
            Dtype::I32 => integers!(i32),
            Dtype::I64 => integers!(i64),
            Dtype::U8 => integers!(u8),
            Dtype::U16 => integers!(u16),
            Dtype::U32 => integers!(u32),
            Dtype::U64 => integers!(u64),
            Dtype::F16 => {
                self.convert(|bytes| Ok::<_, f16>(T::of_f32(f16::from_le_bytes(bytes).to_f32())))
            }
            Dtype::F32 => self.convert(|bytes| Ok::<_, f32>(T::of_f32(f32::from_le_bytes(bytes)))),
            Dtype::F64 => self.convert(|bytes| {
                let value = f64::from_le_bytes(bytes);
                T::of_f64(value).ok_or(value)
            }),
        };
        converted.map(Cow::Owned)
    }

    /// All elements, in the order of the file, as words of their size in the order of this
    /// machine's bytes.
    ///
    /// # Errors
    /// When memory is short.
    ///
    /// # Panics
    /// When a word has another size than an element.
    pub(crate) fn words<W: Word>(&self) -> Result<Cow<'a, [W]>, KernelError> {
        assert_eq!(size_of::<W>(), self.dtype.size(), "{} in other words", self.dtype);
        let mut words: Cow<'a, [W]> = self.cast()?;
        if self.is_big_endian {
            words.to_mut().iter_mut().for_each(|word| *word = word.swap());
        }
        Ok(words)
    }

    /// The bytes as they are, copied if they are not aligned: the file's header is odd then.
    fn cast<P: Pod>(&self) -> Result<Cow<'a, [P]>, KernelError> {
        if let Ok(elements) = bytemuck::try_cast_slice(self.data) {
            return Ok(Cow::Borrowed(elements));
        }
        let mut elements = room(self.data.len() / size_of::<P>())?;
        elements
            .extend(self.data.chunks_exact(size_of::<P>()).map(bytemuck::pod_read_unaligned::<P>));
        Ok(Cow::Owned(elements))
    }

    fn convert<const N: usize, T: Float, V: fmt::Display>(
        &self,
        number: impl Fn([u8; N]) -> Result<T, V>,
    ) -> Result<Vec<T>, KernelError> {
        let all = self.data.as_chunks::<N>().0;
        let mut elements = room(all.len())?;
        for (place, &bytes) in all.iter().enumerate() {
            let mut bytes = bytes;
            if self.is_big_endian {
                bytes.reverse();
            }
            elements.push(number(bytes).map_err(|value| self.inexact(place, &value, T::DTYPE))?);
        }
        Ok(elements)
    }

    #[cold]
    fn inexact(&self, place: usize, value: &dyn fmt::Display, to: Dtype) -> KernelError {
        let (at, from) = (self.index(place), self.dtype);
        KernelError::Numeric(match from {
            Dtype::Bool => format!("it holds {value} at {at:?}, and a bool is 0 or 1"),
            Dtype::F64 => format!("it is float64, and {to} would lose digits; convert it first"),
            _ => format!("it holds {value} at {at:?}, which {to} cannot hold exactly"),
        })
    }

    /// The index of an element by its place in the file.
    pub(crate) fn index(&self, mut place: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.len()];
        let mut step = |(at, &side): (&mut usize, &usize)| {
            *at = place % side.max(1);
            place /= side.max(1);
        };
        let pairs = index.iter_mut().zip(&self.shape);
        if self.fortran {
            pairs.for_each(&mut step)
        } else {
            pairs.rev().for_each(&mut step)
        }
        index
    }
}

fn room<T>(len: usize) -> Result<Vec<T>, KernelError> {
    let mut elements = Vec::new();
    elements
        .try_reserve_exact(len)
        .map_err(|_| KernelError::Memory { bytes: len as u64 * size_of::<T>() as u64 })?;
    Ok(elements)
}
