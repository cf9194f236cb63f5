//! NumPy's `.npy` format, versions 1 to 3: read in place, written so that the data
//! starts at a multiple of 64.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! The reader is our own: the header is one line of Python literals, and the crate
//! that reads it (npyz) brings a parser generator and big integers along, and
//! copies the data element by element.

use crate::KernelError;

/// Type of an array's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    U8,
    F32,
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }
}

/// An array in the bytes of its file.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// The first index runs fastest.
    pub(crate) fortran: bool,
    /// Exactly the elements.
    pub(crate) data: &'a [u8],
}

const MAGIC: &[u8] = b"\x93NUMPY";
/// More dimensions than NumPy itself allows are nonsense.
const MAX_DIMENSIONS: usize = 64;

/// Reads an array. Nothing is allocated by what a header claims.
pub(crate) fn parse(bytes: &[u8]) -> Result<Array<'_>, KernelError> {
    let truncated = || KernelError::input("truncated .npy file");
    if bytes.is_empty() {
        return Err(KernelError::input("empty file, not a .npy array"));
    }
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| KernelError::input("not a .npy file: it does not begin with \\x93NUMPY"))?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(truncated)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => {
            return Err(KernelError::input(format!(
                ".npy format version {other} is not known; 1 to 3 are read"
            )));
        }
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(truncated)?;
    let header = std::str::from_utf8(header)
        .map_err(|_| KernelError::input("damaged .npy file: its header is not text"))?;
    let Header { dtype, shape, fortran } = Header::parse(header)?;
    let len = shape
        .iter()
        .try_fold(dtype.size(), |len, &side| len.checked_mul(side))
        .ok_or_else(|| KernelError::input(format!(".npy array of impossible shape {shape:?}")))?;
    if data.len() < len {
        return Err(KernelError::input(format!(
            "truncated .npy file: shape {shape:?} needs {len} bytes, {} are there",
            data.len()
        )));
    }
    if data.len() > len {
        return Err(KernelError::input(format!(
            ".npy file with {} bytes behind its array of shape {shape:?}",
            data.len() - len
        )));
    }
    Ok(Array { dtype, shape, fortran, data })
}

struct Header {
    dtype: Dtype,
    shape: Vec<usize>,
    fortran: bool,
}

impl Header {
    fn parse(text: &str) -> Result<Self, KernelError> {
        let mut literals = Literals(text);
        let (mut dtype, mut shape, mut fortran) = (None, None, None);
        literals.expect("{")?;
        while !literals.take("}") {
            let key = literals.string()?;
            literals.expect(":")?;
            match key {
                "descr" => dtype = Some(literals.dtype()?),
                "shape" => shape = Some(literals.tuple()?),
                "fortran_order" => fortran = Some(literals.boolean()?),
                other => {
                    return Err(KernelError::input(format!(
                        "damaged .npy file: unknown header field `{}`",
                        brigade_proto::limits::cut(other, 40)
                    )));
                }
            }
            if !literals.take(",") {
                literals.expect("}")?;
                break;
            }
        }
        match (dtype, shape, fortran) {
            (Some(dtype), Some(shape), Some(fortran)) => Ok(Self { dtype, shape, fortran }),
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

    fn dtype(&mut self) -> Result<Dtype, KernelError> {
        let found = if self.0.trim_start().starts_with('[') {
            "a structured one"
        } else {
            match self.string()? {
                "|u1" | "u1" | "<u1" | ">u1" => return Ok(Dtype::U8),
                "<f4" => return Ok(Dtype::F32),
                "<f8" => return Ok(Dtype::F64),
                other => brigade_proto::limits::cut(other, 40),
            }
        };
        Err(KernelError::input(format!(
            ".npy element type {found} is not supported; there are: uint8 (|u1), float32 (<f4), \
             float64 (<f8), little-endian"
        )))
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

/// A version 1 header for an array in C order, padded so that the data behind it
/// starts at a multiple of 64.
pub(crate) fn header(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let sides = if shape.len() == 1 { sides.trim_end() } else { sides.trim_end_matches(", ") };
    let code = dtype.code();
    let text = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({sides}), }}");
    let prefix = MAGIC.len() + 4;
    // One for the newline at the end.
    let length = (prefix + text.len() + 1).next_multiple_of(64) - prefix;
    let mut header = Vec::with_capacity(prefix + length);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&(length as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header.resize(prefix + length - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.as_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn headers_read_back_and_are_aligned() {
        for shape in [&[][..], &[5], &[2, 3], &[1, 2, 3], &[0, 7], &[1_000_000_007, 0]] {
            for dtype in [Dtype::U8, Dtype::F32, Dtype::F64] {
                let mut bytes = header(dtype, shape);
                assert_eq!(bytes.len() % 64, 0);
                bytes.resize(bytes.len() + dtype.size() * shape.iter().product::<usize>(), 0);
                let array = parse(&bytes).unwrap();
                assert_eq!((array.dtype, &array.shape[..], array.fortran), (dtype, shape, false));
            }
        }
    }

    #[test]
    fn what_other_programs_write_is_read() {
        let odd = "{\"shape\": (2L,), \"fortran_order\":True,'descr':'<f4'}\n";
        let odd = file(odd, &[0; 8]);
        let array = parse(&odd).unwrap();
        assert_eq!((array.dtype, array.shape, array.fortran), (Dtype::F32, vec![2], true));
        let mut second = b"\x93NUMPY\x02\x00".to_vec();
        let text = "{'descr': '|u1', 'fortran_order': False, 'shape': (), }";
        second.extend((text.len() as u32).to_le_bytes());
        second.extend(text.as_bytes());
        second.push(7);
        assert_eq!(parse(&second).unwrap().data, [7]);
    }

    #[test]
    fn every_damage_has_its_message() {
        let good = "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }";
        let cases = [
            (Vec::new(), "empty file"),
            (b"PNG".to_vec(), "not a .npy file"),
            (b"\x93NUMPY".to_vec(), "truncated"),
            (b"\x93NUMPY\x07\x00\x00\x00".to_vec(), "version 7"),
            (b"\x93NUMPY\x01\x00\xff\xff{".to_vec(), "truncated"),
            (file(good, &[0; 23]), "needs 24 bytes, 23 are there"),
            (file(good, &[0; 25]), "1 bytes behind"),
            (file(&good.replace("<f8", ">f8"), &[0; 24]), ">f8 is not supported"),
            (file(&good.replace("'<f8'", "[('x', '<f8')]"), &[0; 24]), "a structured one"),
            (file(&good.replace("(3,)", "(-3,)"), &[]), "not understood at `-3"),
            (file(&good.replace("(3,)", "(99999999999, 99999999999)"), &[]), "impossible"),
            (file(&good.replace("(3,)", "(3"), &[]), "not understood"),
            (file(&good.replace("descr", "pickle"), &[]), "unknown header field `pickle`"),
            (file("{}", &[]), "field is missing"),
            (file("", &[]), "not understood"),
        ];
        for (bytes, expected) in cases {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>) {
            let _ = parse(&bytes);
            bytes.splice(0..0, *b"\x93NUMPY\x01\x00\x20\x00");
            let _ = parse(&bytes);
        }
    }
}
