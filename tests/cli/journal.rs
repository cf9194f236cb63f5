//! Runs that go on after another: what is done is left out, what is not is run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use serde_json::Value;

use crate::util::{TestDir, finish, signal, wait_until};

fn dir(images: usize) -> TestDir {
    directory_of(images, 40)
}

/// With images of about so many pixels in either direction.
fn directory_of(images: usize, size: usize) -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("in")).unwrap();
    for i in 0..images {
        dir.image(&format!("in/{i}.png"), &format!("{}x{size}", size + i));
    }
    dir
}

fn resumed(json: &Value) -> Vec<bool> {
    let jobs = json["jobs"].as_array().unwrap();
    let mut rows: Vec<(u64, bool)> = jobs
        .iter()
        .map(|job| (job["id"].as_u64().unwrap(), job["resumed"].as_bool().unwrap_or(false)))
        .collect();
    rows.sort_unstable();
    rows.into_iter().map(|(_, resumed)| resumed).collect()
}

const BLUR: &str = "run blur in/0.png in/1.png in/2.png -o out --journal j --format json";

#[test]
fn a_second_run_leaves_out_what_the_first_has_done() {
    let dir = dir(3);
    let first = dir.run("run blur in/0.png in/1.png -o out --journal j --format json");
    assert_eq!(resumed(&first.expect(0).json()), [false, false]);
    let before = dir.read("out/0.png");
    let second = dir.run(&format!("{BLUR} --resume")).expect(0).says("2 jobs done");
    let json = second.json();
    assert_eq!(resumed(&json), [true, true, false]);
    assert_eq!((&json["summary"]["ok"], &json["summary"]["resumed"]), (&3.into(), &2.into()));
    assert_eq!(dir.read("out/0.png"), before);
    // The rows are complete: the same digests as in a run that does all of it.
    let digests = |json: &Value| -> BTreeMap<u64, Value> {
        let jobs = json["jobs"].as_array().unwrap().iter();
        jobs.map(|job| (job["id"].as_u64().unwrap(), job["digest"].clone())).collect()
    };
    let plain = dir.run("run blur in/0.png in/1.png in/2.png -b sync --format json").json();
    assert_eq!(digests(&json), digests(&plain));
    let third = dir.run(&format!("{BLUR} --resume")).expect(0).json();
    assert_eq!(resumed(&third), [true, true, true]);
}

#[test]
fn what_has_changed_is_run_again() {
    let dir = dir(3);
    dir.run(BLUR).expect(0);
    // An input.
    dir.image("other.png", "50x50");
    dir.write("in/1.png", dir.read("other.png"));
    let again = dir.run(&format!("{BLUR} --resume")).expect(0);
    let again = again.says("1 job run again, with other inputs or parameters");
    assert_eq!(resumed(&again.json()), [true, false, true]);
    dir.run("run blur in/1.png -o alone.png").expect(0);
    assert_eq!(dir.read("out/1.png"), dir.read("alone.png"));
    // A result that is gone.
    fs::remove_file(dir.path("out/2.png")).unwrap();
    let again = dir.run(&format!("{BLUR} --resume")).expect(0).says("gone");
    assert_eq!(resumed(&again.json()), [true, true, false]);
    // A parameter.
    let again = dir.run(&format!("{BLUR} --resume -p sigma=1")).expect(0);
    assert_eq!(resumed(&again.json()), [false, false, false]);
    // A result that is not what it was, whatever has changed it.
    let whole = dir.read("out/0.png");
    for left in [&b""[..], b"x", &whole[..20]] {
        dir.write("out/0.png", left);
        let again = dir.run(&format!("{BLUR} --resume -p sigma=1")).expect(0);
        assert_eq!(resumed(&again.says("had been changed").json()), [false, true, true]);
        assert_eq!(dir.read("out/0.png"), whole);
    }
}

/// Without it, nothing could be gone on with.
#[test]
fn a_journal_that_is_removed_ends_the_run() {
    for how in ["removed", "replaced"] {
        let dir = dir(1);
        let line = "{\"kernel\":\"blur\",\"inputs\":[\"in/0.png\"],\"output\":\"a.png\"}\n";
        let mut child = dir.command("batch - --journal j").stdin(Stdio::piped()).spawn().unwrap();
        wait_until("the journal has a session", || {
            fs::read(dir.path("j")).is_ok_and(|bytes| bytes.windows(8).any(|w| w == b"session\""))
        });
        fs::remove_file(dir.path("j")).unwrap();
        if how == "replaced" {
            dir.write("j", "mine");
        }
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), line.as_bytes()).unwrap();
        finish(child).expect(1).says("the journal j was removed while it was in use");
        let expected: &[&str] = if how == "replaced" { &["in", "j"] } else { &["in"] };
        assert_eq!(dir.list(""), expected, "no result that nobody knows of");
    }
}

