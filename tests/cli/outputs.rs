//! Where results go: links, devices and pipes stay what they are, and a replaced file keeps its
//! mode.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

use crate::util::{Done, TestDir, finish};

/// A directory with an image, and with a link that stands for a device that all use.
fn dir() -> TestDir {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    dir.run("run blur a.png -o plain.png").expect(0);
    symlink("/proc/self/fd/1", dir.path("stdout")).unwrap();
    symlink("/dev/null", dir.path("null")).unwrap();
    dir
}

fn shell(dir: &TestDir, line: &str) -> Done {
    let brigade = env!("CARGO_BIN_EXE_brigade");
    finish(dir.shell(&line.replace("BRIGADE", brigade)).spawn().unwrap())
}

#[test]
fn a_result_on_standard_output_is_alone_there() {
    let dir = dir();
    let plain = dir.read("plain.png");
    for force in ["", "--force"] {
        for to in ["| cat > got.png", "> got.png"] {
            let line = format!("BRIGADE run blur a.png -o stdout {force} {to}");
            let done = shell(&dir, &line).expect(0);
            // The report, which would have been in the picture.
            assert!(done.stderr.contains("1 of 1 ok"), "{done:#?}");
            assert_eq!(dir.read("got.png"), plain, "{line}");
            assert!(dir.path("stdout").is_symlink(), "{line}");
        }
    }
    let batch = "{\"kernel\":\"blur\",\"inputs\":[\"a.png\"],\"output\":\"stdout\"}\n";
    let row = dir.feed("batch - --force", batch).expect(1).lines().remove(0);
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("standard output holds the result lines"), "{error}");
}

#[test]
fn links_stay_links_and_the_file_behind_is_written() {
    let dir = dir();
    let plain = dir.read("plain.png");
    fs::create_dir(dir.path("d")).unwrap();
    for (target, link) in [("d/real.png", "link.png"), ("loop.png", "loop.png")] {
        symlink(target, dir.path(link)).unwrap();
    }
    // Where nothing is replaced, nothing is asked.
    dir.run("run blur a.png -o link.png").expect(0);
    assert_eq!(dir.read("d/real.png"), plain);
    let refused = dir.run("run blur a.png -o link.png").expect(2);
    refused.says("link.png is a link to d/real.png, which exists; --force replaces d/real.png");
    dir.write("d/real.png", "old");
    dir.run("run blur a.png -o link.png --force").expect(0);
    assert_eq!(dir.read("d/real.png"), plain);
    dir.run("run blur a.png -o loop.png --force").expect(2).says("symbolic links");
    // A link to an input is that input.
    dir.write("b.png", dir.read("a.png"));
    fs::create_dir(dir.path("out")).unwrap();
    symlink("../b.png", dir.path("out/a.png")).unwrap();
    dir.run("run blur a.png b.png -o out --force").expect(2).says("would replace the input");
    // The same of a batch, and of what is written besides.
    dir.write("d/real.png", "old");
    let batch = "{\"kernel\":\"blur\",\"inputs\":[\"a.png\"],\"output\":\"link.png\"}\n";
    dir.feed("batch - --force", batch).expect(0);
    assert_eq!(dir.read("d/real.png"), plain);
    for (name, line) in [
        ("t", "run noop --trace t.link"),
        ("r", "run noop --output r.link"),
        ("j", "run noop --journal j.link"),
        ("c", "ab --base true --head true --blocks 4 --export csv=c.link --fail-on worse"),
        ("h", "report result.json -o h.link"),
    ] {
        dir.run("run noop --output result.json").expect(0);
        symlink(format!("d/{name}"), dir.path(&format!("{name}.link"))).unwrap();
        dir.run(line).expect(0);
        assert!(!dir.read(&format!("d/{name}")).is_empty(), "{line}");
        assert!(dir.path(&format!("{name}.link")).is_symlink(), "{line}");
    }
    assert_eq!(dir.list("d"), ["c", "h", "j", "r", "real.png", "t"], "nothing else is left");
}

