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
        for dtype in Dtype::ALL {
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
        (file(good, &[0; 25]), "1 byte behind"),
        (file(&good.replace("<f8", "<c16"), &[0; 48]), "<c16 (complex128) is not supported"),
        (b"PK\x03\x04".to_vec(), "a .npz archive"),
        (b"\x80\x04\x95".to_vec(), "a pickle"),
        (b"\x93NUM".to_vec(), "truncated"),
        (file(&good.replace("'<f8'", "[('x', '<f8')]"), &[0; 24]), "a structured one"),
        (file(&good.replace("'<f8'", "('<f8', (2,))"), &[0; 48]), "a subarray"),
        (file(&good.replace("(3,)", "(3)"), &[0; 24]), "not understood at `)"),
        (file(&good.replace("}", "} 7"), &[0; 24]), "not understood at `7`"),
        (file(&good.replace("}", "'descr': '<f8'}"), &[0; 24]), "`descr` twice"),
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

/// A file with elements of this type, each as its bytes in little-endian order, in both orders.
fn files(code: &str, shape: &str, elements: &[&[u8]]) -> [Vec<u8>; 2] {
    let of = |order: &str, is_big: bool| {
        let text =
            format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': {shape}, }}");
        let mut data = Vec::new();
        for element in elements {
            let mut bytes = element.to_vec();
            if is_big {
                bytes.reverse();
            }
            data.extend(bytes);
        }
        file(&text, &data)
    };
    [of("<", false), of(">", true)]
}

#[test]
fn every_type_in_both_orders_becomes_the_same_numbers() {
    type Two<'a> = [&'a [u8]; 2];
    let cases: [(&str, Two<'_>, [f64; 2]); 12] = [
        ("b1", [&[0], &[1]], [0.0, 1.0]),
        ("i1", [&[0x80], &[3]], [-128.0, 3.0]),
        ("u1", [&[0x80], &[3]], [128.0, 3.0]),
        ("i2", [&[0, 0x80], &[3, 1]], [-32768.0, 259.0]),
        ("u2", [&[0, 0x80], &[3, 1]], [32768.0, 259.0]),
        ("i4", [&[0, 0, 0, 0x80], &[3, 1, 0, 0]], [-2_147_483_648.0, 259.0]),
        ("u4", [&[0, 0, 0, 0x80], &[3, 1, 0, 0]], [2_147_483_648.0, 259.0]),
        (
            "i8",
            [&i64::MIN.to_le_bytes(), &(1_i64 << 53).to_le_bytes()],
            [-9_223_372_036_854_775_808.0, 9_007_199_254_740_992.0],
        ),
        (
            "u8",
            [&(1_u64 << 63).to_le_bytes(), &5_u64.to_le_bytes()],
            [9_223_372_036_854_775_808.0, 5.0],
        ),
        // The smallest subnormal, and the largest.
        ("f2", [&[1, 0], &[0xff, 0x7b]], [1.0 / 16_777_216.0, 65504.0]),
        ("f4", [&0.1_f32.to_le_bytes(), &(-0.0_f32).to_le_bytes()], [f64::from(0.1_f32), -0.0]),
        ("f8", [&0.1_f64.to_le_bytes(), &f64::MIN.to_le_bytes()], [0.1, f64::MIN]),
    ];
    for (code, elements, expected) in cases {
        for bytes in files(code, "(2,)", &elements) {
            let array = parse(&bytes).unwrap();
            let got = array.floats::<f64>().unwrap();
            let got: Vec<u64> = got.iter().map(|number| number.to_bits()).collect();
            assert_eq!(got, expected.map(f64::to_bits), "{code}");
        }
    }
}

#[test]
fn a_number_that_would_be_another_one_is_refused_by_its_place() {
    let large = ((1_i64 << 53) + 1).to_le_bytes();
    let one = 1_i64.to_le_bytes();
    for bytes in files("i8", "(2, 2)", &[&one, &one, &one, &large]) {
        let error = parse(&bytes).unwrap().floats::<f64>().unwrap_err().to_string();
        assert_eq!(error, "it holds 9007199254740993 at [1, 1], which float64 cannot hold exactly");
    }
    let [bytes, _] = files("u8", "(1,)", &[&u64::MAX.to_le_bytes()]);
    assert!(parse(&bytes).unwrap().floats::<f64>().is_err());
    let single = |code: &str, element: &[u8]| {
        let [bytes, _] = files(code, "(1,)", &[element]);
        parse(&bytes).unwrap().floats::<f32>().map(|floats| floats[0]).map_err(|e| e.to_string())
    };
    assert_eq!(single("i4", &(1_i32 << 24).to_le_bytes()), Ok(16_777_216.0));
    assert!(
        single("i4", &((1_i32 << 24) + 1).to_le_bytes()).unwrap_err().contains("16777217 at [0]")
    );
    assert!(
        single("f8", &0.5_f64.to_le_bytes()).unwrap_err().contains("float32 would lose digits")
    );
    assert!(single("b1", &[2]).unwrap_err().contains("it holds 2 at [0], and a bool is 0 or 1"));
}

#[test]
fn words_are_the_bits_of_the_elements() {
    for bytes in files("f2", "(2,)", &[&[1, 2], &[3, 4]]) {
        assert_eq!(parse(&bytes).unwrap().words::<u16>().unwrap()[..], [0x0201, 0x0403]);
    }
}

#[test]
fn an_index_follows_the_order_of_the_file() {
    let [bytes, _] = files("u1", "(2, 3)", &[&[0_u8][..]; 6]);
    let mut array = parse(&bytes).unwrap();
    assert_eq!((array.index(1), array.index(5)), (vec![0, 1], vec![1, 2]));
    array.fortran = true;
    assert_eq!((array.index(1), array.index(5)), (vec![1, 0], vec![1, 2]));
}
