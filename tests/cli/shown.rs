//! Names and messages of others: nothing in what a person reads is an order to a terminal, to the
//! log of a build service, or to a spreadsheet.

use brigade_proto::{is_printable, printable};
use serde_json::json;

use crate::util::TestDir;

/// What a name or a message may hold. Among others: a line that clears the screen, what does the
/// same in one character, a command of a build's log, and what turns the rest around.
const HOSTILE: &str =
    "a\n::error::x\n##[error]y\u{1b}[2J\u{9b}2J\u{7f}\u{202e}gnp\u{2066}\r\u{2028}";

#[track_caller]
fn is_harmless(what: &str, text: &str) {
    for line in text.lines() {
        assert!(line.chars().all(is_printable), "{what}: {line:?}");
        let begins = line.trim_start();
        assert!(!begins.starts_with("::") && !line.contains("##["), "{what}: {line:?}");
    }
}

#[test]
fn names_of_files_give_no_orders() {
    let dir = TestDir::new();
    // A `/` is the one thing that no name can hold.
    let names = [HOSTILE.to_owned(), "::error::b.png".to_owned(), "\u{9b}2J.png".to_owned()];
    for name in &names {
        dir.write(name, "no image");
    }
    let files: Vec<String> =
        names.iter().map(|name| shell_words::quote(name).into_owned()).collect();
    let files = files.join(" ");
    for line in [
        format!("run blur {files} --keep-going"),
        format!("run blur {files} --keep-going --format json"),
        format!("run blur {files} --keep-going --format jsonl --log debug"),
        format!("run touch {files} -o 'out\u{202e}\n::error::/' --journal '{HOSTILE}j'"),
        format!("run touch {files} -o 'out\u{202e}\n::error::/'"),
        format!("run touch {files} -o '{HOSTILE}'"),
        format!("run blur 'no{HOSTILE}'"),
        format!("run '{HOSTILE}'"),
        format!("run blur {files} -p '{HOSTILE}=1'"),
        format!("batch '{HOSTILE}'"),
        format!("report '{HOSTILE}'"),
        format!("compare '{HOSTILE}' '{HOSTILE}'"),
        format!("--{HOSTILE}"),
    ] {
        let done = dir.run(&line);
        assert!(done.code.is_some_and(|code| code < 3), "{done:?}");
        is_harmless(&line, &done.stdout);
        is_harmless(&line, &done.stderr);
    }
    let line = json!({"id": HOSTILE, "kernel": "blur", "inputs": [HOSTILE], "output": HOSTILE});
    let done = dir.feed("batch - --force", &format!("{line}\n")).expect(1);
    is_harmless("batch", &done.stdout);
    is_harmless("batch", &done.stderr);
    // And JSON says the same all the same.
    assert_eq!(done.lines()[0]["id"], HOSTILE);
    let done = dir.run(&format!("run blur {files} --keep-going")).expect(1);
    assert!(done.stdout.contains(&format!("failed: {}: not an image", printable(HOSTILE))));
}

#[test]
fn what_a_saved_result_holds_gives_no_orders() {
    let dir = TestDir::new();
    let saved = |name: &str, times: f64| {
        let samples: Vec<f64> =
            (0..20).map(|i| times * (1.0 + f64::from(i % 4) / 1000.0)).collect();
        let cell = |text: &str, unit: &str| {
            json!({"experiment": text, "case": {"backend": text, text: 1}, "metric": text,
                   "unit": unit, "samples": samples, "error": null})
        };
        let cells = [cell(HOSTILE, HOSTILE), cell("=cmd()", "@SUM(1)"), cell("::error::z", "+1")];
        let value = json!({"schema": "brigade.bench.v1", "host": {"cpu": HOSTILE},
                           "experiments": cells, "warnings": [HOSTILE], "findings": [HOSTILE]});
        dir.write(name, value.to_string());
    };
    saved("base.json", 1.0);
    saved("head.json", 1.5);
    let exports = ["csv", "csv-wide", "markdown", "junit", "openmetrics", "json", "jsonl"];
    let exports: String = exports.map(|form| format!(" --export {form}={form}")).concat();
    let done = dir.run(&format!("compare base.json head.json{exports}")).expect(3);
    is_harmless("compare", &done.stdout);
    is_harmless("compare", &done.stderr);
    let read = |name: &str| String::from_utf8(dir.read(name)).unwrap();
    for form in ["csv", "csv-wide", "markdown", "openmetrics", "jsonl"] {
        is_harmless(form, &read(form));
    }
    // XML replaces what it cannot hold.
    assert!(read("junit").chars().all(|c| c == '\n' || is_printable(c)));
    for row in ["csv", "csv-wide"].into_iter().flat_map(|form| csv(&read(form))) {
        for cell in row {
            let begins = cell.starts_with(['=', '+', '@', '-', '\t', '\r']);
            assert!(!begins || cell.parse::<f64>().is_ok(), "{cell}");
        }
    }
    assert!(read("csv").contains("'=cmd()") && read("csv").contains("'@SUM(1)"));
    // Its own commands are whole, and there are no others.
    let done = dir.run("compare base.json head.json --export github=-").expect(3);
    let commands: Vec<&str> =
        done.stdout.lines().filter(|line| line.trim_start().starts_with("::")).collect();
    assert_eq!(commands.len(), 3, "{}", done.stdout);
    assert!(
        commands.iter().all(|line| line.starts_with("::error title=worse%3A ")),
        "{commands:?}"
    );
    assert!(done.stdout.chars().all(|c| c == '\n' || is_printable(c)));
    let page = dir.run("report head.json -o -").expect(0).stdout;
    assert!(page.chars().all(|c| c == '\n' || is_printable(c)));
}

/// Rows of cells.
fn csv(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}
