//! Where results go: links, devices and pipes stay what they are, and a replaced file keeps its
//! mode.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

use crate::util::{Done, Kitchen, finish};

/// A directory with an image, and with a link that stands for a device that all use.
fn kitchen() -> Kitchen {
    let kitchen = Kitchen::new();
    kitchen.image("a.png", "8x8");
    kitchen.run("run blur a.png -o plain.png").expect(0);
    symlink("/proc/self/fd/1", kitchen.path("stdout")).unwrap();
    symlink("/dev/null", kitchen.path("null")).unwrap();
    kitchen
}

fn shell(kitchen: &Kitchen, line: &str) -> Done {
    let brigade = env!("CARGO_BIN_EXE_brigade");
    finish(kitchen.shell(&line.replace("BRIGADE", brigade)).spawn().unwrap())
}

#[test]
fn a_result_on_standard_output_is_alone_there() {
    let kitchen = kitchen();
    let plain = kitchen.read("plain.png");
    for force in ["", "--force"] {
        for to in ["| cat > got.png", "> got.png"] {
            let line = format!("BRIGADE run blur a.png -o stdout {force} {to}");
            let done = shell(&kitchen, &line).expect(0);
            // The report, which would have been in the picture.
            assert!(done.stderr.contains("1 of 1 ok"), "{done:#?}");
            assert_eq!(kitchen.read("got.png"), plain, "{line}");
            assert!(kitchen.path("stdout").is_symlink(), "{line}");
        }
    }
    let batch = "{\"kernel\":\"blur\",\"inputs\":[\"a.png\"],\"output\":\"stdout\"}\n";
    let row = kitchen.feed("batch - --force", batch).expect(1).lines().remove(0);
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("standard output holds the result lines"), "{error}");
}

#[test]
fn links_stay_links_and_the_file_behind_is_written() {
    let kitchen = kitchen();
    let plain = kitchen.read("plain.png");
    fs::create_dir(kitchen.path("d")).unwrap();
    for (target, link) in [("d/real.png", "link.png"), ("loop.png", "loop.png")] {
        symlink(target, kitchen.path(link)).unwrap();
    }
    // Where nothing is replaced, nothing is asked.
    kitchen.run("run blur a.png -o link.png").expect(0);
    assert_eq!(kitchen.read("d/real.png"), plain);
    let refused = kitchen.run("run blur a.png -o link.png").expect(2);
    refused.says("link.png is a link to d/real.png, which exists; --force replaces d/real.png");
    kitchen.write("d/real.png", "old");
    kitchen.run("run blur a.png -o link.png --force").expect(0);
    assert_eq!(kitchen.read("d/real.png"), plain);
    kitchen.run("run blur a.png -o loop.png --force").expect(2).says("symbolic links");
    // A link to an input is that input.
    kitchen.write("b.png", kitchen.read("a.png"));
    fs::create_dir(kitchen.path("out")).unwrap();
    symlink("../b.png", kitchen.path("out/a.png")).unwrap();
    kitchen.run("run blur a.png b.png -o out --force").expect(2).says("would replace the input");
    // The same of a batch, and of what is written besides.
    kitchen.write("d/real.png", "old");
    let batch = "{\"kernel\":\"blur\",\"inputs\":[\"a.png\"],\"output\":\"link.png\"}\n";
    kitchen.feed("batch - --force", batch).expect(0);
    assert_eq!(kitchen.read("d/real.png"), plain);
    for (name, line) in [
        ("t", "run noop --trace t.link"),
        ("r", "run noop --output r.link"),
        ("j", "run noop --journal j.link"),
        ("c", "ab --base true --head true --blocks 4 --export csv=c.link --fail-on worse"),
        ("h", "report result.json -o h.link"),
    ] {
        kitchen.run("run noop --output result.json").expect(0);
        symlink(format!("d/{name}"), kitchen.path(&format!("{name}.link"))).unwrap();
        kitchen.run(line).expect(0);
        assert!(!kitchen.read(&format!("d/{name}")).is_empty(), "{line}");
        assert!(kitchen.path(&format!("{name}.link")).is_symlink(), "{line}");
    }
    assert_eq!(kitchen.list("d"), ["c", "h", "j", "r", "real.png", "t"], "nothing else is left");
}

