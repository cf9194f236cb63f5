//! `--trace`: the timeline, and where each worker's time went.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use crate::util::{Done, TestDir};

/// Microseconds.
type Slice = (f64, f64);

/// A timeline as its readers see it.
struct Timeline(Vec<Value>);

impl Timeline {
    fn read(dir: &TestDir, name: &str) -> Self {
        let document: Value = serde_json::from_slice(&dir.read(name)).unwrap();
        assert_eq!(document["displayTimeUnit"], "ms");
        Self(document["traceEvents"].as_array().unwrap().clone())
    }

    fn of<'a>(&'a self, ph: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| event["ph"] == ph)
    }

    /// Slices by track, in order.
    fn tracks(&self) -> BTreeMap<u64, Vec<Slice>> {
        let mut tracks = BTreeMap::<u64, Vec<Slice>>::new();
        for event in self.of("X") {
            let (from, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
            assert!(from >= 0.0 && length > 0.0, "{event}");
            tracks.entry(event["tid"].as_u64().unwrap()).or_default().push((from, from + length));
        }
        for slices in tracks.values_mut() {
            slices.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        tracks
    }

    /// Slices of all tracks of one worker, in order of their begins.
    fn worker(&self, row: &Value) -> Vec<Slice> {
        let name = format!("worker {} (pid {})", row["worker"], row["pid"]);
        let tracks = self.tracks();
        let mut slices: Vec<Slice> = self
            .of("M")
            .filter(|event| event["name"] == "thread_name")
            .filter(|event| event["args"]["name"].as_str().unwrap().starts_with(&name))
            .flat_map(|event| tracks.get(&event["tid"].as_u64().unwrap()).cloned().unwrap())
            .collect();
        assert!(!slices.is_empty(), "{name}");
        slices.sort_by(|a, b| a.0.total_cmp(&b.0));
        slices
    }

    fn instants(&self) -> Vec<&str> {
        self.of("i").map(|event| event["name"].as_str().unwrap()).collect()
    }
}

/// Time from the first begin to the last end, and how much of it nothing covers.
fn wall_and_gaps(slices: &[Slice]) -> (f64, f64) {
    let (begin, mut until) = (slices[0].0, slices[0].0);
    let mut gaps = 0.0;
    for &(from, to) in slices {
        gaps += (from - until).max(0.0);
        until = until.max(to);
    }
    (until - begin, gaps)
}

#[test]
fn each_workers_time_is_all_accounted_for() {
    let dir = TestDir::new();
    // The workers have unequal shares, so some are idle at the end.
    for (line, workers) in [
        ("run spin --jobs 13 -p us=20000 -b processes -w 3", 3),
        ("run spin --jobs 13 -p us=20000 -b processes --transport shm -w 2", 2),
        ("run spin --jobs 13 -p us=20000 -b threads -w 3", 3),
        ("run wait --jobs 13 -p us=20000 -b threads-gil -w 2", 2),
        ("run blur --jobs 13 -b sync", 1),
        ("run wait --jobs 13 -p us=20000 -b async", 1),
    ] {
        let begin = Instant::now();
        let report = dir.run(&format!("{line} --trace t.json --format json")).expect(0).json();
        let outside = begin.elapsed().as_secs_f64() * 1e6;
        let timeline = Timeline::read(&dir, "t.json");
        for (track, slices) in timeline.tracks() {
            for pair in slices.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "{line}: on track {track}: {pair:?}");
            }
        }
        let rows = report["workers"].as_array().unwrap();
        assert_eq!(rows.len(), workers);
        for row in rows {
            let us = |share: &str| row[format!("{share}_us")].as_f64().unwrap();
            let wall = us("wall");
            let near = |a: f64, b: f64| (a - b).abs() <= 0.01 * wall;
            let (seen, gaps) = wall_and_gaps(&timeline.worker(row));
            assert!(near(seen, wall), "{line}: {seen} of {row}");
            // What the report calls idle is not looked at here.
            let busy = ["startup", "compute", "communication", "shutdown"].map(us);
            let sum = busy.iter().sum::<f64>() + gaps;
            assert!(near(sum, wall), "{line}: {sum}, gaps {gaps}: {row}");
            assert!(near(us("idle"), gaps), "{line}: gaps {gaps}: {row}");
            assert!(wall >= report["wall_us"].as_f64().unwrap(), "{line}: {row}");
            assert!(wall <= outside, "{line}: longer than the program ran, {outside}: {row}");
            assert!(us("startup") >= row["ready_us"].as_f64().unwrap(), "{line}: {row}");
        }
        jobs_are_all_there(&timeline, &report);
    }
    assert_eq!(dir.list("."), ["t.json"], "no temporary file is left");
}

