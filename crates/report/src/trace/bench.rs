//! A timeline of a benchmark: when each replication block ran and what the machine was
//! like in it, and the runs of which `bench paradigms` keeps who did what when, with their
//! counters.

use std::io::{self, Write};

use brigade_measure::context::BlockContext;
use serde_json::{Value, json};

use super::tracks::Tracks;
use crate::bench::Bench;

/// The process whose tracks are the experiments; those of timelines follow.
const BLOCKS: usize = 1;

/// Writes the timeline as one JSON object.
///
/// # Errors
/// When `out` fails.
pub fn bench(out: &mut dyn Write, bench: &Bench) -> io::Result<()> {
    let mut events = Vec::new();
    blocks(&bench.blocks, &mut events);
    for (i, timeline) in bench.timelines.iter().enumerate() {
        workers(BLOCKS + 1 + i, timeline, &mut events);
    }
    let object = json!({"displayTimeUnit": "ms", "traceEvents": events});
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")
}

fn name(what: &str, pid: usize, tid: usize, name: &str) -> Value {
    json!({"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}})
}

fn slice(pid: usize, tid: usize, name: &str, [from, to]: [f64; 2], args: &Value) -> Value {
    // A nanosecond short, as those of a run are.
    let dur = (to - from - 0.001).max(0.0);
    json!({"ph": "X", "name": name, "cat": "bench", "pid": pid, "tid": tid,
           "ts": from, "dur": dur, "args": args})
}

fn blocks(blocks: &[BlockContext], events: &mut Vec<Value>) {
    let begin = blocks.iter().map(|block| block.began_ns).min().unwrap_or(0);
    let us = |ns: u64| ns.saturating_sub(begin) as f64 / 1e3;
    let mut experiments: Vec<&str> = Vec::new();
    events.push(name("process_name", BLOCKS, 0, "blocks"));
    for block in blocks {
        let known = experiments.iter().position(|name| *name == block.experiment);
        let track = known.unwrap_or_else(|| {
            experiments.push(&block.experiment);
            events.push(name("thread_name", BLOCKS, experiments.len(), &block.experiment));
            experiments.len() - 1
        });
        let from = us(block.began_ns);
        let to = from + block.took_ms * 1e3;
        let label = format!("block {}", block.block);
        events.push(slice(BLOCKS, track + 1, &label, [from, to], &json!(block)));
        for (counter, value) in [
            ("steal, ms", json!(block.steal_ms)),
            ("involuntary switches", json!(block.involuntary_switches)),
            ("load", json!(block.load1)),
        ] {
            events.push(json!({"ph": "C", "name": counter, "pid": BLOCKS, "ts": from,
                               "args": {"value": value}}));
        }
    }
}

/// A process for one timeline, with a track for each worker, and more where spans overlap.
fn workers(pid: usize, timeline: &Value, events: &mut Vec<Value>) {
    let case = timeline["case"].as_object().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let title: Vec<String> = case.values().map(text).collect();
    events.push(name("process_name", pid, 0, &title.join(" ")));
    counters(pid, timeline, events);
    let workers = timeline["lanes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (place, worker) in workers.iter().enumerate() {
        let mut tracks = Tracks::default();
        let spans = worker["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        for span in spans {
            let (Some(kind), Some(from), Some(to)) =
                (span[0].as_str(), span[1].as_f64(), span[2].as_f64())
            else {
                continue;
            };
            let ns = |us: f64| (us * 1e3) as u64;
            let (track, _) = tracks.take(ns(from), ns(to));
            // Tracks of one worker stay together: readers sort them by number.
            let tid = place * 1000 + track + 1;
            let label = text(&worker["worker"]);
            events.push(name("thread_name", pid, tid, &format!("worker {label}")));
            events.push(slice(pid, tid, kind, [from, to], &json!({"job": span[3]})));
        }
    }
}

/// What the timeline counted: waiting jobs, jobs in flight, memory.
fn counters(pid: usize, timeline: &Value, events: &mut Vec<Value>) {
    for counter in timeline["counters"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (Some(name), Some(unit)) = (counter["name"].as_str(), counter["unit"].as_str()) else {
            continue;
        };
        for point in counter["points"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if let (Some(at), Some(value)) = (point[0].as_f64(), point[1].as_i64()) {
                events.push(json!({"ph": "C", "name": name, "pid": pid, "ts": at,
                                   "args": {unit: value}}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use brigade_measure::host::Host;

    use super::*;

    fn block(experiment: &str, began_ns: u64) -> BlockContext {
        BlockContext {
            experiment: experiment.to_owned(),
            block: 0,
            began_ns,
            took_ms: 2.0,
            load1: 0.5,
            steal_ms: 10.0,
            voluntary_switches: 1,
            involuntary_switches: 7,
            minor_faults: 0,
            major_faults: 0,
            mhz: None,
        }
    }

    #[test]
    fn blocks_and_timelines_are_tracks() {
        let timelines = vec![json!({
            "case": {"backend": "async", "work": "waiting"}, "wall_us": 30.0,
            "lanes": [{"worker": 0, "spans": [["wait", 0.0, 20.0, "job 0"],
                                              ["wait", 5.0, 30.0, "job 1"],
                                              ["idle", 20.0, 30.0, ""]]}],
            "counters": [{"name": "queue depth", "unit": "jobs",
                          "points": [[0.0, 1], [5.0, 0]]},
                         {"name": "memory", "unit": "bytes", "points": [[20.0, 4096]]},
                         {"name": "memory"}],
        })];
        let blocks = vec![block("latency", 5_000_000), block("startup", 8_000_000)];
        let result = Bench { blocks, timelines, ..Bench::new(&Host::read(), 1, Vec::new()) };
        let mut out = Vec::new();
        bench(&mut out, &result).unwrap();
        let value: Value = serde_json::from_slice(&out).unwrap();
        let events = value["traceEvents"].as_array().unwrap();
        let of = |ph: &'static str| events.iter().filter(move |event| event["ph"] == ph);
        assert_eq!(of("X").count(), 5);
        assert_eq!(of("C").count(), 6 + 3);
        let depth = of("C").find(|event| event["name"] == "queue depth").unwrap();
        assert_eq!((&depth["pid"], &depth["args"]["jobs"]), (&json!(2), &json!(1)));
        let memory = of("C").find(|event| event["name"] == "memory").unwrap();
        assert_eq!((memory["ts"].as_f64(), &memory["args"]["bytes"]), (Some(20.0), &json!(4096)));
        let second = of("X").find(|event| event["args"]["experiment"] == "startup").unwrap();
        assert_eq!((second["ts"].as_f64(), second["tid"].as_u64()), (Some(3000.0), Some(2)));
        // The two waits overlap, so they are on two tracks.
        let waits: Vec<&Value> = of("X").filter(|event| event["name"] == "wait").collect();
        assert_ne!(waits[0]["tid"], waits[1]["tid"]);
        let is_named = |event: &Value| event["args"]["name"] == "async waiting";
        assert!(of("M").any(is_named));
    }
}