/// No result replaces what its run depends on, by whatever name.
#[test]
fn no_result_replaces_journal_batch_or_report() {
    let dir = dir(2);
    dir.write("d/keep", "");
    for (target, link) in [("j", "to-j"), ("jobs", "to-jobs"), ("rows", "to-rows")] {
        std::os::unix::fs::symlink(target, dir.path(link)).unwrap();
    }
    let outputs = [
        "j",
        "./j",
        "d/../j",
        "to-j",
        "jobs",
        "./jobs",
        "to-jobs",
        "rows",
        "to-rows",
        "d/../rows",
        "trace",
        "good.json",
    ];
    let lines = outputs.map(|output| {
        format!("{{\"kernel\":\"histogram\",\"inputs\":[\"in/0.png\"],\"output\":\"{output}\"}}\n")
    });
    let lines = lines.concat();
    dir.write("jobs", &lines);
    for batch in ["jobs", "- < jobs"] {
        let brigade = env!("CARGO_BIN_EXE_brigade");
        let line = format!(
            "exec {brigade} batch {batch} --force --ordered --journal j --output rows --trace trace"
        );
        let rows = finish(dir.shell(&line).spawn().unwrap()).expect(1).lines();
        assert_eq!(rows.len(), outputs.len());
        for (row, output) in rows.iter().zip(outputs) {
            let error = row["error"].as_str().unwrap_or_default();
            let expected = match output {
                "good.json" => "",
                "trace" => "it is the --trace file of this run",
                name if name.contains("jobs") => "it is the batch itself",
                name if name.contains("rows") => "it is the --output file of this run",
                _ => "it is the journal of this run",
            };
            assert!(error.ends_with(expected) && error.is_empty() == expected.is_empty(), "{row}");
        }
        assert_eq!(dir.read("jobs"), lines.as_bytes());
        fs::remove_file(dir.path("j")).unwrap();
    }
    // What a run would write into a directory.
    let before = dir.list("");
    fs::create_dir(dir.path("out")).unwrap();
    std::os::unix::fs::symlink("../j", dir.path("out/1.png")).unwrap();
    for (option, file) in [
        ("--journal", "out/0.png"),
        ("--journal", "j"),
        ("--output", "out/../out/0.png"),
        ("--trace", "out/0.png"),
    ] {
        let line = format!("run blur in/0.png in/1.png -o out/ --force {option} {file}");
        dir.run(&line).expect(2).says("is where the result out/");
        assert_eq!(dir.list("out"), ["1.png"]);
    }
    fs::remove_dir_all(dir.path("out")).unwrap();
    assert_eq!(dir.list(""), before);
}

/// A job counts as done with what it has read, whatever was in its file when it was accepted.
#[test]
fn a_file_that_changes_before_it_is_read_is_known_as_it_was_read() {
    let dir = dir(1);
    dir.image("new.png", "50x50");
    dir.write("bad.png", "no image");
    let gate = dir.path("gate.png");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let old = dir.read("in/0.png");
    for (backend, more) in [("threads", ""), ("processes", "--depth 1")] {
        let line = format!(
            "run blur bad.png gate.png in/0.png -o out-{backend} --journal {backend} --keep-going \
             -b {backend} -w 1 {more}"
        );
        dir.write("in/0.png", &old);
        // The first has failed, the second waits for its input, and the third waits for that. What is
        // accepted gets to the file with the next record that has to, which is that failure; beside
        // other load it may have come too early.
        let accepted = (0..100).find_map(|_| {
            let _ = fs::remove_file(dir.path(backend));
            let mut child = dir.command(&line).spawn().unwrap();
            let mut journal = String::new();
            wait_until("the first has failed", || {
                journal = fs::read_to_string(dir.path(backend)).unwrap_or_default();
                journal.contains(" {\"failed\":")
            });
            if journal.contains("/0.png\"}}") {
                return Some(child);
            }
            child.kill().unwrap();
            child.wait().unwrap();
            None
        });
        let child = accepted.expect("the third was accepted before the first had failed");
        dir.write("in/0.png", dir.read("new.png"));
        fs::write(&gate, &old).unwrap();
        finish(child).expect(1);
        let output = format!("out-{backend}/0.png");
        let made = dir.read(&output);
        let again = |image: &[u8]| {
            dir.write("in/0.png", image);
            let line = format!(
                "run blur in/0.png -o out-{backend} --journal {backend} --resume --format json"
            );
            resumed(&dir.run(&line).expect(0).json())
        };
        assert_eq!(again(&dir.read("new.png")), [true], "{backend}");
        assert_eq!(again(&old), [false], "{backend}: its file is another now");
        assert_ne!(dir.read(&output), made);
    }
}

