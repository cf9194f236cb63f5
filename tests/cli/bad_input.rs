//! Bad input and faults: one clear line, the right exit code, no partial file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::util::{TestDir, finish};

/// Runs one bad file among good ones and checks what is said and left.
#[track_caller]
fn one_bad_file(bytes: &[u8], expected: &str) {
    let dir = TestDir::new();
    dir.image("a.png", "24x16");
    dir.image("z.png", "24x16");
    dir.write("bad.png", bytes);
    for backend in ["sync", "processes"] {
        let line = format!("run blur a.png bad.png z.png --keep-going -b {backend} -o {backend}");
        let done = dir.run(&line).expect(1);
        let told: Vec<_> = done.stdout.lines().filter(|line| line.contains("bad.png")).collect();
        assert_eq!(told.len(), 1, "{done:#?}");
        assert!(told[0].starts_with("failed: bad.png: "), "{told:?}");
        assert!(told[0].contains(expected), "{told:?}");
        assert_eq!(dir.list(backend), ["a.png", "z.png"], "nothing partial");
    }
}

#[test]
fn an_empty_file_fails_alone() {
    one_bad_file(b"", "the file is empty");
}

#[test]
fn a_file_of_another_kind_fails_alone() {
    one_bad_file(b"%PDF-1.7 not an image", "not an image");
}

#[test]
fn a_truncated_image_fails_alone() {
    let dir = TestDir::new();
    dir.image("whole.png", "200x200");
    let whole = dir.read("whole.png");
    one_bad_file(&whole[..whole.len() / 2], "truncated PNG");
}

#[test]
fn an_image_bomb_is_refused_by_a_limit_that_a_flag_raises() {
    // A PNG header that claims 60000 x 60000; no pixel follows.
    let mut header = b"IHDR".to_vec();
    header.extend(60_000_u32.to_be_bytes());
    header.extend(60_000_u32.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut bomb = b"\x89PNG\r\n\x1a\n".to_vec();
    bomb.extend(13_u32.to_be_bytes());
    bomb.extend(&header);
    bomb.extend(crc32(&header).to_be_bytes());
    bomb.extend([0, 0, 0, 0]);
    bomb.extend(b"IEND\xae\x42\x60\x82");
    one_bad_file(&bomb, "--max-pixels");

    let dir = TestDir::new();
    dir.image("a.png", "20x20");
    dir.run("run blur a.png --max-pixels 399").expect(1);
    dir.run("run blur a.png --max-pixels 400").expect(0);
    dir.run("run spin --max-pixels 400").expect(2).says("--max-pixels");
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn a_directory_or_file_without_permission_is_exit_2() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    // /proc refuses files to everybody, root too.
    dir.run("run blur a.png -o /proc/x.png").expect(2).says("/proc");
    let is_root = fs::metadata(dir.path("a.png")).unwrap().uid() == 0;
    // Root may do everything unless it gives up its capabilities.
    let run = |line: &str| {
        let brigade = dir.command(line);
        let mut command = match is_root {
            true => dir.program("setpriv"),
            false => dir.program("env"),
        };
        command.args(is_root.then_some("--bounding-set=-all"));
        command.arg(brigade.get_program()).args(brigade.get_args());
        finish(command.spawn().unwrap())
    };
    run("run blur a.png").expect(0);
    fs::create_dir(dir.path("locked")).unwrap();
    fs::set_permissions(dir.path("locked"), fs::Permissions::from_mode(0o500)).unwrap();
    run("run blur a.png -o locked/").expect(2).says("locked");
    fs::set_permissions(dir.path("a.png"), fs::Permissions::from_mode(0o000)).unwrap();
    run("run blur a.png").expect(2).says("a.png");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failed_job() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    // No file system takes this name: that can be known before anything is computed.
    let name = format!("{}.png", "x".repeat(300));
    let done = dir.run(&format!("run blur a.png -b threads -o out/{name}")).expect(2);
    assert!(done.stderr.contains("out"), "a file's directory is not made");
    fs::create_dir(dir.path("out")).unwrap();
    let done = dir.run(&format!("run blur a.png -b threads -o out/{name}")).expect(2);
    done.says("cannot write out/xxx");
    // A disk that is full is not.
    let done = dir.run("run blur a.png -b threads -o /dev/full").expect(1);
    let line = done.stdout.lines().next().unwrap();
    assert!(line.starts_with("failed: a.png: cannot write /dev/full: No space"), "{done:#?}");
    assert!(dir.list("out").is_empty(), "nothing partial");
}

#[test]
fn a_full_disk_under_the_report_is_told() {
    let dir = TestDir::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let child = dir.command("run spin -b sync").stdout(full).spawn().unwrap();
    finish(child).expect(1).says("standard output");
}

#[test]
fn crashes_and_panics_are_told_and_the_rest_runs() {
    let dir = TestDir::new();
    dir.write(
        "jobs.jsonl",
        r#"{"kernel":"crash"}
{"kernel":"panic"}
{"kernel":"hang","timeout_ms":100}
{"kernel":"spin","params":{"us":10}}"#,
    );
    let done =
        dir.run("batch jobs.jsonl --ordered -w 2 --retries 1 --allow-fault-kernels").expect(1);
    let rows = done.lines();
    let statuses: Vec<_> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["crashed", "failed", "timed-out", "ok"], "{done:#?}");
    assert_eq!(rows[0]["attempts"], 2);
    assert!(rows[2]["error"].as_str().unwrap().contains("100ms"));
}
