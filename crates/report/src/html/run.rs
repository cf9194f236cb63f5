//! The pictures of a run: where the time of a job went, and who did what.

use serde_json::Value;

use super::figure::Figure;
use super::gantt::{Panel, TimelineSpan, WorkerTimeline};
use super::input::{grouped, list, number, text};
use super::stack::{self, Bar, Behind, SPANS};
use super::timelines;

/// Boxes of one worker; of more jobs, several share one.
const BOXES: usize = 60;

/// A job that was computed.
#[derive(Clone, Copy)]
struct JobInput {
    worker: u64,
    /// Without `behind`.
    spans: [f64; 7],
    /// Part of `deliver` in which its worker had another job; older results do not say.
    behind: Option<f64>,
}

/// The place of `deliver` in [`SPANS`].
const DELIVER: usize = 2;

fn jobs(result: &Value) -> Vec<JobInput> {
    let job = |job: &Value| {
        let spans = job.get("spans_us")?;
        let worker = job.get("worker").and_then(Value::as_u64)?;
        let compute = number(spans, "compute")?;
        let mut spans = SPANS.map(|name| number(spans, name).unwrap_or(0.0).max(0.0));
        let behind = number(job, "behind_us").map(|us| us.clamp(0.0, spans[DELIVER]));
        spans[DELIVER] -= behind.unwrap_or(0.0);
        (compute >= 0.0).then_some(JobInput { worker, spans, behind })
    };
    list(result, "jobs").iter().filter_map(job).collect()
}

/// Mean spans per job: of all jobs and of each worker's.
pub(crate) fn spans(result: &Value) -> Option<Figure> {
    let jobs = jobs(result);
    if jobs.is_empty() {
        return None;
    }
    // A worker that is given one job at a time has none before it.
    let processes = result.get("config").and_then(|config| config.get("processes"));
    let depth = processes.and_then(|processes| number(processes, "depth")).unwrap_or(1.0);
    let mean = |name: String, jobs: &[JobInput]| {
        let count = jobs.len().max(1) as f64;
        let sum = |span: usize| jobs.iter().map(|job| job.spans[span]).sum::<f64>();
        let spans = std::array::from_fn(|span| sum(span) / count);
        let behind: Option<f64> = jobs.iter().map(|job| job.behind).sum();
        let behind = match behind {
            Some(us) => Behind::Us(us / count),
            None if depth > 1.0 => Behind::InDeliver,
            None => Behind::Us(0.0),
        };
        Bar { name, spans, behind, alone: false }
    };
    let all = format!("All {}", crate::units::count(jobs.len() as u64, "job"));
    let mut bars = vec![mean(all, &jobs)];
    let mut workers = grouped(&jobs, |job| job.worker);
    workers.sort_by_key(|(worker, _)| *worker);
    if workers.len() > 1 {
        bars.extend(workers.iter().map(|(worker, jobs)| mean(format!("worker {worker}"), jobs)));
    }
    Some(stack::figure("Mean spans of a job".into(), &bars))
}

/// Who did what. A run says how long each phase of a job took, not when it began: what
/// happens within a worker is laid out in the order in which jobs ended.
pub(crate) fn gantt(result: &Value) -> Option<Figure> {
    let jobs = jobs(result);
    let mut workers = grouped(&jobs, |job| job.worker);
    workers.sort_by_key(|(worker, _)| *worker);
    let startup = number(result, "startup_us").unwrap_or(0.0);
    let wall = number(result, "wall_us").unwrap_or(0.0);
    let ready = |worker: u64| {
        let rows = list(result, "workers").iter();
        let mut rows = rows.filter(|row| row.get("worker").and_then(Value::as_u64) == Some(worker));
        rows.next().and_then(|row| number(row, "ready_us")).unwrap_or(startup)
    };
    let mut shared = 1;
    let mut timelines: Vec<WorkerTimeline> = workers
        .iter()
        .map(|(worker, jobs)| {
            let together = jobs.len().div_ceil(BOXES);
            shared = shared.max(together);
            let mut laid = Laid::new(ready(*worker));
            for jobs in jobs.chunks(together) {
                let sum = |span: usize| jobs.iter().map(|job| job.spans[span]).sum::<f64>();
                laid.add("communication", sum(3));
                laid.add("compute", sum(4));
                laid.add("communication", sum(5));
            }
            WorkerTimeline { name: format!("worker {worker}"), spans: laid.spans }
        })
        .collect();
    let end = |timeline: &WorkerTimeline| timeline.spans.last().map_or(0.0, |span| span.to);
    let wall = timelines.iter().map(end).fold(wall, f64::max);
    for timeline in &mut timelines {
        let from = end(timeline);
        let label = String::new();
        timeline.spans.push(TimelineSpan { kind: "rest".into(), from, to: wall, label });
    }
    let mut notes = vec![
        "This file says how long each phase of a job took, not when it began: each worker's \
         decode, compute and reply are laid out one after another, and what is left of the run's \
         wall time stands at the end."
            .to_owned(),
    ];
    if shared > 1 {
        notes.push(format!("A box stands for up to {shared} jobs."));
    }
    let backend = result.get("config").and_then(|config| text(config, "backend")).unwrap_or("run");
    let panel = Panel { name: backend.to_owned(), wall, workers: timelines };
    let panels = if panel.workers.is_empty() { Vec::new() } else { vec![panel] };
    timelines::figure("Who did what, worker by worker".into(), panels, notes)
}

/// Spans one after another.
struct Laid {
    now: f64,
    spans: Vec<TimelineSpan>,
}

impl Laid {
    fn new(startup: f64) -> Self {
        let mut laid = Self { now: 0.0, spans: Vec::new() };
        laid.add("startup", startup);
        laid
    }

    fn add(&mut self, kind: &str, took: f64) {
        if took > 0.0 {
            let (from, to) = (self.now, self.now + took);
            self.spans.push(TimelineSpan { kind: kind.into(), from, to, label: String::new() });
            self.now = to;
        }
    }
}