/// What no job of the journal has written is somebody else's.
#[test]
fn a_file_that_the_journal_does_not_know_is_refused() {
    let dir = dir(3);
    dir.run("run blur in/0.png in/1.png -o out --journal j").expect(0);
    dir.write("out/2.png", "mine");
    let journal = dir.read("j");
    let refused = dir.run(&format!("{BLUR} --resume")).expect(2);
    refused.says("it is not what the journal says");
    assert_eq!((dir.read("out/2.png"), dir.read("j")), (b"mine".to_vec(), journal.clone()));
    // Where the end of the journal is missing, it may be a result, but for what is in it.
    dir.write("j", &journal[..journal.len() - 9]);
    let failed = dir.run(&format!("{BLUR} --resume --keep-going")).expect(1);
    let failed = failed.says("unfinished record");
    let json = failed.json();
    assert_eq!(resumed(&json), [true, true, false]);
    let said = json["jobs"][2]["error"].as_str().unwrap();
    assert!(said.contains("not what this job computes; --force"), "{said}");
    assert_eq!(dir.read("out/2.png"), b"mine");
    // And by now the journal has its end, and says that the place is taken.
    dir.run(&format!("{BLUR} --resume")).expect(2).says("--force replaces it");
    dir.run(&format!("{BLUR} --resume --force")).expect(0);
    assert_ne!(dir.read("out/2.png"), b"mine");
}

/// A job that fails on a new input leaves what it had made of the old one, and may replace it.
#[test]
fn what_a_job_wrote_before_it_failed_is_its_own() {
    let dir = dir(1);
    let line = "run blur in/0.png -o out/0.png --journal j --resume";
    fs::create_dir(dir.path("out")).unwrap();
    dir.run(line).expect(0);
    let (input, before) = (dir.read("in/0.png"), dir.read("out/0.png"));
    dir.write("in/0.png", &input[..40]);
    dir.run(line).expect(1);
    assert_eq!(dir.read("out/0.png"), before);
    dir.image("other.png", "50x50");
    dir.write("in/0.png", dir.read("other.png"));
    dir.run(line).expect(0);
    assert_ne!(dir.read("out/0.png"), before);
}

#[test]
fn a_torn_end_is_dropped_and_other_damage_is_refused() {
    let dir = dir(3);
    dir.run(BLUR).expect(0);
    let journal = dir.read("j");
    // In the middle of the last result: that job is run again.
    let last = journal.windows(8).rposition(|window| window == b" {\"done\"").unwrap();
    dir.write("j", &journal[..last + 20]);
    let again = dir.run(&format!("{BLUR} --resume")).expect(0).says("unfinished record");
    assert_eq!(resumed(&again.json()).iter().filter(|&&resumed| resumed).count(), 2);
    dir.run(&format!("{BLUR} --resume")).expect(0).says("3 jobs done");

    let mut damaged = journal.clone();
    damaged[journal.len() / 2] ^= 1;
    for (bytes, said) in [
        (damaged, "is damaged at line"),
        (b"a list of things to buy\n".to_vec(), "is not a journal of Brigade"),
        (
            b"0000000000000000 {\"journal\":{\"schema\":\"brigade.journal.v9\"}}\n".to_vec(),
            "of another version of Brigade (`brigade.journal.v9`",
        ),
    ] {
        dir.write("j", &bytes);
        dir.run(&format!("{BLUR} --resume")).expect(2).says(said);
        assert_eq!(dir.read("j"), bytes, "nothing is changed");
    }
}

