//! Every matrix kernel against its definition.

use brigade_proto::{Note, Notes, Params};

use super::operand::synthetic;
use crate::npy::{self, Dtype};
use crate::synth::Rng;
use crate::{Always, Context, HeapSink, Registry, Size};

#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    shape: Vec<usize>,
    elements: Vec<f64>,
}

impl Matrix {
    fn random(rows: usize, columns: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let elements = (0..rows * columns).map(|_| rng.unit() * 2.0 - 1.0).collect();
        Self { shape: vec![rows, columns], elements }
    }

    fn vector(elements: &[f64]) -> Self {
        Self { shape: vec![elements.len()], elements: elements.to_vec() }
    }

    fn columns(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.elements[row * self.columns() + column]
    }

    fn times(&self, other: &Self) -> Self {
        let (rows, columns) = (self.shape[0], other.columns());
        let elements = (0..rows * columns)
            .map(|place| {
                let (i, j) = (place / columns, place % columns);
                (0..self.columns()).map(|k| self.at(i, k) * other.at(k, j)).sum()
            })
            .collect();
        Self { shape: vec![rows, columns], elements }
    }

    fn transposed(&self) -> Self {
        let (rows, columns) = (self.shape[0], self.columns());
        let elements =
            (0..rows * columns).map(|place| self.at(place % rows, place / rows)).collect();
        Self { shape: vec![columns, rows], elements }
    }

    fn file(&self, dtype: Dtype) -> Vec<u8> {
        let mut file = npy::header(dtype, &self.shape);
        for &x in &self.elements {
            match dtype {
                Dtype::F32 => file.extend((x as f32).to_le_bytes()),
                _ => file.extend(x.to_le_bytes()),
            }
        }
        file
    }

    /// The same matrix, with its columns one after another.
    fn fortran_file(&self) -> Vec<u8> {
        let transposed = self.transposed();
        let file = transposed.file(Dtype::F64);
        let header = String::from_utf8_lossy(&file[10..128]).into_owned();
        let (rows, columns) = (self.shape[0], self.columns());
        let header = header
            .replace("False", "True ")
            .replace(&format!("({columns}, {rows})"), &format!("({rows}, {columns})"));
        [&file[..10], header.as_bytes(), &file[128..]].concat()
    }
}

fn run(kernel: &str, inputs: &[Vec<u8>]) -> Result<Matrix, String> {
    run_noted(kernel, &[], inputs).map(|(matrix, _)| matrix)
}

/// The same with parameters; the result, and what is remarked on it.
fn run_noted(
    kernel: &str,
    given: &[(&str, bool)],
    inputs: &[Vec<u8>],
) -> Result<(Matrix, Notes), String> {
    let registry = Registry::builtin();
    let entry = registry.find(kernel).unwrap();
    // Aligned, as every executor gives them.
    let inputs: Vec<_> = inputs.iter().map(|i| brigade_proto::Buffer::from(&i[..])).collect();
    let slices: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
    let given: Params = given.iter().copied().collect();
    let params = entry.resolve(&given, slices.len()).unwrap();
    let mut sink = HeapSink::default();
    let mut context = Context::new(&params, &slices, &mut sink, &Always);
    entry.kernel.run(&mut context).map_err(|error| error.to_string())?;
    let notes = context.notes();
    let outputs = sink.into_outputs();
    let array = npy::parse(&outputs[0]).unwrap();
    let elements = array.floats().unwrap().into_owned();
    Ok((Matrix { shape: array.shape, elements }, notes))
}

#[track_caller]
fn assert_near(got: &Matrix, expected: &Matrix, tolerance: f64) {
    assert_eq!(got.shape, expected.shape);
    for (i, (a, b)) in got.elements.iter().zip(&expected.elements).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {i}: {a} instead of {b}");
    }
}

/// Sides around the blocks of the algorithms.
const SIDES: &[usize] = &[1, 2, 3, 16, 31, 33, 65, 130];

