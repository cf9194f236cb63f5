//! `brigade batch`.

use std::ffi::OsStr;
use std::io::{BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::util::{BACKENDS, TestDir, finish, next_line, signal};

#[test]
fn one_line_in_is_one_line_out() {
    let dir = TestDir::new();
    dir.image("a.png", "32x32");
    for backend in BACKENDS {
        let input = format!(
            "{}\n\n{}\n{}\n",
            r#"{"id": {"mine": 1}, "kernel": "blur", "params": {"sigma": 2}, "inputs": ["a.png"]}"#,
            json!({"kernel": "blur", "inputs": ["a.png"], "output": format!("{backend}.jpg")}),
            r#"{"id": null, "kernel": "spin", "params": {"us": 5}, "timeout_ms": 5000}"#,
        );
        let done = dir.feed(&format!("batch - --ordered -b {backend}"), &input).expect(0);
        let rows = done.lines();
        assert_eq!(rows[0]["id"], json!({"mine": 1}));
        assert_eq!(rows[1]["id"], 3, "the line's number");
        assert_eq!(rows[2]["id"], Value::Null);
        assert_eq!(rows[2]["line"], 4);
        assert_eq!(rows[1]["output"], format!("{backend}.jpg"));
        assert_eq!(dir.read(&format!("{backend}.jpg"))[..2], [0xff, 0xd8]);
        assert!(rows.iter().all(|row| row["status"] == "ok"));
        assert!(rows.iter().all(|row| row["spans_us"].as_object().unwrap().len() == 7));
    }
}

/// The text of a field of an object without others in it before that field.
fn raw<'a>(row: &'a str, name: &str) -> &'a str {
    let (_, rest) = row.split_once(&format!("\"{name}\":")).unwrap();
    rest.split_once(",\"").unwrap().0
}