#[test]
fn wrong_uses_are_refused_and_change_nothing() {
    let dir = dir(1);
    dir.run("run blur in/0.png --resume").expect(2).says("--journal");
    dir.run("run blur in/0.png -o o.png --journal in/0.png --resume").expect(2).says("--journal");
    dir.run("run blur in/0.png -o o.png --journal o.png").expect(2).says("--journal");
    dir.run("run noop --journal no/j").expect(2).says("cannot write --journal no/j");
    dir.run("run noop --journal in").expect(2).says("is not a file");
    dir.write("jobs", "{\"kernel\":\"noop\"}\n");
    dir.run("batch jobs --journal jobs --resume").expect(2).says("--journal jobs is also");
    dir.run("run noop --journal j").expect(0);
    dir.run("run noop --journal j").expect(2).says("--resume continues it");
    dir.run("batch jobs --journal j").expect(2).says("--resume continues it");
    assert_eq!(dir.list(""), ["in", "j", "jobs"]);
}

#[test]
fn one_journal_has_one_coordinator() {
    let dir = dir(0);
    let mut first = dir.command("batch - --journal j").stdin(Stdio::piped()).spawn().unwrap();
    wait_until("the journal has a session", || {
        fs::read(dir.path("j")).is_ok_and(|bytes| bytes.ends_with(b"}\n"))
    });
    dir.run("run noop --journal j --resume").expect(2).says("in use by another brigade");
    drop(first.stdin.take());
    finish(first).expect(0);
    dir.run("run noop --journal j --resume").expect(0);
}

#[test]
fn a_journal_that_cannot_be_written_ends_the_run() {
    let dir = dir(0);
    // A limit on the size of files stands for a disk that is full.
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let line = format!(
        "trap '' XFSZ; ulimit -f 1; exec {brigade} run noop -b threads --jobs 500 --journal j --format json"
    );
    finish(dir.shell(&line).spawn().unwrap()).expect(1).says("cannot write the journal j");
    // What is in it is whole.
    let again = dir.run("run noop --jobs 500 --journal j --resume --format json").expect(0);
    assert_eq!(again.json()["summary"]["ok"], 500);
}

#[test]
fn a_batch_goes_on_by_what_its_lines_say() {
    let dir = dir(2);
    let line = |i: u64| {
        format!("{{\"kernel\":\"blur\",\"inputs\":[\"in/{i}.png\"],\"output\":\"o{i}.png\"}}\n")
    };
    let noop = "{\"kernel\":\"noop\"}\n";
    let first = format!("{}{noop}{noop}", line(0));
    dir.feed("batch - --journal j", &first).expect(0);
    // A line before the others, and one equal line more.
    let second = format!("{}{noop}{}{noop}{noop}", line(1), line(0));
    let done = dir.feed("batch - --journal j --resume --ordered", &second).expect(0);
    let rows = done.lines();
    let told: Vec<bool> =
        rows.iter().map(|row| row["resumed"].as_bool().unwrap_or(false)).collect();
    assert_eq!(told, [false, true, true, true, false]);
    assert!(rows.iter().all(|row| row["status"] == "ok"), "{rows:?}");
    assert_eq!(rows[2]["output"], "o0.png");
    // A failed job is tried again; it was no result.
    let bad = "{\"kernel\":\"panic\"}\n";
    dir.feed("batch - --allow-fault-kernels --journal k", bad).expect(1);
    let line = "batch - --allow-fault-kernels --journal k --resume";
    let again = dir.feed(line, bad).expect(1).says("0 jobs done");
    assert_eq!(again.lines()[0]["status"], "failed");
}

/// Ids that are the numbers of the lines are names all the same.
#[test]
fn lines_may_be_added_before_jobs_with_numbers_as_ids() {
    let dir = dir(3);
    let line = |i: u64| {
        format!(
            "{{\"id\":{i},\"kernel\":\"blur\",\"inputs\":[\"in/{}.png\"],\"output\":\"o{i}.png\"}}\n",
            i % 3
        )
    };
    let first: String = [1, 2, 3].map(line).concat();
    dir.feed("batch - --journal j", &first).expect(0);
    let more: String = [4, 1, 3, 2].map(line).concat();
    let again = dir.feed("batch - --journal j --resume --ordered", &more).expect(0).lines();
    let told: Vec<bool> =
        again.iter().map(|row| row["resumed"].as_bool().unwrap_or(false)).collect();
    assert_eq!(told, [false, true, true, true]);
}

