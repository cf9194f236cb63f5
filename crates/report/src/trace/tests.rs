use std::collections::BTreeMap;

use brigade_measure::summary::Tally;
use brigade_measure::worker_times::WorkerTimes;
use brigade_proto::WorkerId;
use serde_json::Value;

use super::*;
use crate::files::{FileBytes, Files};
use crate::run::{NoteNames, SpansUs};

const BEGIN: Nanos = 1_000_000;

fn row(id: u64, worker: u32, stamps: &Stamps) -> JobRow {
    JobRow {
        id: id.into(),
        line: None,
        kernel: "blur".to_owned(),
        input: Files(vec!["a \"1\".png".to_owned()]),
        input_bytes: FileBytes::default(),
        output: Files::default(),
        output_bytes: FileBytes::default(),
        status: Status::Ok,
        worker: Some(worker),
        pid: Some(100 + worker),
        resumed: false,
        notes: NoteNames::default(),
        attempts: 1,
        digest: Some("d1".to_owned()),
        bytes_in: 0,
        bytes_out: 0,
        spans_us: SpansUs(stamps.spans()),
        behind_us: Micros(stamps.behind()),
        total_us: Micros(stamps.spans().total()),
        error: None,
        stderr: None,
    }
}

/// Instants in the order of [`Stamps`], counted from the begin.
fn stamps(at: [Nanos; 8]) -> Stamps {
    let [submitted, assigned, encoded, in_hand, called, returned, published, collected] =
        at.map(|at| if at == 0 { 0 } else { BEGIN + at });
    let worker_free = 0;
    Stamps {
        submitted,
        assigned,
        encoded,
        in_hand,
        called,
        returned,
        published,
        collected,
        worker_free,
    }
}

fn report(worker: u32, pid: u32) -> WorkerReport {
    WorkerReport {
        worker: WorkerId(worker),
        pid,
        jobs: 0,
        busy_ns: 0,
        ready_ns: 0,
        cpu_ns: None,
        peak_rss_bytes: None,
    }
}

/// The events of a run on two workers.
fn events(jobs: &[(JobRow, Stamps)], wall: Nanos) -> Vec<Value> {
    let mut trace = Trace::start(Vec::new(), BEGIN, 2, "two").unwrap();
    for (row, stamps) in jobs {
        trace.job(row, stamps, (stamps.collected, stamps.collected)).unwrap();
    }
    let mut summary = Tally::default().summary(&Default::default());
    summary.wall = wall;
    summary.worker_times =
        vec![WorkerTimes { startup: 900, shutdown: 5000, ..WorkerTimes::default() }; 2];
    let out = trace.end(&summary, &[report(0, 100), report(1, 101)]).unwrap();
    let document: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["displayTimeUnit"], "ms");
    document["traceEvents"].as_array().unwrap().clone()
}

fn of<'a>(events: &'a [Value], ph: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["ph"] == ph)
}

fn slices(events: &[Value], tid: u64) -> Vec<String> {
    let show = |event: &Value| format!("{} {} {}", event["name"], event["ts"], event["dur"]);
    of(events, "X").filter(|event| event["tid"] == tid).map(show).collect()
}

#[test]
fn a_workers_track_tells_its_day() {
    let first = stamps([1000, 2000, 2500, 2600, 3000, 9001, 9500, 9900]);
    // Assigned while the first is in the kernel.
    let second = stamps([1000, 4000, 4100, 9600, 9600, 12_000, 12_700, 13_000]);
    let events = events(&[(row(0, 0, &first), first), (row(1, 0, &second), second)], 20_000);
    let expected = [
        r#""encode" 2 0.499"#,
        r#""deliver" 2.5 0.099"#,
        r#""decode" 2.6 0.399"#,
        r#""reply" 9.001 0.498"#,
        r#""blur a \"1\".png" 3 6"#,
        r#""deliver" 9.5 0.099"#,
        r#""reply" 12 0.699"#,
        r#""blur a \"1\".png" 9.6 2.399"#,
        r#""start-up" 0 0.899"#,
        r#""shut-down" 20 4.999"#,
    ];
    assert_eq!(slices(&events, 2), expected);
    assert_eq!(slices(&events, 3), [expected[8], expected[9]], "the other worker had nothing");
    let compute = of(&events, "X").find(|event| event["cat"] == "compute").unwrap();
    let args = &compute["args"];
    assert_eq!(
        (&args["job"], &args["attempts"], &args["digest"]),
        (&0.into(), &1.into(), &"d1".into())
    );
    let names: Vec<_> = of(&events, "M")
        .filter(|event| event["name"] == "thread_name")
        .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(names, [(1, "coordinator"), (2, "worker 0 (pid 100)"), (3, "worker 1 (pid 101)")]);
    let counter = |name: &str| -> Vec<_> {
        of(&events, "C")
            .filter(|event| event["name"] == name)
            .map(|event| format!("{} {}", event["ts"], event["args"]["jobs"]))
            .collect()
    };
    assert_eq!(counter("queue depth"), ["1 2", "2 1", "4 0"]);
    assert_eq!(counter("jobs in flight"), ["2 1", "4 2", "9.9 1", "13 0"]);
}