#[test]
fn devices_and_pipes_are_written_as_they_are() {
    let dir = dir();
    dir.run("run noop --format json --output result.json").expect(0);
    for line in [
        "run blur a.png -o null",
        "run blur a.png -o null --force",
        "run noop --trace null",
        "run noop --output null",
        "report result.json -o null",
        "ab --base true --head true --blocks 4 --export csv=null --fail-on worse",
    ] {
        dir.run(line).expect(0);
        assert!(dir.path("null").is_symlink(), "{line}");
        let device = fs::metadata("/dev/null").unwrap();
        assert!(device.file_type().is_char_device(), "{line}");
    }
    let line = "mkfifo p && { cat p > got.png & } && BRIGADE run blur a.png -o p && wait";
    shell(&dir, line).expect(0);
    assert_eq!(dir.read("got.png"), dir.read("plain.png"));
    assert!(fs::metadata(dir.path("p")).unwrap().file_type().is_fifo());
}

#[test]
fn a_replaced_file_keeps_its_mode_and_a_new_one_has_the_usual() {
    let dir = dir();
    let mode = |name: &str| dir.path(name).metadata().unwrap().permissions().mode() & 0o777;
    dir.write("usual", "");
    for wanted in [0o600, 0o640, 0o755] {
        dir.write("b.png", "old");
        fs::set_permissions(dir.path("b.png"), Permissions::from_mode(wanted)).unwrap();
        dir.run("run blur a.png -o b.png --force").expect(0);
        assert_eq!((mode("b.png"), dir.read("b.png")), (wanted, dir.read("plain.png")));
    }
    dir.run("run blur a.png -o new.png").expect(0);
    assert_eq!(mode("new.png"), mode("usual"));
    dir.run("run noop --format json --output result.json").expect(0);
    dir.write("page", "old");
    fs::set_permissions(dir.path("page"), Permissions::from_mode(0o600)).unwrap();
    dir.run("report result.json -o page").expect(0);
    assert_eq!(mode("page"), 0o600);
}

/// What `--output` is called says what is in it, unless `--format` does.
#[test]
fn a_result_by_the_name_of_json_is_json() {
    let dir = dir();
    for line in [
        "run noop --jobs 3",
        "bench startup --workers 1 --blocks 2",
        "ab --base true --head true --blocks 4 --fail-on worse",
    ] {
        let done = dir.run(&format!("{line} --output r.json")).expect(0);
        assert!(!done.stdout.starts_with('{'), "{line}: for a person: {done:#?}");
        dir.run("report r.json -o page.html").expect(0);
        dir.run(&format!("{line} --output r.json --format human")).expect(0);
        dir.run("report r.json").expect(2).says("was it saved without --format json?");
    }
    dir.run("run noop --jobs 3 --output r.jsonl").expect(0);
    let lines = String::from_utf8(dir.read("r.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4, "{lines}");
    let run = dir.run("run noop --jobs 3 --format json --output r.txt").expect(0);
    assert_eq!(dir.read("r.txt"), run.stdout.as_bytes());
    // A comparison, too.
    let bench = "bench startup --workers 1 --blocks 6 --output";
    for name in ["base.json", "head.json"] {
        dir.run(&format!("{bench} {name}")).expect(0);
    }
    let line = "compare base.json head.json --tolerance 99% --fail-on worse --output c.json";
    let done = dir.run(line);
    assert!(!done.stdout.starts_with('{'), "{done:#?}");
    let verdict: serde_json::Value = serde_json::from_slice(&dir.read("c.json")).unwrap();
    assert_eq!(verdict["schema"], "brigade.compare.v1");
}

/// Jobs that were never begun have not failed.
#[test]
fn what_is_cancelled_is_not_counted_as_failed() {
    let dir = dir();
    dir.write("bad.png", "");
    let line = "run blur bad.png a.png plain.png -b sync --format json";
    let summary = &dir.run(line).expect(1).json()["summary"];
    for (field, count) in [("jobs", 3), ("ok", 0), ("failed", 1), ("cancelled", 2)] {
        assert_eq!(summary[field], count, "{field}: {summary}");
    }
    let summary = &dir.run("run crash --retries 0 --format json").expect(1).json()["summary"];
    assert_eq!((&summary["failed"], &summary["cancelled"]), (&1.into(), &0.into()));
}
