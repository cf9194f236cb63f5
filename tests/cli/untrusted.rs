//! Lines of a batch that somebody else has written: what they may read, write and run.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode};
use serde_json::{Value, json};

use crate::util::{BACKENDS, TestDir};

fn mkfifo(dir: &TestDir, name: &str) {
    rustix::fs::mkfifoat(CWD, dir.path(name), Mode::RUSR | Mode::WUSR).unwrap();
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn touch(input: &str) -> Value {
    json!({"kernel": "touch", "inputs": [input]})
}

/// What a pipe without a writer would wait for is never there: only the cap of the tests would
/// end it.
#[test]
fn a_pipe_or_device_is_no_input_of_a_line() {
    let dir = TestDir::new();
    mkfifo(&dir, "pipe");
    let _socket = UnixListener::bind(dir.path("socket")).unwrap();
    symlink("/proc/self/fd/0", dir.path("link")).unwrap();
    dir.write("file", "text");
    let refused = [
        ("pipe", "cannot read pipe: it is a pipe; a batch reads regular files only"),
        ("socket", "it is a socket"),
        (".", "it is a directory"),
        ("/dev/zero", "it is a device"),
        ("/dev/stdin", "an open file of a process"),
        ("/proc/self/fd/0", "an open file of a process"),
        ("/proc/self/fd/9", "an open file of a process"),
        ("link", "an open file of a process"),
        ("/proc/self/environ", "it is in /proc"),
    ];
    let mut lines = Vec::new();
    for (input, _) in refused {
        lines.extend([touch(input), touch("file")]);
    }
    for backend in BACKENDS {
        for journal in ["", "--journal j --force"] {
            // Many lines more: standard input is not drained by one of them.
            let flags = format!("--ordered -b {backend} {journal}");
            let many = [lines.clone(), vec![touch("file"); 300]].concat();
            let done = dir.feed(&format!("batch - {flags}"), &text(&many)).expect(1);
            let rows = done.lines();
            assert_eq!(rows.len(), many.len(), "{backend}");
            for (pair, (input, said)) in rows.chunks(2).zip(refused) {
                let error = pair[0]["error"].as_str().unwrap();
                let said = if backend == "processes" || input != "/proc/self/fd/9" {
                    said
                } else {
                    "cannot read"
                };
                assert!(error.contains(said), "{backend} {journal} {input}: {error}");
                assert_eq!(pair[1]["status"], "ok", "{backend}");
            }
            assert!(rows[2 * refused.len()..].iter().all(|row| row["status"] == "ok"));
            let _ = fs::remove_file(dir.path("j"));
        }
    }
}

#[test]
fn a_pipe_is_no_output_of_a_line() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    mkfifo(&dir, "pipe.png");
    let line = |output: &str| json!({"kernel": "blur", "inputs": ["a.png"], "output": output});
    for flags in ["", "--force", "--root ."] {
        let lines = text(&[line("pipe.png"), line("b.png")]);
        let rows = dir.feed(&format!("batch - --ordered -w 1 {flags}"), &lines).expect(1);
        let rows = rows.lines();
        assert!(rows[0]["error"].as_str().unwrap().contains("it is a pipe"), "{rows:?}");
        assert_eq!(rows[1]["status"], "ok", "{rows:?}");
        fs::remove_file(dir.path("b.png")).unwrap();
    }
}

