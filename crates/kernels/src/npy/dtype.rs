//! Element types and what they are called.

use std::fmt;

use brigade_proto::limits;

use crate::KernelError;

/// Type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

impl Dtype {
    pub(crate) const ALL: [Self; 12] = [
        Self::Bool,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F16,
        Self::F32,
        Self::F64,
    ];

    /// What NumPy calls it, and its code in a file without the order of its bytes.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Bool => ("bool", "b1"),
            Self::I8 => ("int8", "i1"),
            Self::I16 => ("int16", "i2"),
            Self::I32 => ("int32", "i4"),
            Self::I64 => ("int64", "i8"),
            Self::U8 => ("uint8", "u1"),
            Self::U16 => ("uint16", "u2"),
            Self::U32 => ("uint32", "u4"),
            Self::U64 => ("uint64", "u8"),
            Self::F16 => ("float16", "f2"),
            Self::F32 => ("float32", "f4"),
            Self::F64 => ("float64", "f8"),
        }
    }

    /// Bytes of one element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The code in a file, little-endian.
    pub(super) fn code(self) -> String {
        let order = if self.size() == 1 { '|' } else { '<' };
        format!("{order}{}", self.names().1)
    }

    /// The type that a file names, and whether its bytes are in big-endian order.
    pub(super) fn read(text: &str) -> Result<(Self, bool), KernelError> {
        let (order, code) = match text.split_at_checked(1) {
            Some((order @ ("<" | ">" | "|" | "="), code)) => (order, code),
            _ => ("=", text),
        };
        let is_it = |dtype: &Self| code == dtype.names().1 || text == dtype.names().0;
        match Self::ALL.into_iter().find(is_it) {
            Some(dtype) => Ok((dtype, order == ">" && dtype.size() > 1)),
            None => Err(unsupported(&foreign(text, code))),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.names().0)
    }
}

/// What NumPy calls a type that is not read.
fn foreign(text: &str, code: &str) -> String {
    let shown = limits::cut(text, 40);
    let (kind, size) = code.split_at_checked(1).unwrap_or(("", ""));
    let bits = size.parse::<u32>().map(|bytes| bytes.saturating_mul(8));
    let name = match (kind, bits) {
        ("c", Ok(bits)) => format!("complex{bits}"),
        ("f", Ok(bits)) => format!("float{bits}"),
        ("S" | "a", _) => "text in bytes".to_owned(),
        ("U", _) => "text in Unicode".to_owned(),
        ("O", _) => "Python objects".to_owned(),
        ("M", _) => "datetime64".to_owned(),
        ("m", _) => "timedelta64".to_owned(),
        ("V", _) => "void, raw bytes".to_owned(),
        _ => return shown.to_owned(),
    };
    format!("{shown} ({name})")
}

pub(super) fn unsupported(what: &str) -> KernelError {
    KernelError::input(format!(
        ".npy element type {what} is not supported; bool, int8 to int64, uint8 to uint64, float16, \
         float32 and float64 are read"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::read(&dtype.code()).unwrap(), (dtype, false));
            let (name, code) = dtype.names();
            assert_eq!(Dtype::read(name).unwrap(), (dtype, false));
            for (order, is_big) in [("<", false), ("=", false), ("|", false), (">", true)] {
                let is_big = is_big && dtype.size() > 1;
                assert_eq!(Dtype::read(&format!("{order}{code}")).unwrap(), (dtype, is_big));
            }
        }
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for (code, name) in [
            ("<c16", "<c16 (complex128)"),
            (">c8", ">c8 (complex64)"),
            ("<f16", "<f16 (float128)"),
            ("|S5", "|S5 (text in bytes)"),
            ("<U12", "<U12 (text in Unicode)"),
            ("|O", "|O (Python objects)"),
            ("<M8[ns]", "<M8[ns] (datetime64)"),
            ("<m8[s]", "<m8[s] (timedelta64)"),
            ("|V2", "|V2 (void, raw bytes)"),
            ("<i3", "type <i3 is"),
            ("float65", "type float65 is"),
            ("", "type  is"),
            ("é", "type é is"),
        ] {
            let error = Dtype::read(code).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not supported"), "{code}: {error}");
        }
    }
}
