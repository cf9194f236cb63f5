//! The pictures of a run: where the time of a job went, and who did what.

use serde_json::Value;

use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::gantt::{Lane, Panel, Span};
use super::input::{grouped, list, number, quantity, text, tick};
use super::scale::Scale;
use super::svg::{Anchor, Canvas, fitted, text_width};
use super::timelines;

/// Spans in the order in which they happen; a job waits in the queue first.
const SPANS: [&str; 7] = ["queue", "encode", "deliver", "decode", "compute", "reply", "collect"];

/// Boxes in one lane; of more jobs, several share one.
const BOXES: usize = 60;

/// A job that was computed.
#[derive(Clone, Copy)]
struct Job {
    worker: u64,
    spans: [f64; 7],
}

fn jobs(result: &Value) -> Vec<Job> {
    let job = |job: &Value| {
        let spans = job.get("spans_us")?;
        let worker = job.get("worker").and_then(Value::as_u64)?;
        let compute = number(spans, "compute")?;
        let spans = SPANS.map(|name| number(spans, name).unwrap_or(0.0).max(0.0));
        (compute >= 0.0).then_some(Job { worker, spans })
    };
    list(result, "jobs").iter().filter_map(job).collect()
}

/// Mean spans per job: of all jobs and of each worker's. The queue is in the table
/// only: how long it is depends on how many jobs were submitted at once.
pub(crate) fn spans(result: &Value) -> Option<Figure> {
    let jobs = jobs(result);
    let mean = |jobs: &[Job]| -> [f64; 7] {
        std::array::from_fn(|span| {
            jobs.iter().map(|job| job.spans[span]).sum::<f64>() / jobs.len().max(1) as f64
        })
    };
    let mut bars =
        vec![(format!("all, {}", crate::units::count(jobs.len() as u64, "job")), mean(&jobs))];
    let mut workers = grouped(&jobs, |job| job.worker);
    workers.sort_by_key(|(worker, _)| *worker);
    if jobs.is_empty() {
        return None;
    }
    if workers.len() > 1 {
        bars.extend(workers.iter().map(|(worker, jobs)| (format!("worker {worker}"), mean(jobs))));
    }
    let mut table = Table::new(1, &["jobs"]);
    table.head.extend(SPANS.map(str::to_owned));
    for (name, means) in &bars {
        let mut row = vec![name.clone()];
        row.extend(means.map(|mean| quantity("us", mean)));
        table.rows.push(row);
    }
    let of_all = &bars[0].1;
    let (queue, compute) = (of_all[0], of_all[4]);
    let overhead = of_all.iter().sum::<f64>() - queue - compute;
    let key = |index: usize| Key {
        swatch: Swatch::Box(format!("span-{index}")),
        text: SPANS[index].to_owned(),
    };
    Some(Figure {
        title: "Mean spans of a job".into(),
        answer: format!(
            "A job computes for {} on average; handing it over and back takes {} more.",
            quantity("us", compute),
            quantity("us", overhead)
        ),
        notes: vec![
            format!(
                "The queue, {} on average, is not drawn: it depends on how many jobs were \
                 submitted at once.",
                quantity("us", queue)
            ),
            "encode: inputs into the transport; deliver: until the worker has the job; decode: \
             until the kernel is called; reply: until the result is published; collect: until \
             the coordinator has it."
                .into(),
        ],
        legend: (1..SPANS.len()).map(key).collect(),
        pictures: [WIDE, NARROW].map(|width| draw(width, &bars)),
        table,
    })
}

fn draw(width: f64, bars: &[(String, [f64; 7])]) -> Canvas {
    let wide = width >= WIDE;
    let (left, right) = if wide { (130.0, width - 90.0) } else { (2.0, width - 14.0) };
    let step = if wide { 36.0 } else { 52.0 };
    let bottom = 6.0 + step * bars.len() as f64;
    let mut canvas = Canvas::new(width, bottom + 28.0);
    let total = |means: &[f64; 7]| means[1..].iter().sum::<f64>();
    let most = bars.iter().map(|(_, means)| total(means)).fold(0.0, f64::max).max(1e-9);
    let x = Scale::linear((0.0, most), (left, right));
    for value in x.ticks(80.0) {
        canvas.line("grid", (x.at(value), 4.0), (x.at(value), bottom));
        let label = tick("us", value);
        let anchor = if value == 0.0 { Anchor::Start } else { Anchor::Middle };
        canvas.text("tick", anchor, (x.at(value), bottom + 18.0), &label);
    }
    canvas.line("axis", (left, bottom), (right, bottom));
    for (index, (name, means)) in bars.iter().enumerate() {
        let top = 6.0 + step * index as f64 + if wide { 5.0 } else { 20.0 };
        let value = quantity("us", total(means));
        if wide {
            let name = fitted(name, left - 14.0);
            canvas.text("label", Anchor::End, (left - 10.0, top + 17.0), &name);
            canvas.text("value", Anchor::End, (width - 2.0, top + 17.0), &value);
        } else {
            canvas.text("label", Anchor::Start, (2.0, top - 5.0), name);
            canvas.text("value", Anchor::End, (width - 2.0, top - 5.0), &value);
        }
        let mut from = 0.0;
        for (span, mean) in means.iter().enumerate().skip(1) {
            let (begin, end) = (x.at(from), x.at(from + mean));
            from += mean;
            let says = format!("{name}: {} {}", SPANS[span], quantity("us", *mean));
            canvas.mark("span", &says, |canvas| {
                canvas.rect(&format!("span-{span}"), (begin, top), (end - begin, 25.0));
                if end - begin > text_width(SPANS[span]) + 10.0 {
                    let at = ((begin + end) / 2.0, top + 17.0);
                    let class = format!("inside on-{span}");
                    canvas.text(&class, Anchor::Middle, at, SPANS[span]);
                }
            });
        }
    }
    canvas
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
    let mut lanes: Vec<Lane> = workers
        .iter()
        .map(|(worker, jobs)| {
            let together = jobs.len().div_ceil(BOXES);
            shared = shared.max(together);
            let mut lane = Laid::new(ready(*worker));
            for jobs in jobs.chunks(together) {
                let sum = |span: usize| jobs.iter().map(|job| job.spans[span]).sum::<f64>();
                lane.add("communication", sum(3));
                lane.add("compute", sum(4));
                lane.add("communication", sum(5));
            }
            Lane { name: format!("worker {worker}"), spans: lane.spans }
        })
        .collect();
    let end = |lane: &Lane| lane.spans.last().map_or(0.0, |span| span.to);
    let wall = lanes.iter().map(end).fold(wall, f64::max);
    for lane in &mut lanes {
        let from = end(lane);
        let label = String::new();
        lane.spans.push(Span { kind: "rest".into(), from, to: wall, label });
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
    let panel = Panel { name: backend.to_owned(), wall, lanes };
    let panels = if panel.lanes.is_empty() { Vec::new() } else { vec![panel] };
    timelines::figure("Who did what, worker by worker".into(), panels, notes)
}

/// Spans one after another.
struct Laid {
    now: f64,
    spans: Vec<Span>,
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
            self.spans.push(Span { kind: kind.into(), from, to, label: String::new() });
            self.now = to;
        }
    }
}
