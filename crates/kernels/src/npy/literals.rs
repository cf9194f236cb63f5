//! The header of a file: one line of Python literals.

use super::dtype::{Dtype, unsupported};
use crate::KernelError;

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) dtype: Dtype,
    /// Whether the bytes of an element are in big-endian order.
    pub(super) is_big_endian: bool,
    pub(super) shape: Vec<usize>,
    pub(super) fortran: bool,
}

/// More dimensions than NumPy itself allows are nonsense.
const MAX_DIMENSIONS: usize = 64;

impl Header {
    pub(super) fn parse(text: &str) -> Result<Self, KernelError> {
        let mut literals = Literals(text);
        let (mut dtype, mut shape, mut fortran) = (None, None, None);
        literals.expect("{")?;
        while !literals.take("}") {
            let key = literals.string()?;
            literals.expect(":")?;
            let is_new = match key {
                "descr" => dtype.replace(literals.dtype()?).is_none(),
                "shape" => shape.replace(literals.tuple()?).is_none(),
                "fortran_order" => fortran.replace(literals.boolean()?).is_none(),
                other => {
                    return Err(KernelError::input(format!(
                        "damaged .npy file: unknown header field `{}`",
                        brigade_proto::limits::cut(other, 40)
                    )));
                }
            };
            if !is_new {
                return Err(KernelError::input(format!(
                    "damaged .npy file: its header has `{key}` twice"
                )));
            }
            if !literals.take(",") {
                literals.expect("}")?;
                break;
            }
        }
        if !literals.0.trim().is_empty() {
            return literals.odd();
        }
        match (dtype, shape, fortran) {
            (Some((dtype, is_big_endian)), Some(shape), Some(fortran)) => {
                Ok(Self { dtype, is_big_endian, shape, fortran })
            }
            _ => Err(KernelError::input("damaged .npy file: a header field is missing")),
        }
    }
}

/// The few Python literals that a header is made of.
struct Literals<'a>(&'a str);

impl<'a> Literals<'a> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.0.trim_start().strip_prefix(token);
        if let Some(rest) = rest {
            self.0 = rest;
        }
        rest.is_some()
    }

    fn odd<T>(&self) -> Result<T, KernelError> {
        Err(KernelError::input(format!(
            "damaged .npy file: its header is not understood at `{}`",
            brigade_proto::limits::cut(self.0.trim(), 40)
        )))
    }

    fn expect(&mut self, token: &str) -> Result<(), KernelError> {
        if self.take(token) { Ok(()) } else { self.odd() }
    }

    fn string(&mut self) -> Result<&'a str, KernelError> {
        let quote = if self.take("'") {
            '\''
        } else if self.take("\"") {
            '"'
        } else {
            return self.odd();
        };
        match self.0.split_once(quote) {
            Some((text, rest)) => {
                self.0 = rest;
                Ok(text)
            }
            None => self.odd(),
        }
    }

    fn dtype(&mut self) -> Result<(Dtype, bool), KernelError> {
        match self.0.trim_start().chars().next() {
            Some('[') => Err(unsupported("of records (a structured one)")),
            Some('(') => Err(unsupported("of arrays (a subarray)")),
            _ => Dtype::read(self.string()?),
        }
    }

    fn boolean(&mut self) -> Result<bool, KernelError> {
        if self.take("True") {
            Ok(true)
        } else if self.take("False") {
            Ok(false)
        } else {
            self.odd()
        }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, KernelError> {
        self.expect("(")?;
        let mut sides = Vec::new();
        while !self.take(")") {
            if sides.len() == MAX_DIMENSIONS {
                return self.odd();
            }
            sides.push(self.number()?);
            if !self.take(",") {
                // `(3)` is a number in Python, and no shape.
                if sides.len() == 1 {
                    return self.odd();
                }
                self.expect(")")?;
                break;
            }
        }
        Ok(sides)
    }

    fn number(&mut self) -> Result<usize, KernelError> {
        let text = self.0.trim_start();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        match text[..digits].parse() {
            Ok(number) => {
                // Python 2 wrote long numbers as `3L`.
                self.0 = text[digits..].strip_prefix('L').unwrap_or(&text[digits..]);
                Ok(number)
            }
            Err(_) => self.odd(),
        }
    }
}
