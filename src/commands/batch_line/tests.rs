use super::*;

fn parsed(text: &str) -> Parsed {
    parsed_by(text.as_bytes(), false)
}

fn parsed_by(text: &[u8], faults: bool) -> Parsed {
    parsed_as(text, Allowed { faults, ..trusted(&Registry::builtin()) })
}

fn trusted(registry: &Registry) -> Allowed<'_> {
    Allowed {
        registry,
        backend: Backend::Processes,
        faults: false,
        is_confined: false,
        timeout: Some(Duration::from_secs(10)),
    }
}

fn parsed_as(text: &[u8], allowed: Allowed<'_>) -> Parsed {
    parse(7, text, allowed)
}

#[test]
fn a_confined_line_lowers_its_limits_and_raises_none() {
    let registry = Registry::builtin();
    for (line, why) in [
        (r#""kernel": "blur", "params": {"max_pixels": 200000001}"#, "max_pixels is more than"),
        (r#""kernel": "blur", "params": {"max_pixels": 4e8}"#, "max_pixels is more than"),
        (r#""kernel": "matmul", "params": {"max_bytes": 1073741825}"#, "max_bytes is more than"),
        (r#""kernel": "blur", "timeout_ms": 10001"#, "timeout_ms is more than --timeout 10s"),
        (r#""kernel": "blur", "params": {"max_pixels": 2e8}, "timeout_ms": 10000"#, ""),
        (r#""kernel": "blur", "params": {"max_pixels": 1000, "sigma": 9}"#, ""),
    ] {
        let inputs = if line.contains("matmul") { r#"["a", "b"]"# } else { r#"["a"]"# };
        let line = format!(r#"{{{line}, "inputs": {inputs}}}"#);
        let trusted = trusted(&registry);
        assert!(parsed_as(line.as_bytes(), trusted).job.is_ok(), "{line}");
        let confined = Allowed { is_confined: true, ..trusted };
        match parsed_as(line.as_bytes(), confined).job {
            Ok(_) => assert_eq!(why, "", "{line}"),
            Err(said) => assert!(!why.is_empty() && said.contains(why), "{line}: {said}"),
        }
    }
}

#[test]
fn a_whole_line_is_read() {
    let line = r#"{"id": {"a": [1]}, "kernel": "blur", "params": {"sigma": 2},
        "inputs": ["a.png"], "output": "b.jpg", "timeout_ms": 5000}"#;
    let parsed = parsed(line);
    let job = parsed.job.unwrap();
    assert_eq!(parsed.info.id.to_string(), r#"{"a": [1]}"#);
    assert!(parsed.info.is_named);
    assert_eq!(job.params.get("sigma"), Some(&Value::Int(2)));
    assert_eq!(job.params.get("format"), Some(&Value::Text("jpeg".into())));
    assert_eq!(job.inputs, [Source::File("a.png".into())]);
    assert_eq!(job.timeout, Some(Duration::from_secs(5)));
}

#[test]
fn what_is_null_is_as_if_it_were_not_there() {
    let line = r#"{"kernel": "noop", "params": null, "inputs": null, "input_bytes": null,
        "output": null, "output_bytes": null, "timeout_ms": null}"#;
    let parsed = parsed(line);
    let job = parsed.job.unwrap();
    assert!(job.params.is_empty() && job.inputs.is_empty());
    assert_eq!((parsed.info.output, job.timeout, parsed.info.is_named), (None, None, false));
}

#[test]
fn names_that_are_not_utf_8_go_in_as_they_come_out() {
    let line = r#"{"kernel": "blur", "inputs": ["a\ufffd.png"], "input_bytes": "Yf8ucG5n",
        "output": "b\ufffd.png", "output_bytes": "Yv8ucG5n"}"#;
    let parsed = parsed(line);
    let file = brigade_report::FileBytes::of;
    assert_eq!(file(&parsed.info.inputs), file(&[odd(b"a\xff.png")]));
    assert_eq!(parsed.info.output, Some(odd(b"b\xff.png")));
    assert_eq!(parsed.job.unwrap().inputs, [Source::File(odd(b"a\xff.png"))]);
}

fn odd(name: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(name).into()
}

#[test]
fn every_mistake_is_told_and_the_id_kept() {
    for (line, expected) in [
        ("{", "not JSON"),
        ("[1]", "not a job"),
        (r#"{"id":7}"#, "missing field `kernel`"),
        (r#"{"id":7,"kernel":7}"#, "kernel: invalid type: integer `7`, expected a string"),
        (r#"{"id":7,"kernel":"blur","inptus":[]}"#, "unknown field `inptus`"),
        (r#"{"id":7,"kernel":"bulr"}"#, "did you mean `blur`"),
        (r#"{"id":7,"kernel":"blur"}"#, "reads 1 input"),
        (r#"{"id":7,"kernel":"blur","kernel":"noop"}"#, "field `kernel` is given twice"),
        (r#"{"id":7,"id":8,"kernel":"noop"}"#, "field `id` is given twice"),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"params":{"sgima":[2]}}"#, "`sigma`"),
        (
            r#"{"id":7,"kernel":"blur","inputs":["a"],"params":{"sigma":2,"sigma":3}}"#,
            "parameter `sigma` is given twice",
        ),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"params":[2]}"#, "params: invalid type"),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"output":"b.bmp"}"#, ".bmp"),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"output_bytes":["YQ==","Yg=="]}"#, "2 names"),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"timeout_ms":0}"#, "timeout_ms"),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"timeout_ms":-5}"#, "-5"),
        (r#"{"id":7,"kernel":"blur","inputs":["a"],"timeout_ms":"5"}"#, "timeout_ms: invalid type"),
        (r#"{"id":7,"kernel":"blur","inputs":"a"}"#, "inputs: invalid type: string"),
    ] {
        let parsed = parsed(line);
        let error = parsed.job.unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
        assert!(!error.contains('\n'), "{error}");
        assert_eq!(parsed.info.id.to_string(), "7");
    }
    let latin = parsed_by(b"{\"kernel\":\"\xe9\"}", false);
    assert_eq!(latin.job.unwrap_err(), "not UTF-8 (column 12)");
    let deep = format!(r#"{{"id":{}{},"kernel":"noop"}}"#, "[".repeat(200), "]".repeat(200));
    assert!(parsed(&deep).job.unwrap_err().contains("in each other"));
}

/// Every type of parameter, with every type of JSON value.
#[test]
fn a_value_of_the_wrong_type_is_told_by_its_type() {
    // A real number, an integer, a boolean, a choice.
    let params = [
        ("blur", "sigma", "a number is expected"),
        ("median", "radius", "a whole number is expected"),
        ("transpose", "allow_nan", "true or false is expected"),
        ("resize", "filter", "a string is expected"),
    ];
    // For each JSON value: its type, and which of the four parameters accept it.
    let values = [
        ("2", "a number", [true, true, false, false]),
        ("2.0", "a number", [true, true, false, false]),
        ("2e0", "a number", [true, true, false, false]),
        ("true", "a truth value", [false, false, true, false]),
        ("\"2\"", "a string", [false, false, false, true]),
        ("\"true\"", "a string", [false, false, false, true]),
        ("null", "null", [false; 4]),
        ("[2]", "a list", [false; 4]),
        ("{\"a\":2}", "an object", [false; 4]),
    ];
    for (place, (kernel, name, expected)) in params.into_iter().enumerate() {
        for (value, given, is_right) in values {
            let line = format!(
                r#"{{"kernel":"{kernel}","inputs":["a.png"],"params":{{"{name}":{value}}}}}"#
            );
            let error = parsed(&line).job.err().unwrap_or_default();
            let told = format!(
                "`{kernel}` cannot take {name}={value}: {expected}, {given} was given; {name} is "
            );
            let is_told = error.starts_with(&told);
            assert_eq!(is_told, !is_right[place], "{line}: {error:?}");
        }
    }
}

#[test]
fn a_number_is_taken_as_it_is_or_refused_with_its_digits() {
    let given = |kernel: &str, name: &str, value: &str| {
        let params = format!(r#""params":{{"{name}":{value}}}"#);
        parsed(&format!(r#"{{"kernel":"{kernel}","inputs":["a"],{params}}}"#)).job
    };
    for (kernel, name, value) in [
        ("blur", "sigma", "1e400"),
        ("blur", "sigma", "-2"),
        ("median", "radius", "2.5"),
        ("median", "radius", "340282366920938463463374607431768211455"),
        // 2^63, one more than the largest number of steps. As f64 both are the same number.
        ("spin", "steps", "9223372036854775808"),
    ] {
        let error = given(kernel, name, value).unwrap_err();
        assert!(error.contains(&format!("{name}={value}: {name} is a ")), "{error}");
    }
}
