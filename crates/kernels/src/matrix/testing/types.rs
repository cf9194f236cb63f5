//! Types of elements, and remarks on results.

use brigade_proto::Note;

use super::*;

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
                let file = [file];
                let error = run("transpose", &file).unwrap_err();
                let name = name.replace("-NaN", "NaN");
                assert_eq!(error, format!("input 1 holds {name} at [0, 1]"), "{dtype}");
                run_noted("transpose", &[("allow_nan", true)], &file).unwrap();
                let [file] = file;
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
