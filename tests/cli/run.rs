//! `brigade run` where all is well, and where it is ended early.

use std::io::{BufReader, Read};

use serde_json::Value;

use crate::util::{BACKENDS, TestDir, digests, finish, next_line, signal, wait_until};

#[test]
fn every_backend_writes_the_same_files() {
    let dir = TestDir::new();
    dir.image("a.png", "64x48");
    dir.image("b.jpg", "33x21");
    let mut expected = None;
    for backend in BACKENDS {
        let line = format!("run blur a.png b.jpg -p sigma=1.5 -b {backend} -o {backend}");
        let done = dir.run(&format!("{line} --format json")).expect(0);
        assert_eq!(dir.list(backend), ["a.png", "b.jpg"]);
        let files = ["a.png", "b.jpg"].map(|name| dir.read(&format!("{backend}/{name}")));
        let digests = digests(&done.json());
        assert_eq!(expected.get_or_insert((files.clone(), digests.clone())), &(files, digests));
    }
}

#[test]
fn the_report_is_complete_and_spans_add_up_exactly() {
    let dir = TestDir::new();
    for backend in ["sync", "threads", "processes"] {
        let line = format!("run blur --jobs 9 --size 60x40 -b {backend} --format json");
        let report = dir.run(&line).expect(0).json();
        assert_eq!(report["schema"], "brigade.run.v1");
        assert_eq!(report["config"]["backend"], backend);
        assert_eq!(report["config"]["kernel"], "blur");
        assert!(report["host"]["cpu"].is_string());
        assert!(report["startup_us"].is_number() && report["wall_us"].is_number());
        assert!(!report["workers"].as_array().unwrap().is_empty());
        let jobs = report["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 9);
        let (mut compute, mut overhead) = (0, 0);
        for job in jobs {
            assert_eq!((&job["status"], &job["error"]), (&Value::from("ok"), &Value::Null));
            assert_eq!((&job["kernel"], &job["attempts"]), (&"blur".into(), &1.into()));
            assert!(job["worker"].is_u64() && job["pid"].is_u64());
            assert_eq!(job["digest"].as_str().unwrap().len(), 64);
            assert!(job["bytes_in"].as_u64() > Some(60 * 40) && job["bytes_out"].is_u64());
            assert!(job["input"].is_null() && job["output"].is_null());
            let spans = job["spans_us"].as_object().unwrap();
            assert_eq!(spans.len(), 7);
            let sum: u64 = spans.values().map(nanos).sum();
            assert_eq!(sum, nanos(&job["total_us"]));
            compute += nanos(&spans["compute"]);
            overhead += sum - nanos(&spans["queue"]) - nanos(&spans["compute"]);
        }
        let summary = &report["summary"];
        assert_eq!((&summary["ok"], &summary["failed"]), (&9.into(), &0.into()));
        assert_eq!(nanos(&summary["compute_us"]), compute);
        assert_eq!(nanos(&summary["overhead_us"]), overhead);
        let shares: u64 = summary["workers_us"].as_object().unwrap().values().map(nanos).sum();
        let workers = report["config"]["workers"].as_u64().unwrap();
        assert_eq!(shares, workers * nanos(&report["wall_us"]));
        for field in ["jobs_per_s", "efficiency", "restarts", "peak_rss_bytes"] {
            assert!(summary.get(field).is_some(), "{field}");
        }
    }
}

/// At depth 2 most jobs of a worker are given to it while it computes the one before.
#[test]
fn waiting_for_the_workers_job_before_is_told_apart_from_handing_over() {
    let dir = TestDir::new();
    let line = "run spin --jobs 12 -p us=5000 -w 1 --depth 2 --format json --output a.json";
    let report = dir.run(line).expect(0).json();
    let mut behind = 0;
    for job in report["jobs"].as_array().unwrap() {
        let waited = nanos(&job["behind_us"]);
        assert!(waited <= nanos(&job["spans_us"]["deliver"]), "{job}");
        behind += waited;
    }
    let of = |key: &str| nanos(&report["summary"][key]);
    assert_eq!(of("behind_us"), behind);
    assert_eq!(of("handover_us"), of("overhead_us") - behind);
    assert!(3 * behind > of("compute_us"), "{}", report["summary"]);
    dir.run("report a.json").expect(0);
    let page = String::from_utf8(dir.read("a.html")).unwrap();
    assert!(page.contains("for the job that its worker had before."), "{page}");
    // In one process a job is given to a thread that is free.
    let line = "run spin --jobs 4 -p us=1000 -w 1 -b threads --format json";
    assert_eq!(dir.run(line).expect(0).json()["summary"]["behind_us"], 0);
}

/// Microseconds as written, in whole nanoseconds: exact, no rounding in between.
fn nanos(micros: &Value) -> u64 {
    let text = micros.to_string();
    let (whole, thousandths) = text.split_once('.').unwrap_or((&text, ""));
    assert!(thousandths.len() <= 3, "{text}");
    format!("{whole}{thousandths:0<3}").parse().unwrap()
}

#[test]
fn lines_of_json_stream_and_end_in_a_summary() {
    let dir = TestDir::new();
    let line = "run spin --jobs 20 -p us=100 -b threads --format jsonl --output copy.jsonl";
    let done = dir.run(line).expect(0);
    let lines = done.lines();
    assert_eq!(lines.len(), 21);
    assert_eq!(lines[20]["summary"]["ok"], 20);
    assert!(lines[20].get("jobs").is_none());
    assert_eq!(dir.read("copy.jsonl"), done.stdout.as_bytes());
}

#[test]
fn the_human_summary_tells_what_was_and_where_time_went() {
    let dir = TestDir::new();
    for backend in ["threads", "processes"] {
        let done = dir.run(&format!("run spin --jobs 8 -p us=2000 -b {backend}")).expect(0);
        for text in [
            "8 ok",
            "jobs at a time",
            "processor time",
            "wall time",
            "compute",
            "communication",
            "start-up",
            "idle",
        ] {
            assert!(done.stdout.contains(text), "{text}: {}", done.stdout);
        }
        // There is nothing that it was measured against.
        for text in ["speedup", "efficiency", "share"] {
            assert!(!done.stdout.contains(text), "{text}: {}", done.stdout);
        }
        assert!(done.stderr.is_empty(), "{}", done.stderr);
    }
}

#[test]
fn workers_that_share_cores_are_told_of_and_processor_time_is_counted() {
    let dir = TestDir::new();
    let workers = 2 * std::thread::available_parallelism().unwrap().get();
    for backend in ["threads", "processes"] {
        let line = format!("run blur --jobs 8 --size 300x300 -w {workers} -b {backend}");
        let done = dir.run(&line).expect(0);
        let told = format!("{workers} workers share ");
        assert!(done.stdout.contains(&told), "{}", done.stdout);
        let summary = &dir.run(&format!("{line} --format json")).expect(0).json()["summary"];
        assert!(summary["cpu_us"].as_f64().unwrap() > 0.0, "{summary}");
        assert_eq!(summary["jobs_in_kernel"], summary["speedup"]);
    }
}

#[test]
fn formats_follow_names() {
    let dir = TestDir::new();
    dir.image("a.png", "20x10");
    dir.run("run blur a.png -o b.jpg").expect(0);
    assert_eq!(dir.read("b.jpg")[..2], [0xff, 0xd8]);
    dir.run("run blur a.png b.jpg -o w --ext webp").expect(0);
    assert_eq!(dir.list("w"), ["a.webp", "b.webp"]);
    assert_eq!(dir.read("w/b.webp")[..4], *b"RIFF");
    dir.run("run corners a.png -o c/").expect(0);
    assert_eq!(dir.list("c"), ["a.json"]);
}

#[test]
fn without_keep_going_a_failure_ends_the_run_and_the_rest_is_cancelled() {
    let dir = TestDir::new();
    dir.image("a.png", "16x16");
    dir.write("b.png", "");
    for name in ["c", "d", "e"] {
        dir.write(&format!("{name}.png"), dir.read("a.png"));
    }
    let all = "a.png b.png c.png d.png e.png";
    let report = dir.run(&format!("run blur {all} -b sync --format json")).expect(1).json();
    let statuses = |report: &Value| {
        let mut jobs = report["jobs"].as_array().unwrap().clone();
        jobs.sort_by_key(|job| job["id"].as_u64());
        jobs.iter().map(|job| job["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&report), ["ok", "failed", "cancelled", "cancelled", "cancelled"]);
    let line = format!("run blur {all} -b sync --format json --keep-going");
    let report = dir.run(&line).expect(1).json();
    assert_eq!(statuses(&report), ["ok", "failed", "ok", "ok", "ok"]);
}

#[test]
fn stdout_closed_early_ends_quietly() {
    let dir = TestDir::new();
    for backend in ["sync", "threads", "processes"] {
        let line = format!("run spin --jobs 100000 -p us=200 -b {backend} --format jsonl");
        let mut child = dir.command(&line).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        next_line(&mut stdout);
        drop(stdout);
        let done = finish(child).expect(141);
        assert!(done.stderr.is_empty(), "{}", done.stderr);
    }
    // Everything has run by the time that the summary finds nobody.
    let mut child = dir.command("run spin --jobs 3 -p us=10 -b sync").spawn().unwrap();
    drop(child.stdout.take());
    assert!(finish(child).expect(0).stderr.is_empty());
}

#[test]
fn the_first_signal_lets_running_jobs_finish() {
    let dir = TestDir::new();
    for (backend, name, code) in
        [("processes", "INT", 130), ("threads", "TERM", 143), ("sync", "INT", 130)]
    {
        let line = format!("run spin --jobs 100000 -p us=2000 -b {backend} --format jsonl");
        let mut child = dir.command(&line).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        next_line(&mut stdout);
        signal(child.id(), name);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let done = finish(child).expect(code).says("running ones finish");
        assert!(!done.stderr.contains("error"), "{}", done.stderr);
        let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
        let summary = &last["summary"];
        assert_eq!(summary["jobs"], 100_000, "every job has one outcome");
        assert_eq!(rest.lines().count(), 100_000);
        assert!(summary["ok"].as_u64() > Some(0));
        assert_eq!(summary["by_status"]["failed"], 0);
        assert!(summary["ended_early"].as_str().unwrap().contains(name));
    }
}

#[test]
fn the_second_signal_kills_running_jobs() {
    let dir = TestDir::new();
    // The first job has its result; the second would run for longer than any test may.
    dir.write(
        "jobs.jsonl",
        r#"{"kernel":"spin","params":{"us":1}}
{"kernel":"spin","params":{"us":1000000000}}"#,
    );
    let mut child = dir.command("batch jobs.jsonl -w 1 --log debug").spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut hear = |what: &str| {
        wait_until(what, || {
            let line = next_line(&mut stderr);
            assert!(!line.is_empty(), "it has ended");
            line.contains(what)
        });
    };
    assert!(next_line(&mut stdout).contains("\"ok\""));
    hear("job assigned job=1");
    signal(child.id(), "INT");
    hear("SIGINT");
    signal(child.id(), "INT");
    // So that it does not block in writing.
    let reader = std::thread::spawn(move || stderr.read_to_string(&mut String::new()));
    finish(child).expect(130);
    reader.join().unwrap().unwrap();
    let second: Value = serde_json::from_str(&next_line(&mut stdout)).unwrap();
    assert_eq!(second["status"], "cancelled");
}
