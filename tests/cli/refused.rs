//! Everything that can be seen before a job starts, in tables: exit code 2, one line on
//! standard error that names what is wrong, nothing on standard output, and the directory
//! as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::util::TestDir;

/// A directory with a bit of everything.
fn dir() -> TestDir {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    dir.write("s/a.png", dir.read("a.png"));
    dir.write("old.png", "old");
    dir.write("jobs.jsonl", "{\"kernel\":\"spin\",\"params\":{\"us\":1}}\n");
    dir.write("junk.json", "{");
    dir.write("run.json", r#"{"schema":"brigade.run.v1","jobs":[]}"#);
    dir.write("strange.json", r#"{"schema":"other.v1"}"#);
    let bench = |experiment: &str| {
        let cell = format!(
            r#"{{"experiment":"{experiment}","case":{{"backend":"threads"}},"metric":"m",
                "unit":"us","n":3,"samples":[1,2,3],"per_block":[1,1,1]}}"#
        );
        format!(r#"{{"schema":"brigade.bench.v1","host":{{}},"experiments":[{cell}]}}"#)
    };
    dir.write("r.json", bench("latency"));
    dir.write("utf16", b"\xff\xfe{\0}\0\n\0");
    dir.write("zeros", vec![0; 100_000]);
    dir.write("other.json", bench("startup"));
    dir
}

/// Everything below a directory.
fn everything(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

/// Checks a table of command lines, and what is said of each.
#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    let dir = dir();
    let before = everything(&dir.path(""));
    let mut wrong = Vec::new();
    for (line, expected) in cases {
        let done = dir.run(line);
        // What the machine is like may be noted before that.
        let said: Vec<&str> =
            done.stderr.lines().filter(|line| !line.starts_with("brigade: note: ")).collect();
        let mut blame = |what: &str| wrong.push(format!("{line}: {what}: {done:#?}"));
        if done.code != Some(2) {
            blame("the exit code");
        }
        if said.len() != 1 || !said[0].starts_with("brigade: error: ") {
            blame("not one line");
        }
        if !done.stderr.contains(expected) {
            blame(&format!("no `{expected}`"));
        }
        if !done.stdout.is_empty() {
            blame("standard output");
        }
        if everything(&dir.path("")) != before {
            blame("something was changed");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_run_with_wrong_options_is_refused() {
    refused(&[
        ("ran blur", "'run'"),
        ("run", "<KERNEL>"),
        ("run blr", "did you mean `blur`"),
        ("run blur --bakend threads", "--bakend"),
        ("run blur -b thread", "--backend"),
        ("run blur --timeout 5", "--timeout"),
        ("run blur --timeout 0s", "--timeout"),
        ("run blur --jobs 0", "--jobs"),
        ("run blur --jobs 99999999999999999999", "--jobs"),
        ("run blur --jobs -1", "-1"),
        ("run blur --size big", "--size"),
        ("run blur --size 0x5", "--size"),
        ("run blur --size 999999x999999", "--size"),
        ("run blur -p sigma", "--param"),
        ("run blur --workers 0", "--workers"),
        ("run blur --workers 2000", "--workers"),
        ("run blur --workers many", "--workers"),
        ("run blur --depth 0", "--depth"),
        ("run blur --depth 99", "--depth"),
        ("run blur --arena-limit many", "--arena-limit"),
        ("run blur --arena-limit 5XB", "--arena-limit"),
        ("run blur --spin fast", "--spin"),
        ("run blur --retries x", "--retries"),
        ("run blur --max-restarts x", "--max-restarts"),
        ("run blur --max-jobs-per-worker 0", "--max-jobs-per-worker"),
        ("run blur --transport arean", "--transport"),
        ("run blur --start-method fork", "--start-method"),
        ("run blur --start-timeout soon", "--start-timeout"),
        ("run blur --log nonsense=nonsense", "--log"),
        ("run blur --format yaml", "--format"),
        ("run blur --worker-program no/such", "--worker-program"),
        ("run blur -b threads --transport shm", "--transport"),
        ("run blur -b threads --retries 1", "--retries"),
        ("run blur -b sync --workers 2", "--workers"),
        ("run blur -b sync --pin", "--pin"),
        ("run crash --backend threads --jobs 1", "--backend processes"),
        ("run blur", "no input files"),
        ("run blur -o out", "no input files"),
        ("run blur no/*.jpg -o out", "no file matches no/*.jpg"),
        ("run blur '' -o out", "[INPUTS]"),
        ("run blur a.png --synthetic", "--synthetic"),
    ]);
}

#[test]
fn a_run_with_wrong_files_or_parameters_is_refused() {
    refused(&[
        ("run blur a.png missing.png -o out", "missing.png"),
        ("run blur s -o out", "directory"),
        ("run blur a.png s/a.png -o out", "would both write"),
        ("run blur a.png -o old.png", "--force"),
        ("run blur a.png -p sigma=-1 -o out/", "sigma"),
        ("run blur a.png -p sgima=1 -o out/", "did you mean `sigma`"),
        ("run blur a.png -p sigma=x -o out/", "sigma"),
        ("run blur a.png -p sigma=nan -o out/", "sigma"),
        ("run blur a.png -p sigma=1 -p sigma=2 -o out/", "given twice"),
        ("run blur a.png -o a.png/out/", "a.png/out"),
        ("run blur a.png -o no/such/b.png", "there is no directory no/such"),
        ("run blur a.png -o b.png --ext jpg", "--ext"),
        ("run blur a.png s/a.png -o b.png", "end it with /"),
        ("run blur a.png -o -", "-o -"),
        ("run blur a.png --ext png", "-o"),
        ("run blur a.png -o out/ --ext bmp", "bmp"),
        ("run blur a.png --force", "-o"),
        ("run blur a.png --output ./a.png", "would overwrite"),
        ("run blur a.png --output no/such.json", "--output"),
        ("run blur a.png --output s", "--output"),
        ("run blur a.png -o out/ --output no/such.json", "--output"),
        ("run blur a.png -o out/ --trace no/such.json", "--trace"),
        ("run blur a.png -o out/ --workers 0", "--workers"),
        ("run blur a.png --trace a.png", "would overwrite"),
        ("run blur a.png --trace s", "not a file"),
        ("run blur a.png --trace /dev/stdout", "standard output holds the report"),
        ("run blur a.png --jobs 3", "--jobs"),
        ("run blur a.png --size 5x5", "--size"),
        ("run blur a.png --seed 3", "--seed"),
        ("run wait --size 5", "--size"),
        ("run wait a.png", "wait"),
        ("run matmul a.png", "matmul"),
        ("run spin --max-pixels 400", "--max-pixels"),
        ("run blur a.png --max-pixels 0", "max_pixels"),
        ("run blur a.png --max-pixels 4 -p max_pixels=4", "--max-pixels"),
    ]);
}

#[test]
fn a_batch_that_cannot_be_read_or_written_is_refused() {
    refused(&[
        ("batch", "<FILE|->"),
        ("batch missing.jsonl", "missing.jsonl"),
        ("batch no/*.jsonl", "no file matches no/*.jsonl"),
        ("batch s", "batch s"),
        ("batch jobs.jsonl --output jobs.jsonl", "--output"),
        ("batch jobs.jsonl --output no/such", "--output"),
        ("batch jobs.jsonl --trace jobs.jsonl", "--trace"),
        ("batch jobs.jsonl --depth 0 --output new", "--depth"),
        ("batch jobs.jsonl -b sync -w 3", "--workers"),
        ("batch jobs.jsonl --timeout 1", "--timeout"),
        ("batch jobs.jsonl more.jsonl", "more.jsonl"),
        ("batch utf16 --output new --journal j", "it is UTF-16"),
        ("batch zeros --output new --journal j", "zero bytes"),
        ("batch /dev/zero --output new --journal j", "zero bytes"),
    ]);
}

#[test]
fn a_measurement_that_makes_no_sense_is_refused() {
    refused(&[
        ("bench speed", "speed"),
        ("bench latency --sizes big", "--sizes"),
        ("bench latency --blocks 0", "--blocks"),
        ("bench latency --budget 5", "--budget"),
        ("bench latency --precision 2", "--precision"),
        ("bench latency --export svg=x", "--export"),
        ("bench latency --export csv", "--export"),
        ("bench latency --export junit=x.xml", "--export"),
        ("bench latency --export csv=no/x.csv", "--export"),
        ("bench latency --export csv=s", "--export"),
        ("bench latency --export csv=x --export json=x", "--export"),
        ("bench latency --export csv=x --output x", "--export"),
        ("bench latency --trace no/t.json", "--trace"),
        ("bench latency --output no/x.json", "--output"),
        ("bench scaling --kernel blr --output x.json", "did you mean `blur`"),
        ("bench scaling --kernel blur -p sgima=1 --output x.json", "sgima"),
        ("bench scaling --backends thread", "--backend"),
        ("bench latency -b thread", "--backend"),
        ("bench latency --pin --resume --output x.json", "--resume"),
        ("bench all -b threads --sandbox --output x.json", "--sandbox"),
        ("bench throughput --workers 0 --output x.json", "--workers"),
        ("bench startup --workers 2000 --output x.json", "--workers"),
        ("bench paradigms --kernels blr --output x.json", "did you mean `blur`"),
    ]);
}

#[test]
fn a_comparison_of_nothing_is_refused() {
    refused(&[
        ("compare r.json", "<HEAD.json>"),
        ("compare r.json missing.json", "missing.json"),
        ("compare r.json junk.json", "junk.json"),
        ("compare r.json run.json", "brigade.run.v1"),
        ("compare r.json utf16", "it is UTF-16"),
        ("compare r.json zeros", "not JSON"),
        ("compare /dev/zero r.json", "not JSON"),
        ("compare r.json s", "result s: "),
        ("compare no/*.json r.json", "no file matches no/*.json"),
        ("compare r.json other.json --output x.json", "nothing in common"),
        ("compare r.json r.json --tolerance 5", "--tolerance"),
        ("compare r.json r.json --fail-on better", "--fail-on"),
        ("compare r.json r.json --output r.json", "--output"),
        ("compare r.json r.json --export csv=r.json", "--export"),
        ("compare r.json r.json --export csv=no/x.csv", "--export"),
        ("ab --base true", "--head"),
        ("ab --base '' --head true", "--base"),
        ("ab --base '\"open' --head true", "--base"),
        ("ab --base no/such --head true --output x.json", "--base"),
        ("ab --base true --head ./none --output x.json", "--head"),
        ("ab --base true --head true --metric speed", "--metric"),
        ("ab --base true --head true --blocks 5000", "--blocks"),
        ("ab --base true --head true --budget 0s", "--budget"),
        ("ab --base true --head true --export csv=no/x", "--export"),
    ]);
}

#[test]
fn a_report_of_nothing_is_refused() {
    refused(&[
        ("report", "<RESULT.json>"),
        ("report missing.json", "missing.json"),
        ("report junk.json", "junk.json"),
        ("report strange.json", "other.v1"),
        ("report s", "result s: "),
        ("report utf16", "it is UTF-16"),
        ("report /dev/zero", "not JSON"),
        ("report r.json -o r.json", "would replace"),
        ("report r.json -o no/x.html", "no/x.html"),
        ("report r.json -o s", "not a file"),
        ("report no/*.json", "no file matches no/*.json"),
        ("doctor --fromat json", "--fromat"),
        ("doctor --format xml", "--format"),
        ("doctor more", "more"),
        ("kernels blr", "did you mean `blur`"),
        ("kernels --format xml", "--format"),
        ("completions tcsh", "tcsh"),
        ("man --dir no/such", "--dir"),
    ]);
}

#[test]
fn a_name_with_a_line_end_is_told_in_one_line() {
    refused(&[("run blur 'a\nb.png'", "a\\nb.png"), ("report 'a\u{1b}[2Jb'", "a\\u{1b}[2Jb")]);
}

/// Lines of a batch that are no jobs; each has a row that says why, and nothing is left.
#[test]
fn a_line_that_is_no_job_is_told_by_its_number_and_the_others_run() {
    let dir = dir();
    let before = everything(&dir.path(""));
    let cases = [
        ("{", "not JSON"),
        ("[1]", "not a job"),
        ("7", "not a job"),
        ("{\"id\":\u{0}}", "zero bytes"),
        (r#"{"id":7}"#, "kernel"),
        (r#"{"kernel":7}"#, "not a job"),
        (r#"{"kernel":"blr"}"#, "did you mean `blur`"),
        (r#"{"kernel":"blur"}"#, "reads 1 input"),
        (r#"{"kernel":"blur","inptus":["a.png"]}"#, "inptus"),
        (r#"{"kernel":"blur","inputs":"a.png"}"#, "sequence"),
        (r#"{"kernel":"blur","inputs":["a.png","a.png"]}"#, "reads 1 input"),
        (r#"{"kernel":"blur","inputs":["missing.png"]}"#, "missing.png"),
        (r#"{"kernel":"blur","inputs":["s"]}"#, "cannot read s"),
        (r#"{"kernel":"blur","inputs":["a.png"],"params":{"sgima":2}}"#, "sgima"),
        (r#"{"kernel":"blur","inputs":["a.png"],"params":{"sigma":[2]}}"#, "sigma"),
        (r#"{"kernel":"blur","inputs":["a.png"],"params":{"sigma":1e999}}"#, "sigma=1e999"),
        (r#"{"kernel":"blur","inputs":["a.png"],"params":{"sigma":"2"}}"#, "a number is expected"),
        (r#"{"kernel":"blur","inputs":[{"bytes":"?"}]}"#, "not base64"),
        (r#"{"kernel":"blur","inputs":["a.png"],"params":{"sigma":-3}}"#, "sigma"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":"x.bmp"}"#, "bmp"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":"no/x.png"}"#, "there is no directory no"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":"old.png"}"#, "--force"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":"s"}"#, "not a file"),
        (r#"{"kernel":"blur","inputs":["a.png"],"output":""}"#, "cannot write"),
        (r#"{"kernel":"spin","timeout_ms":0}"#, "timeout_ms"),
        (r#"{"kernel":"spin","timeout_ms":-1}"#, "-1"),
        (r#"{"kernel":"spin","timeout_ms":1.5}"#, "1.5"),
    ];
    let mut text: String = cases.map(|(line, _)| format!("{line}\n")).concat();
    let good = r#"{"kernel":"spin","params":{"us":1},"timeout_ms":18446744073709551615}"#;
    text.push_str(good);
    text.push('\n');
    let done = dir.feed("batch - --ordered", &text).expect(1);
    let rows = done.lines();
    assert_eq!(rows.len(), cases.len() + 1, "{done:#?}");
    for (i, (row, (line, expected))) in rows.iter().zip(&cases).enumerate() {
        let error = row["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected), "{line}: {row}");
        assert!(error.contains(&format!("line {}", i + 1)), "{line}: {row}");
        assert_eq!(row["status"], "failed", "{line}: {row}");
    }
    assert_eq!(rows[cases.len()]["status"], "ok", "{}", rows[cases.len()]);
    assert_eq!(everything(&dir.path("")), before);
}

/// Files that are not what their kernel reads: exit code 1, the file is named, and no part
/// of a result is there.
#[test]
fn a_file_that_is_not_what_it_should_be_fails_its_job_alone() {
    let dir = dir();
    dir.write("empty", "");
    dir.write("text", "not what you think");
    dir.write("half.png", &dir.read("a.png")[..40]);
    dir.write("magic.npy", b"\x93NUMPY");
    dir.write("riff.wav", b"RIFF\x24\0\0\0WAVEfmt ");
    dir.write("claims.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}");
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9), }";
    let mut bomb = b"\x93NUMPY\x01\x00".to_vec();
    bomb.extend((header.len() as u16).to_le_bytes());
    bomb.extend(header.as_bytes());
    dir.write("bomb.npy", &bomb);
    let before = everything(&dir.path(""));
    for (kernel, file) in [
        ("blur", "empty"),
        ("blur", "text"),
        ("blur", "half.png"),
        ("sobel", "magic.npy"),
        ("grayscale", "bomb.npy"),
        ("transpose", "empty"),
        ("transpose", "text"),
        ("transpose", "magic.npy"),
        ("transpose", "bomb.npy"),
        ("transpose", "a.png"),
        ("cholesky", "bomb.npy"),
        ("spectrogram", "empty"),
        ("spectrogram", "text"),
        ("spectrogram", "riff.wav"),
        ("resample", "riff.wav"),
        ("mlp", "text text"),
        ("mlp", "magic.npy claims.safetensors"),
    ] {
        let done = dir.run(&format!("run {kernel} {file}")).expect(1);
        let told = done.stdout.lines().find(|line| line.starts_with("failed: "));
        let file = file.split(' ').next().unwrap();
        assert!(told.is_some_and(|line| line.contains(file)), "{kernel} {file}: {done:#?}");
        let out = dir.run(&format!("run {kernel} {file} -o out.bin"));
        assert_ne!(out.code, Some(0), "{kernel} {file}");
        assert_eq!(everything(&dir.path("")), before, "{kernel} {file}: {out:#?}");
    }
}