#[test]
fn products_follow_the_definition_in_both_types_and_orders() {
    for &n in SIDES {
        let (a, b) = (Matrix::random(n, n + 1, 1), Matrix::random(n + 1, 2 * n, 2));
        let expected = a.times(&b);
        for (inputs, tolerance) in [
            ([a.file(Dtype::F64), b.file(Dtype::F64)], 1e-12),
            ([a.fortran_file(), b.file(Dtype::F64)], 1e-12),
            ([a.file(Dtype::F64), b.fortran_file()], 1e-12),
            ([a.file(Dtype::F32), b.file(Dtype::F32)], 1e-3),
        ] {
            assert_near(&run("matmul", &inputs).unwrap(), &expected, tolerance);
        }
        let x = Matrix::vector(&Matrix::random(n + 1, 1, 3).elements);
        let mut expected = a.times(&x);
        expected.shape.pop();
        for a in [a.file(Dtype::F64), a.fortran_file()] {
            assert_near(&run("matvec", &[a, x.file(Dtype::F64)]).unwrap(), &expected, 1e-12);
        }
    }
}

#[test]
fn transposing_is_exact() {
    for &n in SIDES {
        let a = Matrix::random(n, 2 * n + 3, 1);
        assert_eq!(run("transpose", &[a.file(Dtype::F64)]).unwrap(), a.transposed());
        assert_eq!(run("transpose", &[a.fortran_file()]).unwrap(), a.transposed());
    }
}

#[test]
fn solutions_solve() {
    for &n in SIDES {
        // Needs its pivots: nothing on the diagonal is special.
        let a = Matrix::random(n, n, 7);
        for columns in [1, 3] {
            let x = Matrix::random(n, columns, 2);
            let b = a.times(&x);
            for a in [a.file(Dtype::F64), a.fortran_file()] {
                assert_near(&run("lu-solve", &[a, b.file(Dtype::F64)]).unwrap(), &x, 1e-8);
            }
        }
    }
    let swap = Matrix { shape: vec![2, 2], elements: vec![0.0, 1.0, 1.0, 0.0] };
    let b = Matrix::vector(&[3.0, 5.0]);
    let x = run("lu-solve", &[swap.file(Dtype::F64), b.file(Dtype::F64)]).unwrap();
    assert_eq!(x, Matrix::vector(&[5.0, 3.0]));
}

#[test]
fn factors_multiply_back() {
    for &n in SIDES {
        let b = Matrix::random(n, n, 5);
        let mut a = b.times(&b.transposed());
        (0..n).for_each(|i| a.elements[i * n + i] += 1.0);
        for file in [a.file(Dtype::F64), a.fortran_file()] {
            let l = run("cholesky", &[file]).unwrap();
            assert!((0..n).all(|i| (i + 1..n).all(|j| l.at(i, j) == 0.0)));
            assert_near(&l.times(&l.transposed()), &a, 1e-10);
        }
    }
}

