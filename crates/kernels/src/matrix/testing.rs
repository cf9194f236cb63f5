//! Every matrix kernel against its definition.

mod types;

use brigade_proto::{Notes, Params};

use super::operand::synthetic;
use crate::npy::{self, Dtype};
use crate::synth::SynthRng;
use crate::{Always, Context, HeapSink, Registry, Size};

#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    shape: Vec<usize>,
    elements: Vec<f64>,
}

impl Matrix {
    fn random(rows: usize, columns: usize, seed: u64) -> Self {
        let mut rng = SynthRng::new(seed);
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