#[test]
fn a_root_confines_what_lines_read_and_write() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("root")).unwrap();
    fs::create_dir(dir.path("other")).unwrap();
    dir.image("root/a.png", "8x8");
    dir.image("secret.png", "8x8");
    symlink("../secret.png", dir.path("root/link.png")).unwrap();
    symlink("../other", dir.path("root/dir")).unwrap();
    symlink("../other/new.png", dir.path("root/dangling.png")).unwrap();
    symlink("../other/many.3.png", dir.path("root/many.3.png")).unwrap();
    let secret = dir.path("secret.png");
    let absolute = dir.path("root/a.png");
    let blur =
        |input: &str, output: &str| json!({"kernel": "blur", "inputs": [input], "output": output});
    let outside = "it is not under root, the --root of this batch";
    let cases = [
        (blur("root/a.png", "root/b.png"), None),
        (blur(absolute.to_str().unwrap(), "root/c.png"), None),
        (blur("secret.png", "root/x0.png"), Some(outside)),
        (blur(secret.to_str().unwrap(), "root/x1.png"), Some(outside)),
        (blur("root/../secret.png", "root/x2.png"), Some(outside)),
        (blur("root/link.png", "root/x3.png"), Some(outside)),
        (blur("root/a.png", "x.png"), Some(outside)),
        (blur("root/a.png", "other/x.png"), Some(outside)),
        (blur("root/a.png", "root/../x.png"), Some(outside)),
        (blur("root/a.png", "root/dir/x.png"), Some(outside)),
        (blur("root/a.png", "root/link.png"), Some(outside)),
        (blur("root/a.png", "root/dangling.png"), Some("cannot write root/dangling.png")),
        (blur("root/a.png", "root/many.png"), Some("cannot write root/many.3.png")),
        (blur("root/a.png", "root/none/x.png"), Some("there is no directory root/none")),
    ];
    let before = dir.read("secret.png");
    let lines: Vec<Value> = cases.iter().map(|(line, _)| line.clone()).collect();
    for flags in ["-b sync --force", "-b processes --force", "-b threads --force --journal j"] {
        let line = format!("batch - --ordered --root root {flags}");
        let rows = dir.feed(&line, &text(&lines)).expect(1).lines();
        for (row, (line, said)) in rows.iter().zip(&cases) {
            match said {
                None => assert_eq!(row["status"], "ok", "{row}"),
                Some(said) => {
                    let error = row["error"].as_str().unwrap();
                    assert!(error.contains(said), "{line}: {error}");
                }
            }
        }
        assert_eq!(dir.list("other"), [""; 0]);
        assert_eq!(dir.read("secret.png"), before);
        let here = ["a.png", "b.png", "c.png", "dangling.png", "dir", "link.png", "many.3.png"];
        assert_eq!(dir.list("root"), here);
    }
    dir.run("batch - --root secret.png").expect(2).says("cannot use --root secret.png");
    dir.run("batch - --root nowhere").expect(2).says("cannot use --root nowhere");
}

#[test]
fn kernels_that_go_wrong_on_purpose_need_a_flag() {
    let dir = TestDir::new();
    let faults = ["crash", "panic", "hang", "hog"];
    let lines: Vec<Value> = faults.iter().map(|kernel| json!({"kernel": kernel})).collect();
    let rows = dir.feed("batch - --ordered", &text(&lines)).expect(1).lines();
    for (row, kernel) in rows.iter().zip(faults) {
        let error = row["error"].as_str().unwrap();
        assert_eq!(row["attempts"], 0);
        assert!(error.contains(kernel) && error.contains("--allow-fault-kernels"), "{error}");
    }
    let line = text(&[json!({"kernel": "panic"})]);
    let rows = dir.feed("batch - --allow-fault-kernels", &line).expect(1).lines();
    assert!(rows[0]["error"].as_str().unwrap().contains("always panics"), "{rows:?}");
    // `run` is said by who starts it.
    dir.run("run panic").expect(1);
}

/// The same file by another name of its directory is found; a root that is a link is followed once.
#[test]
fn a_root_may_be_named_in_several_ways() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("root")).unwrap();
    File::create(dir.path("root/file")).unwrap();
    symlink("root", dir.path("alias")).unwrap();
    let here = dir.path("root");
    for (root, input) in [
        ("alias", "alias/file"),
        ("alias", "root/file"),
        (".", "root/file"),
        (here.to_str().unwrap(), "root/file"),
    ] {
        let line = text(&[touch(input)]);
        dir.feed(&format!("batch - -b sync --root {root}"), &line).expect(0);
    }
}