#[test]
fn what_cannot_be_computed_is_said() {
    let f64s = |rows, columns, x: f64| {
        Matrix { shape: vec![rows, columns], elements: vec![x; rows * columns] }.file(Dtype::F64)
    };
    let mut nan = Matrix::random(3, 3, 1);
    nan.elements[5] = f64::NAN;
    let nan = nan.file(Dtype::F64);
    let square = f64s(3, 3, 1.0);
    let cube = Matrix { shape: vec![1, 1, 1], elements: vec![1.0] }.file(Dtype::F64);
    let huge =
        [npy::header(Dtype::I64, &[1, 1]), ((1_i64 << 53) + 1).to_le_bytes().to_vec()].concat();
    let empty = npy::header(Dtype::U8, &[0]);
    let scalar = [npy::header(Dtype::F64, &[]), 1_f64.to_le_bytes().to_vec()].concat();
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        (
            "matmul",
            vec![f64s(2, 3, 1.0), f64s(2, 3, 1.0)],
            "shapes do not fit: (2, 3) times (2, 3)",
        ),
        ("matmul", vec![square.clone(), nan.clone()], "input 2 holds NaN at [1, 2]"),
        ("matmul", vec![f64s(0, 3, 0.0), square.clone()], "input 1 is empty"),
        ("matmul", vec![empty.clone(), empty], "input 1 is empty: its shape is [0]"),
        ("matmul", vec![square.clone(), scalar], "input 2 has shape []"),
        ("matmul", vec![huge.clone(), huge], "input 1: it holds 9007199254740993 at [0, 0], which"),
        ("matvec", vec![square.clone(), square.clone()], "input 2 has 3 columns"),
        ("transpose", vec![cube], "input 1 has shape [1, 1, 1]"),
        ("transpose", vec![square[..100].to_vec()], "input 1: truncated .npy file"),
        ("transpose", vec![Vec::new()], "input 1: empty file"),
        ("lu-solve", vec![square.clone(), f64s(3, 1, 1.0)], "singular"),
        ("lu-solve", vec![f64s(2, 3, 1.0), f64s(2, 1, 1.0)], "must be square"),
        ("lu-solve", vec![square.clone(), f64s(2, 1, 1.0)], "A has 3 rows and b has 2"),
        ("cholesky", vec![f64s(3, 3, -1.0)], "not positive definite"),
        ("cholesky", vec![nan], "holds NaN"),
    ];
    for (kernel, inputs, expected) in cases {
        let error = run(kernel, &inputs).unwrap_err();
        assert!(error.contains(expected), "{kernel}: {error}");
    }
}

#[test]
fn synthetic_inputs_are_fit_for_their_kernels() {
    let registry = Registry::builtin();
    for name in ["matmul", "matvec", "transpose", "lu-solve", "cholesky"] {
        let kernel = &registry.find(name).unwrap().kernel;
        let inputs = kernel.synthesize(Size::Count(40), 9).unwrap();
        assert_eq!(inputs, kernel.synthesize(Size::Count(40), 9).unwrap());
        assert_ne!(inputs, kernel.synthesize(Size::Count(40), 10).unwrap());
        let inputs: Vec<Vec<u8>> = inputs.iter().map(|input| input.to_vec()).collect();
        run(name, &inputs).unwrap();
        assert!(kernel.synthesize(Size::Bytes(40), 9).is_err());
    }
    assert!(synthetic((usize::MAX, 2), |_, _| 0.0).is_err());
}

/// A file of this type with these numbers, big-endian.
fn file_of(dtype: Dtype, shape: &[usize], elements: &[i64]) -> Vec<u8> {
    let header = npy::header(dtype, shape);
    let text = String::from_utf8_lossy(&header[10..]).replace('<', ">");
    let mut file = [&header[..10], text.as_bytes()].concat();
    for &x in elements {
        match dtype {
            Dtype::Bool | Dtype::I8 | Dtype::U8 => file.push(x as u8),
            Dtype::I16 | Dtype::U16 => file.extend((x as u16).to_be_bytes()),
            Dtype::I32 | Dtype::U32 => file.extend((x as u32).to_be_bytes()),
            Dtype::I64 | Dtype::U64 => file.extend((x as u64).to_be_bytes()),
            Dtype::F16 => file.extend(half::f16::from_f64(x as f64).to_be_bytes()),
            Dtype::F32 => file.extend((x as f32).to_be_bytes()),
            Dtype::F64 => file.extend((x as f64).to_be_bytes()),
        }
    }
    file
}