#[test]
fn troubles_are_instants() {
    let good = stamps([10, 20, 21, 22, 25, 65, 67, 70]);
    let bad = stamps([10, 80, 81, 81, 85, 0, 0, 99]);
    let crashed = JobRow {
        status: Status::Crashed,
        attempts: 3,
        pid: Some(555),
        error: Some("killed by SIGSEGV".to_owned()),
        ..row(1, 0, &bad)
    };
    // It never came to a worker.
    let cancelled =
        JobRow { worker: None, pid: None, status: Status::Cancelled, ..crashed.clone() };
    let queued = stamps([10, 0, 0, 0, 0, 0, 0, 99]);
    let jobs = [(row(0, 0, &good), good), (crashed, bad), (cancelled, queued)];
    let events = events(&jobs, 200);
    let instants: Vec<_> = of(&events, "i")
        .map(|event| format!("{} {} {}", event["name"], event["tid"], event["ts"]))
        .collect();
    assert_eq!(instants, [r#""replaced" 2 0.08"#, r#""retried" 2 0.08"#, r#""crashed" 2 0.099"#]);
}

/// As readers see it, who cut off or round what is less than a nanosecond.
fn assert_no_overlap(events: &[Value], to_ns: fn(f64) -> f64) {
    let mut tracks = BTreeMap::<u64, Vec<(u64, u64)>>::new();
    for event in of(events, "X") {
        let ns = |key: &str| to_ns(event[key].as_f64().unwrap() * 1000.0) as u64;
        let slice = (ns("ts"), ns("ts") + ns("dur"));
        tracks.entry(event["tid"].as_u64().unwrap()).or_default().push(slice);
    }
    for (tid, mut slices) in tracks {
        slices.sort_unstable();
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "track {tid}: {pair:?}");
        }
    }
}

#[test]
fn nothing_overlaps_on_a_track_for_any_reader() {
    // A xorshift generator: any jobs will do, ending in order.
    let mut state = 88_172_645_463_325_252_u64;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let (mut jobs, mut end) = (Vec::new(), 100_000);
    for id in 0..2000 {
        end += below(400);
        let mut at = [0; 8];
        at.fill_with(|| end - below(2000));
        at.sort_unstable();
        at[7] = end;
        let stamps = stamps(at);
        jobs.push((row(id, below(2) as u32, &stamps), stamps));
    }
    let events = events(&jobs, end);
    assert!(of(&events, "X").filter(|event| event["cat"] == "compute").count() > 1900);
    assert!(events.iter().any(|event| event["tid"].as_u64() > Some(3)), "none has overlapped");
    assert_no_overlap(&events, f64::trunc);
    assert_no_overlap(&events, f64::round);
}

#[test]
fn an_empty_run_is_a_valid_file() {
    let events = events(&[], 0);
    assert_eq!(slices(&events, 2).len(), 2);
    let mut trace = Trace::start(Vec::new(), BEGIN, 1, "").unwrap();
    trace.memory(BEGIN + 1500, Some(0), 4096).unwrap();
    let summary = Tally::default().summary(&Default::default());
    let text = String::from_utf8(trace.end(&summary, &[]).unwrap()).unwrap();
    assert!(text.contains(r#""name":"memory of worker 0","pid":1,"ts":1.5,"args":{"bytes":4096}"#));
}