#[test]
fn an_id_comes_back_digit_for_digit() {
    let dir = TestDir::new();
    let lines = include_str!("files/ids.jsonl");
    let mut ids: Vec<&str> = lines.lines().map(|line| raw(line, "id")).collect();
    ids.extend(["1e400", "-0", "1.0", "1E+2", "-12345678901234567890.5000", r#""\u00e9\/""#]);
    ids.push(r#"{"b": [1.50, 2], "a":1e400}"#);
    let line = |id: &&str| format!("{{\"id\":{id},\"kernel\":\"noop\"}}\n");
    // One with a mistake in it keeps its id, too.
    let input: String = ids.iter().map(line).chain(["{\"id\":-0,\"kernel\":7}\n".into()]).collect();
    ids.push("-0");
    dir.write("ids.jsonl", input);
    for backend in ["sync", "processes"] {
        let flags = format!("-b {backend} --trace {backend}.json --journal {backend}.journal");
        let done = dir.run(&format!("batch ids.jsonl --ordered {flags}")).expect(1);
        let got: Vec<&str> = done.stdout.lines().map(|row| raw(row, "id")).collect();
        assert_eq!(got, ids);
        let trace = String::from_utf8(dir.read(&format!("{backend}.json"))).unwrap();
        for id in &ids {
            assert!(trace.contains(&format!("{{\"job\":{id}")), "{id}");
        }
        // Each is another job than the others.
        let again = dir.run(&format!(
            "batch ids.jsonl --ordered -b {backend} --journal {backend}.journal --resume"
        ));
        let again = again.expect(1).says(&format!("{} jobs done", ids.len() - 1));
        let got: Vec<&str> = again.stdout.lines().map(|row| raw(row, "id")).collect();
        assert_eq!(got, ids);
        assert_eq!(again.stdout.matches("\"resumed\":true").count(), ids.len() - 1);
    }
}

#[test]
fn ids_that_differ_in_their_last_digit_are_two_jobs_of_a_journal() {
    let dir = TestDir::new();
    let line = |digit| {
        format!("{{\"id\":34028236692093846346337460743176821145{digit},\"kernel\":\"noop\"}}\n")
    };
    dir.write("one", line(5));
    dir.write("other", line(4));
    dir.run("batch one -b sync --journal j").expect(0);
    let other = dir.run("batch other -b sync --journal j --resume").expect(0);
    assert!(!other.stdout.contains("resumed"), "{other:?}");
    let one = dir.run("batch one -b sync --journal j --resume").expect(0);
    assert!(one.stdout.contains("resumed"), "{one:?}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_batch_or_of_a_result() {
    let dir = TestDir::new();
    dir.write("bom.jsonl", include_bytes!("files/bom.jsonl"));
    let rows = dir.run("batch bom.jsonl --ordered -b sync").expect(0).lines();
    assert_eq!(rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(), [1, 2]);
    let text = include_str!("files/bom.jsonl");
    assert_eq!(dir.feed("batch - -b sync", text).expect(0).lines().len(), 2);
    dir.run("run noop --jobs 2 -b sync --format json --output r.json").expect(0);
    dir.write("r.json", [b"\xef\xbb\xbf", &dir.read("r.json")[..]].concat());
    dir.run("report r.json").expect(0);
}

#[test]
fn a_stream_that_is_no_batch_ends_with_exit_2_and_what_ran_before_counts() {
    let dir = TestDir::new();
    let zeros = "\0".repeat(17 << 20);
    for (input, code, said) in [
        ("{\"kernel\":\"noop\"}\0".to_owned(), 2, "zero bytes"),
        (zeros.clone(), 2, "zero bytes"),
        (" ".repeat(17 << 20), 2, "line 1 has no end within 16 MiB;"),
        (format!("{{\"kernel\":\"noop\"}}\n{zeros}"), 1, "line 2 has no end within 16 MiB"),
    ] {
        let done = dir.feed("batch - -b sync", &input).expect(code).says("- is no batch: ");
        let done = done.says(said);
        assert_eq!(done.stdout.lines().count(), usize::from(code == 1), "{done:?}");
    }
}

#[test]
fn names_that_are_not_utf_8_come_out_with_their_bytes_and_go_in_again() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    let odd = |name: &[u8]| dir.path("").join(OsStr::from_bytes(name));
    std::fs::rename(dir.path("a.png"), odd(b"a\xff.png")).unwrap();
    let mut run = dir.command("run blur -b sync --format json -o");
    let run =
        finish(run.arg(OsStr::from_bytes(b"b\xfe.png")).arg(odd(b"a\xff.png")).spawn().unwrap());
    let row = &run.expect(0).json()["jobs"][0];
    let input = BASE64.encode(odd(b"a\xff.png").as_os_str().as_bytes());
    assert_eq!(row["input_bytes"], input);
    assert_eq!(
        (&row["output"], &row["output_bytes"]),
        (&"b\u{fffd}.png".into(), &"Yv4ucG5n".into())
    );
    let line = json!({
        "kernel": row["kernel"], "inputs": [row["input"]], "input_bytes": row["input_bytes"],
        "output": row["output"], "output_bytes": row["output_bytes"],
    });
    std::fs::remove_file(odd(b"b\xfe.png")).unwrap();
    let other = json!({
        "kernel": "blur", "inputs": [{"bytes": "Yf8ucG5n"}], "output": {"bytes": "Y/4ucG5n"},
    });
    let input = format!("{line}\n{other}\n");
    for flags in ["", "--resume"] {
        let done = dir.feed(&format!("batch - --ordered -b sync --journal j {flags}"), &input);
        let rows = done.expect(0).lines();
        for key in ["input", "input_bytes", "output", "output_bytes", "digest"] {
            assert_eq!(rows[0][key], row[key], "{key}");
        }
        assert_eq!(rows[1]["input_bytes"], "Yf8ucG5n");
        assert_eq!(rows[1]["output_bytes"], "Y/4ucG5n");
        assert_eq!(rows[1]["resumed"] == true, !flags.is_empty());
    }
    assert_eq!(
        std::fs::read(odd(b"b\xfe.png")).unwrap(),
        std::fs::read(odd(b"c\xfe.png")).unwrap()
    );
    let plain = dir.run("run noop --jobs 1 -b sync --format json").expect(0);
    assert!(!plain.stdout.contains("_bytes\":\""), "only where it is needed");
}

#[test]
fn a_wrong_line_fails_with_its_number_and_the_rest_runs() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    dir.write("old.png", "old");
    let good = r#"{"kernel":"spin","params":{"us":1}}"#;
    let wrong = [
        ("this is not JSON", "not JSON"),
        (r#"{"kernel":"bulr"}"#, "did you mean `blur`"),
        (r#"{"kernel":"spin","params":{"us":-1}}"#, "us"),
        (r#"{"kernel":"spin","parms":{}}"#, "parms"),
        (r#"{"kernel":"blur","inputs":["no.png"]}"#, "no.png"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":"old.png"}"#, "--force"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":"no/b.png"}"#, "there is no directory no"),
    ];
    let mut input = String::new();
    for (line, _) in wrong {
        input += &format!("{good}\n{line}\n");
    }
    dir.write("jobs.jsonl", &input);
    let done = dir.run("batch jobs.jsonl --ordered -b threads").expect(1);
    let rows = done.lines();
    assert_eq!(rows.len(), 2 * wrong.len());
    for (pair, (line, expected)) in rows.chunks(2).zip(wrong) {
        assert_eq!(pair[0]["status"], "ok");
        assert_eq!(pair[1]["status"], "failed", "{line}");
        let error = pair[1]["error"].as_str().unwrap();
        let number = pair[1]["line"].as_u64().unwrap();
        assert!(error.contains(expected), "{line}: {error}");
        assert!(error.starts_with(&format!("line {number}: ")), "{error}");
    }
    assert_eq!(dir.read("old.png"), b"old");
}

#[test]
fn two_lines_never_write_one_file() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    let input = r#"{"kernel":"blur","inputs":["a.png"],"output":"b.png"}
{"kernel":"blur","inputs":["a.png"],"output":"./b.png"}
"#;
    for flags in ["", "--force"] {
        let done = dir.feed(&format!("batch - --ordered -b threads {flags}"), input).expect(1);
        let rows = done.lines();
        assert_eq!(rows[0]["status"], "ok");
        assert!(rows[1]["error"].as_str().unwrap().contains("an earlier line"), "{rows:?}");
        std::fs::remove_file(dir.path("b.png")).unwrap();
    }
}

#[test]
fn results_come_while_input_stays_open() {
    let dir = TestDir::new();
    let mut child = dir.command("batch - -b threads").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for id in 0..3 {
        writeln!(stdin, r#"{{"id":{id},"kernel":"spin","params":{{"us":1}}}}"#).unwrap();
        let row: Value = serde_json::from_str(&next_line(&mut stdout)).unwrap();
        assert_eq!(row["id"], id);
    }
    // It waits for a line; a signal ends it all the same.
    signal(child.id(), "TERM");
    finish(child).expect(143);
    drop(stdin);
}

#[test]
fn order_is_kept_behind_a_slow_job() {
    let dir = TestDir::new();
    let mut input = String::from("{\"kernel\":\"spin\",\"params\":{\"us\":100000}}\n");
    for _ in 0..600 {
        input += "{\"kernel\":\"spin\",\"params\":{\"us\":1}}\n";
    }
    for backend in ["threads", "processes"] {
        let done = dir.feed(&format!("batch - --ordered -w 2 -b {backend}"), &input).expect(0);
        let ids: Vec<u64> = done.lines().iter().map(|row| row["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=601).collect::<Vec<_>>());
    }
}

#[test]
fn an_endless_batch_ends_quietly_when_nobody_reads() {
    let dir = TestDir::new();
    let mut child = dir.command("batch - -b threads").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        while writeln!(stdin, r#"{{"kernel":"spin","params":{{"us":10}}}}"#).is_ok() {}
    });
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    next_line(&mut stdout);
    drop(stdout);
    let done = finish(child).expect(141);
    assert!(!done.stderr.contains("error"), "{}", done.stderr);
    feeder.join().unwrap();
}

#[test]
fn a_batch_that_cannot_be_read_is_exit_2() {
    let dir = TestDir::new();
    dir.run("batch no.jsonl").expect(2).says("no.jsonl");
    dir.run("batch .").expect(2).says("directory");
    dir.run("batch - --output no/such.jsonl").expect(2).says("--output");
    // Nothing is wrong with an empty stream, but it is told.
    dir.write("empty.jsonl", "\n  \n");
    for line in ["batch -", "batch empty.jsonl"] {
        let done = dir.run(line).expect(0).says("has no lines: no job was run");
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn an_endless_line_fails_and_the_next_runs() {
    let dir = TestDir::new();
    let input = format!("{}\n{}\n", "x".repeat(3 << 20), r#"{"kernel":"spin"}"#);
    let rows = dir.feed("batch - --ordered -b sync", &input).expect(1).lines();
    assert!(rows[0]["error"].as_str().unwrap().contains("longer than"));
    assert_eq!(rows[1]["status"], "ok");
}