#[test]
fn every_type_is_computed_exactly_and_transposed_as_it_is() {
    let (a, b) = ([1, 0, 1, 1], [0, 1, 1, 1]);
    let numbers = |elements: &[i64]| elements.iter().map(|&x| x as f64).collect::<Vec<_>>();
    for dtype in Dtype::ALL {
        let (a, b) = (file_of(dtype, &[2, 2], &a), file_of(dtype, &[2, 2], &b));
        let product = run("matmul", &[a.clone(), b.clone()]).unwrap();
        assert_eq!(product.elements, numbers(&[0, 1, 1, 2]), "{dtype}");
        let mixed = run("matmul", &[a.clone(), file_of(Dtype::I8, &[2, 2], &[0, -1, -1, -1])]);
        assert_eq!(mixed.unwrap().elements, numbers(&[0, -1, -1, -2]), "{dtype}");
        let solution = run("lu-solve", &[a.clone(), file_of(dtype, &[2], &[1, 1])]).unwrap();
        assert_eq!(solution.elements, numbers(&[1, 0]), "{dtype}");
        assert_eq!(run("transpose", &[a]).unwrap().elements, numbers(&[1, 1, 0, 1]), "{dtype}");
        assert!(run("cholesky", &[b]).unwrap_err().contains("positive definite"), "{dtype}");
    }
    // 2^53 + 1 has no float64, and stays what it is.
    let all = [1, (1 << 53) + 1, -3, i64::MAX, i64::MIN, 6];
    let file = file_of(Dtype::I64, &[2, 3], &all);
    let registry = Registry::builtin();
    let entry = registry.find("transpose").unwrap();
    let params = entry.resolve(&Params::new(), 1).unwrap();
    let (inputs, mut sink) = ([&file[..]], HeapSink::default());
    entry.kernel.run(&mut Context::new(&params, &inputs, &mut sink, &Always)).unwrap();
    let output = &sink.into_outputs()[0];
    let array = npy::parse(output).unwrap();
    assert_eq!((array.dtype, &array.shape[..]), (Dtype::I64, &[3, 2][..]));
    let turned = [1, i64::MAX, (1 << 53) + 1, i64::MIN, -3, 6];
    assert_eq!(array.words::<u64>().unwrap()[..], turned.map(|x| x as u64));
    let vector = run("transpose", &[file_of(Dtype::U8, &[3], &[1, 2, 3])]).unwrap();
    assert_eq!(vector, Matrix::vector(&[1.0, 2.0, 3.0]));
}

#[test]
fn what_is_not_finite_is_refused_in_every_float_type() {
    for (dtype, inf, nan) in [
        (Dtype::F16, &[0, 0x7c][..], &[1, 0x7c][..]),
        (Dtype::F32, &f32::INFINITY.to_le_bytes(), &f32::NAN.to_le_bytes()),
        (Dtype::F64, &f64::INFINITY.to_le_bytes(), &f64::NAN.to_le_bytes()),
    ] {
        for (bits, name) in [(inf, "inf"), (nan, "NaN")] {
            for (negative, name) in [(false, name.to_owned()), (true, format!("-{name}"))] {
                let mut last = bits.to_vec();
                *last.last_mut().unwrap() |= u8::from(negative) << 7;
                let zero = vec![0; dtype.size()];
                let file = [npy::header(dtype, &[1, 2]), zero, last].concat();
                let error = run("transpose", &[file.clone()]).unwrap_err();
                let name = name.replace("-NaN", "NaN");
                assert_eq!(error, format!("input 1 holds {name} at [0, 1]"), "{dtype}");
                run_noted("transpose", &[("allow_nan", true)], &[file.clone()]).unwrap();
                let ones = file_of(dtype, &[2], &[1, 1]);
                let error = run("matvec", &[file.clone(), ones.clone()]).unwrap_err();
                assert!(error.contains("at [0, 1]"), "{error}");
                let allowed = run_noted("matvec", &[("allow_nan", true)], &[file, ones]);
                assert!(allowed.unwrap().1.is_empty(), "the input is no overflow");
            }
        }
    }
}

fn hilbert(n: usize) -> Matrix {
    let elements = (0..n * n).map(|place| 1.0 / (place / n + place % n + 1) as f64).collect();
    Matrix { shape: vec![n, n], elements }
}