/// A journal names what lies beside it relative to its own directory.
#[test]
fn a_directory_that_is_moved_with_its_journal_is_gone_on_with() {
    let dir = dir(3);
    let work = |place: &str| {
        let line = "run blur in/0.png in/1.png in/2.png -o out --journal j --resume --format json";
        let child = dir.command(line).current_dir(dir.path(place)).spawn();
        resumed(&finish(child.unwrap()).expect(0).json())
    };
    fs::create_dir(dir.path("one")).unwrap();
    fs::rename(dir.path("in"), dir.path("one/in")).unwrap();
    assert_eq!(work("one"), [false; 3]);
    fs::rename(dir.path("one"), dir.path("two")).unwrap();
    let before = dir.read("two/out/0.png");
    assert_eq!(work("two"), [true; 3]);
    assert_eq!(dir.read("two/out/0.png"), before);
    let journal = String::from_utf8(dir.read("two/j")).unwrap();
    assert!(journal.contains("\"out/0.png\""), "{journal}");
    // From another directory, by other words for the same files.
    let line = "run blur two/in/0.png two/in/1.png two/in/2.png -o two/out --format json --resume";
    let again = dir.run(&format!("{line} --journal two/j")).expect(0).json();
    assert_eq!(resumed(&again), [true; 3]);
    // The journal alone, away from its files.
    fs::create_dir(dir.path("kept")).unwrap();
    fs::rename(dir.path("two/j"), dir.path("kept/j")).unwrap();
    let again = dir.run(&format!("{line} --journal kept/j")).expect(0).json();
    assert_eq!(resumed(&again), [true; 3]);
    // A copy whose results are gone is computed there, and the first is left alone.
    fs::rename(dir.path("kept/j"), dir.path("two/j")).unwrap();
    fs::rename(dir.path("two"), dir.path("three")).unwrap();
    fs::remove_dir_all(dir.path("three/out")).unwrap();
    assert_eq!(work("three"), [false; 3]);
    assert_eq!(dir.read("three/out/0.png"), before);
}

/// The coordinator is killed again and again, at moments that depend on how far it got.
#[test]
fn a_killed_run_is_completed_by_the_next() {
    let dir = directory_of(8, 480);
    let jobs: String = (0..48)
        .map(|i| {
            format!(
                "{{\"id\":\"j{i}\",\"kernel\":\"median\",\"params\":{{\"radius\":{}}},\
                 \"inputs\":[\"in/{}.png\"],\"output\":\"out/{i}.png\"}}\n",
                1 + i / 8,
                i % 8
            )
        })
        .collect();
    dir.write("jobs", &jobs);
    dir.write("out/.keep", "");
    dir.write("sync/out/.keep", "");
    let (mut done, mut kills) = (0, 0);
    for round in 1.. {
        assert!(round < 40, "it gets nowhere");
        let mut child =
            dir.command("batch jobs --journal j --resume --durability sync").spawn().unwrap();
        // A few records further than last time, and perhaps in the middle of the next.
        let goal = done + 1 + round % 5;
        wait_until("some jobs are done, or all", || {
            count(&dir) >= goal || child.try_wait().unwrap().is_some()
        });
        if child.try_wait().unwrap().is_none() {
            signal(child.id(), "KILL");
        }
        let status = child.wait().unwrap();
        kills += u32::from(status.signal() == Some(9));
        done = count(&dir);
        if status.success() {
            break;
        }
    }
    assert!(kills >= 2, "it was over before it was killed");
    let last = dir.run("batch jobs --journal j --resume").expect(0).says("48 jobs done");
    assert!(last.lines().iter().all(|row| row["resumed"] == true));
    // Each result is what plain code computes, and nothing else is there.
    let rows: BTreeMap<String, String> = last.lines().iter().map(of_row).collect();
    let plain = dir.run("batch jobs --force -b sync").expect(0).lines();
    assert_eq!(rows, plain.iter().map(of_row).collect());
    let mut names: Vec<String> = (0..48).map(|i| format!("{i}.png")).collect();
    names.push(".keep".to_owned());
    names.sort();
    assert_eq!(dir.list("out"), names);
    // Every job has one result in the journal that counts: none was done twice after it was
    // in place.
    for row in last.lines() {
        assert_eq!(row["attempts"], 1);
    }
}

fn of_row(row: &Value) -> (String, String) {
    (row["id"].to_string(), row["digest"].to_string())
}

/// Jobs that the journal has a result of.
fn count(dir: &TestDir) -> usize {
    let journal = fs::read_to_string(dir.path("j")).unwrap_or_default();
    journal.lines().filter(|line| line.contains(" {\"done\":") && line.ends_with('}')).count()
}