#[test]
fn devices_and_pipes_are_written_as_they_are() {
    let kitchen = kitchen();
    kitchen.run("run noop --format json --output result.json").expect(0);
    for line in [
        "run blur a.png -o null",
        "run blur a.png -o null --force",
        "run noop --trace null",
        "run noop --output null",
        "report result.json -o null",
        "ab --base true --head true --blocks 4 --export csv=null --fail-on worse",
    ] {
        kitchen.run(line).expect(0);
        assert!(kitchen.path("null").is_symlink(), "{line}");
        let device = fs::metadata("/dev/null").unwrap();
        assert!(device.file_type().is_char_device(), "{line}");
    }
    let line = "mkfifo p && { cat p > got.png & } && BRIGADE run blur a.png -o p && wait";
    shell(&kitchen, line).expect(0);
    assert_eq!(kitchen.read("got.png"), kitchen.read("plain.png"));
    assert!(fs::metadata(kitchen.path("p")).unwrap().file_type().is_fifo());
}

#[test]
fn a_replaced_file_keeps_its_mode_and_a_new_one_has_the_usual() {
    let kitchen = kitchen();
    let mode = |name: &str| kitchen.path(name).metadata().unwrap().permissions().mode() & 0o777;
    kitchen.write("usual", "");
    for wanted in [0o600, 0o640, 0o755] {
        kitchen.write("b.png", "old");
        fs::set_permissions(kitchen.path("b.png"), Permissions::from_mode(wanted)).unwrap();
        kitchen.run("run blur a.png -o b.png --force").expect(0);
        assert_eq!((mode("b.png"), kitchen.read("b.png")), (wanted, kitchen.read("plain.png")));
    }
    kitchen.run("run blur a.png -o new.png").expect(0);
    assert_eq!(mode("new.png"), mode("usual"));
    kitchen.run("run noop --format json --output result.json").expect(0);
    kitchen.write("page", "old");
    fs::set_permissions(kitchen.path("page"), Permissions::from_mode(0o600)).unwrap();
    kitchen.run("report result.json -o page").expect(0);
    assert_eq!(mode("page"), 0o600);
}

/// What `--output` is called says what is in it, unless `--format` does.
#[test]
fn a_result_by_the_name_of_json_is_json() {
    let kitchen = kitchen();
    for line in [
        "run noop --jobs 3",
        "bench startup --workers 1 --blocks 2",
        "ab --base true --head true --blocks 4 --fail-on worse",
    ] {
        let done = kitchen.run(&format!("{line} --output r.json")).expect(0);
        assert!(!done.stdout.starts_with('{'), "{line}: for a person: {done:#?}");
        kitchen.run("report r.json -o page.html").expect(0);
        kitchen.run(&format!("{line} --output r.json --format human")).expect(0);
        kitchen.run("report r.json").expect(2).says("was it saved without --format json?");
    }
    kitchen.run("run noop --jobs 3 --output r.jsonl").expect(0);
    let lines = String::from_utf8(kitchen.read("r.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4, "{lines}");
    let run = kitchen.run("run noop --jobs 3 --format json --output r.txt").expect(0);
    assert_eq!(kitchen.read("r.txt"), run.stdout.as_bytes());
    // A comparison, too.
    let bench = "bench startup --workers 1 --blocks 6 --output";
    for name in ["base.json", "head.json"] {
        kitchen.run(&format!("{bench} {name}")).expect(0);
    }
    let line = "compare base.json head.json --tolerance 99% --fail-on worse --output c.json";
    let done = kitchen.run(line);
    assert!(!done.stdout.starts_with('{'), "{done:#?}");
    let verdict: serde_json::Value = serde_json::from_slice(&kitchen.read("c.json")).unwrap();
    assert_eq!(verdict["schema"], "brigade.compare.v1");
}

/// Jobs that were never begun have not failed.
#[test]
fn what_is_cancelled_is_not_counted_as_failed() {
    let kitchen = kitchen();
    kitchen.write("bad.png", "");
    let line = "run blur bad.png a.png plain.png -b sync --format json";
    let summary = &kitchen.run(line).expect(1).json()["summary"];
    for (field, count) in [("jobs", 3), ("ok", 0), ("failed", 1), ("cancelled", 2)] {
        assert_eq!(summary[field], count, "{field}: {summary}");
    }
    let summary = &kitchen.run("run crash --retries 0 --format json").expect(1).json()["summary"];
    assert_eq!((&summary["failed"], &summary["cancelled"]), (&1.into(), &0.into()));
}