/// Reciprocal condition numbers of scipy.linalg.lapack.dgecon: about 3.4e-14 for the Hilbert
/// matrix of 10, and 5e-17 and less from 12 on.
#[test]
fn a_system_that_is_nearly_singular_is_remarked_on() {
    let diagonal = |small: f64| Matrix { shape: vec![2, 2], elements: vec![1.0, 0.0, 0.0, small] };
    let cases = [
        (hilbert(10), Dtype::F64, false),
        (hilbert(13), Dtype::F64, true),
        (hilbert(5), Dtype::F32, false),
        (hilbert(9), Dtype::F32, true),
        (diagonal(1e-15), Dtype::F64, false),
        (diagonal(1e-17), Dtype::F64, true),
        (diagonal(1e-6), Dtype::F32, false),
        (diagonal(1e-8), Dtype::F32, true),
        // Small or large as a whole is not near to singular.
        (Matrix { shape: vec![1, 1], elements: vec![1e-300] }, Dtype::F64, false),
        (Matrix { shape: vec![2, 2], elements: vec![1e308, 0.0, 9e307, 1e308] }, Dtype::F64, false),
        (Matrix { shape: vec![1, 1], elements: vec![f32::MAX.into()] }, Dtype::F32, false),
    ];
    for (matrix, dtype, is_near) in cases {
        let n = matrix.shape[0];
        let b = Matrix::vector(&vec![1.0; n]).file(dtype);
        let note = |noted: Result<(Matrix, Notes), String>| {
            noted.map(|(_, notes)| notes.contains(Note::IllConditioned))
        };
        let solved = note(run_noted("lu-solve", &[], &[matrix.file(dtype), b]));
        assert_eq!(solved, Ok(is_near), "{matrix:?} {dtype}");
        // Rounding may make the last pivot of a matrix that is nearly singular negative.
        match note(run_noted("cholesky", &[], &[matrix.file(dtype)])) {
            Ok(noted) => assert_eq!(noted, is_near, "{matrix:?} {dtype}"),
            Err(error) => assert!(is_near && error.contains("not positive"), "{matrix:?}: {error}"),
        }
    }
}

#[test]
fn finite_numbers_that_give_others_are_remarked_on() {
    let square = |elements: [f64; 4]| Matrix { shape: vec![2, 2], elements: elements.to_vec() };
    let large = square([1e200, 1.0, 1.0, 1e200]).file(Dtype::F64);
    let column = Matrix::vector(&[1e200, 1.0]).file(Dtype::F64);
    for given in [&[][..], &[("allow_nan", true)]] {
        let (_, notes) = run_noted("matmul", given, &[large.clone(), large.clone()]).unwrap();
        assert!(notes.contains(Note::Overflow));
        let (_, notes) = run_noted("matvec", given, &[large.clone(), column.clone()]).unwrap();
        assert!(notes.contains(Note::Overflow));
    }
    let (product, notes) =
        run_noted("matmul", &[], &[large.clone(), square([0.0; 4]).file(Dtype::F64)]).unwrap();
    assert!(notes.is_empty() && product.elements == [0.0; 4]);
    let tiny = square([1e-200, 0.0, 0.0, 1e-200]).file(Dtype::F64);
    let (x, notes) = run_noted("lu-solve", &[], &[tiny, column]).unwrap();
    assert!(x.elements[0].is_infinite());
    assert_eq!(notes.iter().collect::<Vec<_>>(), [Note::Overflow]);
    // SciPy gives garbage without a word.
    let b = Matrix::vector(&[1.0, 1.0]).file(Dtype::F64);
    let wild = square([1e308, -1e308, 1e308, 1e308]).file(Dtype::F64);
    let error = run("lu-solve", &[wild, b]).unwrap_err();
    assert!(error.contains("beyond the largest float64 in column 1"), "{error}");
}
