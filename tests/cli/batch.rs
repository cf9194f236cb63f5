//! `brigade batch`.

use std::io::{BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::util::{BACKENDS, Kitchen, finish, next_line, signal};

#[test]
fn one_line_in_is_one_line_out() {
    let kitchen = Kitchen::new();
    kitchen.image("a.png", "32x32");
    for backend in BACKENDS {
        let input = format!(
            "{}\n\n{}\n{}\n",
            r#"{"id": {"mine": 1}, "kernel": "blur", "params": {"sigma": 2}, "inputs": ["a.png"]}"#,
            json!({"kernel": "blur", "inputs": ["a.png"], "output": format!("{backend}.jpg")}),
            r#"{"id": null, "kernel": "spin", "params": {"us": 5}, "timeout_ms": 5000}"#,
        );
        let done = kitchen.feed(&format!("batch - --ordered -b {backend}"), &input).expect(0);
        let rows = done.lines();
        assert_eq!(rows[0]["id"], json!({"mine": 1}));
        assert_eq!(rows[1]["id"], 3, "the line's number");
        assert_eq!(rows[2]["id"], Value::Null);
        assert_eq!(rows[2]["line"], 4);
        assert_eq!(rows[1]["output"], format!("{backend}.jpg"));
        assert_eq!(kitchen.read(&format!("{backend}.jpg"))[..2], [0xff, 0xd8]);
        assert!(rows.iter().all(|row| row["status"] == "ok"));
        assert!(rows.iter().all(|row| row["spans_us"].as_object().unwrap().len() == 7));
    }
}

#[test]
fn a_wrong_line_fails_with_its_number_and_the_rest_runs() {
    let kitchen = Kitchen::new();
    kitchen.image("a.png", "8x8");
    kitchen.write("old.png", "old");
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
    kitchen.write("jobs.jsonl", &input);
    let done = kitchen.run("batch jobs.jsonl --ordered -b threads").expect(1);
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
    assert_eq!(kitchen.read("old.png"), b"old");
}

#[test]
fn two_lines_never_write_one_file() {
    let kitchen = Kitchen::new();
    kitchen.image("a.png", "8x8");
    let input = r#"{"kernel":"blur","inputs":["a.png"],"output":"b.png"}
{"kernel":"blur","inputs":["a.png"],"output":"./b.png"}
"#;
    for flags in ["", "--force"] {
        let done = kitchen.feed(&format!("batch - --ordered -b threads {flags}"), input).expect(1);
        let rows = done.lines();
        assert_eq!(rows[0]["status"], "ok");
        assert!(rows[1]["error"].as_str().unwrap().contains("an earlier line"), "{rows:?}");
        std::fs::remove_file(kitchen.path("b.png")).unwrap();
    }
}

#[test]
fn results_come_while_input_stays_open() {
    let kitchen = Kitchen::new();
    let mut child = kitchen.command("batch - -b threads").stdin(Stdio::piped()).spawn().unwrap();
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
    let kitchen = Kitchen::new();
    let mut input = String::from("{\"kernel\":\"spin\",\"params\":{\"us\":100000}}\n");
    for _ in 0..600 {
        input += "{\"kernel\":\"spin\",\"params\":{\"us\":1}}\n";
    }
    for backend in ["threads", "processes"] {
        let done = kitchen.feed(&format!("batch - --ordered -w 2 -b {backend}"), &input).expect(0);
        let ids: Vec<u64> = done.lines().iter().map(|row| row["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=601).collect::<Vec<_>>());
    }
}

#[test]
fn an_endless_batch_ends_quietly_when_nobody_reads() {
    let kitchen = Kitchen::new();
    let mut child = kitchen.command("batch - -b threads").stdin(Stdio::piped()).spawn().unwrap();
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
    let kitchen = Kitchen::new();
    kitchen.run("batch no.jsonl").expect(2).says("no.jsonl");
    kitchen.run("batch .").expect(2).says("directory");
    kitchen.run("batch - --output no/such.jsonl").expect(2).says("--output");
    // Nothing is wrong with an empty stream, but it is told.
    kitchen.write("empty.jsonl", "\n  \n");
    for line in ["batch -", "batch empty.jsonl"] {
        let done = kitchen.run(line).expect(0).says("has no lines: no job was run");
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn an_endless_line_fails_and_the_next_runs() {
    let kitchen = Kitchen::new();
    let input = format!("{}\n{}\n", "x".repeat(3 << 20), r#"{"kernel":"spin"}"#);
    let rows = kitchen.feed("batch - --ordered -b sync", &input).expect(1).lines();
    assert!(rows[0]["error"].as_str().unwrap().contains("longer than"));
    assert_eq!(rows[1]["status"], "ok");
}
