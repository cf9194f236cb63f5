//! Limits and the sandbox, from the command line.

use crate::util::{TestDir, digests, finish};

#[test]
fn a_job_beyond_the_memory_limit_fails_and_the_others_run() {
    let dir = TestDir::new();
    let noops = "{\"kernel\":\"noop\"}\n".repeat(20);
    dir.write("jobs.jsonl", format!("{{\"kernel\":\"hog\"}}\n{noops}"));
    for method in ["spawn", "forkserver"] {
        let flags = "--ordered --memory-limit 256MiB --allow-fault-kernels";
        let line = format!("batch jobs.jsonl {flags} --start-method {method}");
        let rows = dir.run(&line).expect(1).lines();
        assert_eq!(rows[0]["status"], "failed");
        assert_eq!(rows[0]["attempts"], 1);
        assert!(rows[0]["error"].as_str().unwrap().contains("memory limit"), "{}", rows[0]);
        assert!(rows[1..=20].iter().all(|row| row["status"] == "ok"));
    }
    let done = dir.run("run hog --memory-limit 256MiB").expect(1);
    assert!(done.stdout.contains("failed: job 0: memory limit"), "{done:#?}");
    dir.run("run hog -p mib=100 --memory-limit 256MiB").expect(0);
}

#[test]
fn a_job_beyond_the_processor_time_limit_fails() {
    let dir = TestDir::new();
    let done = dir.run("run hang -p how=spin --cpu-limit 50ms --format json").expect(1);
    let job = &done.json()["jobs"][0];
    assert_eq!((&job["status"], &job["attempts"]), (&"failed".into(), &1.into()));
    assert!(job["error"].as_str().unwrap().starts_with("cpu limit"), "{job}");
}

#[test]
fn limits_and_sandbox_need_worker_processes() {
    let dir = TestDir::new();
    for flag in ["--memory-limit 256MiB", "--cpu-limit 1s", "--sandbox", "--sandbox=best-effort"] {
        let done = dir.run(&format!("run noop -b threads {flag}")).expect(2);
        assert!(done.stderr.contains("--backend processes"), "{flag}: {}", done.stderr);
    }
    let done = dir.run("run noop --memory-limit 1KiB").expect(2);
    assert!(done.stderr.contains("--memory-limit"), "{}", done.stderr);
}

/// Every image kernel and format decodes, computes and encodes in the sandbox.
#[test]
fn outputs_in_the_sandbox_are_the_same_bytes() {
    let dir = TestDir::new();
    for (name, size) in
        [("a.png", "90x70"), ("b.jpg", "64x64"), ("c.webp", "31x17"), ("d.tiff", "20x30")]
    {
        dir.image(name, size);
    }
    for kernel in [
        "grayscale",
        "blur",
        "resize",
        "sobel",
        "median",
        "sharpen",
        "equalize",
        "histogram",
        "canny",
        "corners",
    ] {
        let run = |options: &str| {
            let line = format!("run {kernel} a.png b.jpg c.webp d.tiff --format json {options}");
            digests(&dir.run(&line).expect(0).json())
        };
        let plain = run("-b sync");
        // One that lacks a part says so, and does the same.
        for how in
            ["transport arena", "transport shm", "transport inline", "start-method forkserver"]
        {
            let options = format!("--sandbox=best-effort --{how}");
            assert!(run(&options) == plain, "{kernel} {options}");
        }
    }
}

#[test]
fn address_space_that_is_not_enough_is_told_and_no_panic() {
    let dir = TestDir::new();
    let limited = |mib: u32, line: &str| {
        let brigade = dir.command(line);
        let mut shell = dir.shell(&format!("ulimit -v {}; exec \"$0\" \"$@\"", mib << 10));
        shell.arg(brigade.get_program()).args(brigade.get_args());
        finish(shell.spawn().unwrap())
    };
    // Whether a run with so much ended well; nothing if it says nothing of Brigade's.
    let ends_well = |mib: u32, how: &str| {
        let line = format!("run touch --jobs 3 -w 2 --size 4MiB --keep-going --transport {how}");
        let done = limited(mib, &line);
        let said = format!("{}{}", done.stdout, done.stderr);
        // The standard library gives each thread a stack for signals, and has no error for when
        // there is no room for that one page: it ends the program.
        if said.contains("failed to allocate an alternative stack") {
            return None;
        }
        assert!(!said.contains("panicked"), "{mib} MiB, {how}: {said}");
        assert!(done.code.is_some(), "{mib} MiB, {how}: ended by a signal: {said}");
        let names_it = ["ulimit -v", "no memory", "memory for"].iter().any(|it| said.contains(it));
        assert!(done.code == Some(0) || names_it, "{mib} MiB, {how}, {:?}: {said}", done.code);
        Some(done.code == Some(0))
    };
    let ends: Vec<Option<bool>> = std::thread::scope(|scope| {
        // They mostly wait: a job for which there is no memory is tried several times.
        let ways = ["arena", "shm", "inline", "arena --start-method forkserver"].map(|how| {
            let (limited, ends_well) = (&limited, &ends_well);
            scope.spawn(move || {
                [28, 32, 36, 40, 48, 60, 100, 400]
                    .into_iter()
                    // Where the program itself fits.
                    .filter(|&mib| limited(mib, "--version").code == Some(0))
                    .map(|mib| ends_well(mib, how))
                    .collect::<Vec<_>>()
            })
        });
        ways.into_iter().flat_map(|way| way.join().unwrap()).collect()
    });
    let [well, told] =
        [Some(true), Some(false)].map(|end| ends.iter().filter(|&&other| other == end).count());
    assert!(well > 0 && told > 0, "{well} ended well, {told} did not");
}

#[test]
fn descriptors_that_are_not_enough_are_noticed_at_the_start() {
    let dir = TestDir::new();
    let limited = |descriptors: u32, line: &str| {
        let brigade = dir.command(line);
        let mut shell = dir.shell(&format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""));
        shell.arg(brigade.get_program()).args(brigade.get_args());
        finish(shell.spawn().unwrap())
    };
    let done = limited(20, "run noop --workers 2").expect(5);
    assert!(done.stderr.contains("raise ulimit -n"), "{}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    for transport in ["arena", "shm", "inline"] {
        let line = format!("run touch --workers 1 --jobs 20 --size 1MiB --transport {transport}");
        // Enough by the same reckoning.
        let done = limited(48, &line).expect(0);
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    }
}
