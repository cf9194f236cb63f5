//! Workers that die, and programs that are no workers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::util::TestDir;

/// A script that stands in for the worker program.
fn script(dir: &TestDir, name: &str, text: &str) {
    dir.write(name, format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(dir.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_worker_that_dies_before_the_handshake_is_exit_5() {
    let dir = TestDir::new();
    script(&dir, "dies", "echo no such luck >&2; exit 3");
    let done = dir.run("run noop --worker-program ./dies").expect(5);
    assert!(done.stderr.contains("exited with status 3"), "{}", done.stderr);
    assert!(done.stderr.contains("no such luck"), "{}", done.stderr);
    assert_eq!(done.stdout, "");
}

#[test]
fn a_worker_that_hangs_before_the_handshake_is_exit_5_at_the_deadline() {
    let dir = TestDir::new();
    script(&dir, "hangs", "exec sleep 1000");
    let done = dir.run("run noop --worker-program ./hangs --start-timeout 200ms").expect(5);
    assert!(done.stderr.contains("--start-timeout"), "{}", done.stderr);
}

#[test]
fn a_worker_of_another_build_is_exit_5() {
    let dir = TestDir::new();
    // The same bytes, but another file: that is what an update on disk looks like.
    fs::copy(env!("CARGO_BIN_EXE_brigade"), dir.path("other")).unwrap();
    let done = dir.run("run noop --worker-program ./other").expect(5);
    assert!(done.stderr.contains("refused"), "{}", done.stderr);
    assert!(done.stderr.contains("use the same executable"), "{}", done.stderr);
}

#[test]
fn crashes_are_retried_and_told_by_signal() {
    let dir = TestDir::new();
    for (how, death) in [
        ("abort", "killed by SIGABRT"),
        ("segv", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL: killed from outside, perhaps by the kernel for memory"),
        ("exit", "exited with status 0"),
        ("stack-overflow", "killed by SIGABRT"),
    ] {
        let done = dir.run(&format!("run crash -p how={how} --retries 1 --format json"));
        let json = done.expect(1).json();
        let job = &json["jobs"][0];
        assert_eq!(job["status"], "crashed");
        assert_eq!(job["attempts"], 2);
        let error = job["error"].as_str().unwrap();
        let (told, printed) = error.split_once("; it printed: ").unwrap_or((error, ""));
        assert_eq!(told, format!("worker {death} (2 attempts)"), "{how}");
        // In one line of the error, and all of it beside it.
        let overflowed = how == "stack-overflow";
        assert_eq!(printed.contains("stack overflow"), overflowed, "{how}: {printed}");
        let all = job["stderr"].as_str().unwrap_or_default();
        assert_eq!(all.contains("has overflowed its stack"), overflowed, "{how}: {all}");
    }
}

#[test]
fn a_hanging_job_is_killed_and_the_others_run() {
    let dir = TestDir::new();
    dir.write(
        "jobs.jsonl",
        "{\"kernel\":\"hang\",\"timeout_ms\":50}\n{\"kernel\":\"noop\"}\n{\"kernel\":\"noop\"}\n",
    );
    let done = dir.run("batch jobs.jsonl --ordered --allow-fault-kernels").expect(1);
    let statuses: Vec<String> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|row| row["status"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(statuses, ["timed-out", "ok", "ok"]);
}

#[test]
fn the_log_tells_the_story_of_a_worker() {
    let dir = TestDir::new();
    let done = dir.run("run noop --workers 1 --log debug").expect(0);
    // A job does not wait for what is said of its worker.
    let stories: [&[&str]; 2] = [
        &["worker started worker=0", "worker is ready", "pool is ready", "worker leaves"],
        &["worker started worker=0", "job assigned job=0", "job finished job=0", "worker leaves"],
    ];
    for story in stories {
        let mut from = 0;
        for step in story {
            let at = done.stderr[from..].find(step);
            from += at.unwrap_or_else(|| panic!("no `{step}` in its place:\n{}", done.stderr));
        }
    }
}

/// Every backend and transport writes the same files.
#[test]
fn outputs_are_the_same_bytes_on_every_backend() {
    let dir = TestDir::new();
    for (name, size) in [("a.png", "40x30"), ("b.jpg", "64x64"), ("c.webp", "31x17")] {
        dir.image(name, size);
    }
    for kernel in ["blur", "resize", "sobel", "median", "canny", "grayscale"] {
        let mut first: Option<Vec<Vec<u8>>> = None;
        for backend in [
            "sync",
            "async",
            "threads",
            "threads-gil",
            "processes --transport inline",
            "processes --transport shm",
            "processes --transport arena",
            "processes --start-method forkserver",
        ] {
            let out = format!("{kernel}-{}", backend.replace(' ', "-"));
            dir.run(&format!("run {kernel} a.png b.jpg c.webp -o {out}/ -b {backend}")).expect(0);
            assert_eq!(dir.list(&out), ["a.png", "b.jpg", "c.webp"]);
            let files: Vec<Vec<u8>> =
                dir.list(&out).iter().map(|file| dir.read(&format!("{out}/{file}"))).collect();
            let first = first.get_or_insert_with(|| files.clone());
            assert!(*first == files, "{kernel} on {backend} writes other bytes");
        }
    }
}