fn jobs_are_all_there(timeline: &Timeline, report: &Value) {
    let digests = |list: Vec<(&Value, &Value)>| {
        list.into_iter()
            .map(|(job, digest)| (job.as_u64().unwrap(), digest.as_str().unwrap().to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let compute: Vec<_> = timeline.of("X").filter(|event| event["cat"] == "compute").collect();
    let jobs = report["jobs"].as_array().unwrap();
    assert_eq!(compute.len(), jobs.len());
    assert!(compute.iter().all(|event| event["name"] == report["config"]["kernel"]));
    assert_eq!(
        digests(
            compute.iter().map(|event| &event["args"]).map(|a| (&a["job"], &a["digest"])).collect()
        ),
        digests(jobs.iter().map(|job| (&job["id"], &job["digest"])).collect()),
    );
    for name in ["queue depth", "jobs in flight"] {
        let counts: Vec<_> = timeline
            .of("C")
            .filter(|event| event["name"] == name)
            .map(|event| event["args"]["jobs"].as_u64().unwrap())
            .collect();
        assert_eq!(counts.last(), Some(&0), "{name}");
        assert!(counts.iter().max() > Some(&0), "{name}");
    }
}

#[test]
fn overlapping_waits_lie_on_tracks_of_their_own() {
    let dir = TestDir::new();
    dir.run("run wait --jobs 4 -p us=100000 -b async --trace t.json").expect(0);
    let timeline = Timeline::read(&dir, "t.json");
    let of_one = timeline.of("X").filter(|event| event["cat"] == "compute");
    let tracks: BTreeSet<_> = of_one.map(|event| event["tid"].as_u64()).collect();
    assert_eq!(tracks.len(), 4);
}

#[test]
fn deaths_and_retries_are_marked() {
    let dir = TestDir::new();
    let done = dir.run("run crash --retries 1 -w 1 --trace t.json --format json").expect(1);
    let timeline = Timeline::read(&dir, "t.json");
    assert_eq!(timeline.instants(), ["retried", "crashed"]);
    accounts_for_all(&timeline, &done);
}

fn accounts_for_all(timeline: &Timeline, done: &Done) {
    for row in done.json()["workers"].as_array().unwrap() {
        let (wall, gaps) = wall_and_gaps(&timeline.worker(row));
        let (told, idle) = (row["wall_us"].as_f64().unwrap(), row["idle_us"].as_f64().unwrap());
        assert!((wall - told).abs() < 0.01 * told && (gaps - idle).abs() < 0.01 * told, "{row}");
    }
}

#[test]
fn a_batch_has_a_timeline_as_well() {
    let dir = TestDir::new();
    dir.image("a.png", "32x32");
    dir.write(
        "jobs.jsonl",
        r#"{"id":"first","kernel":"blur","inputs":["a.png"]}
{"kernel":"no such"}
{"kernel":"blur","inputs":["missing.png"]}"#,
    );
    dir.run("batch jobs.jsonl -w 2 --trace t.json").expect(1);
    let timeline = Timeline::read(&dir, "t.json");
    let compute: Vec<_> = timeline.of("X").filter(|event| event["cat"] == "compute").collect();
    assert_eq!(compute.len(), 1);
    assert_eq!(compute[0]["name"], "blur a.png");
    assert_eq!(compute[0]["args"]["job"], "first");
}

#[test]
fn a_timeline_that_cannot_be_written_is_found_out_before_any_job() {
    let dir = TestDir::new();
    dir.image("a.png", "8x8");
    let image = dir.read("a.png");
    std::os::unix::fs::symlink("link", dir.path("link")).unwrap();
    for trace in ["a.png", "no/such/t.json", ".", "link", "out.png", "copy.json"] {
        let line = format!("run blur a.png -o out.png --output copy.json --trace {trace}");
        dir.run(&line).expect(2).says("--trace");
    }
    dir.write("jobs.jsonl", "");
    dir.run("batch jobs.jsonl --trace ./jobs.jsonl").expect(2).says("would overwrite");
    assert_eq!(dir.read("a.png"), image);
    assert_eq!(dir.list("."), ["a.png", "jobs.jsonl", "link"]);
}
