//! Timelines of a result, as pictures of who did what when.

use serde_json::{Map, Value};

use super::figure::{Figure, NARROW, Table, WIDE};
use super::gantt::{Panel, TimelineSpan, WorkerTimeline, draw, legend};
use super::input::{grouped, list, number, plain, plausible, quantity, said, text};

/// A figure for each kind of work in the `timelines` of a result.
pub(crate) fn figures(result: &Value) -> Vec<Figure> {
    let all: Vec<&Value> = list(result, "timelines").iter().collect();
    let of_case = |timeline: &Value, key: &str| {
        timeline.get("case").and_then(|case| Some(text(case, key)?.to_owned()))
    };
    let groups = grouped(&all, |timeline| (of_case(timeline, "work"), of_case(timeline, "kernel")));
    let figure = |((work, kernel), timelines): ((Option<String>, Option<String>), Vec<&Value>)| {
        let panels: Vec<Panel> = timelines.into_iter().filter_map(panel).collect();
        let work = work.map_or(String::new(), |work| format!(": {work}"));
        let kernel = kernel.map_or(String::new(), |kernel| format!(" ({kernel})"));
        figure(format!("Who did what when{work}{kernel}"), panels, Vec::new())
    };
    groups.into_iter().filter_map(figure).collect()
}

fn panel(timeline: &Value) -> Option<Panel> {
    let empty = Map::new();
    let case = timeline.get("case").and_then(Value::as_object).unwrap_or(&empty);
    let workers: Vec<WorkerTimeline> = list(timeline, "lanes").iter().map(worker).collect();
    let last =
        workers.iter().flat_map(|worker| &worker.spans).map(|span| span.to).fold(0.0, f64::max);
    let wall = number(timeline, "wall_us").unwrap_or(last).max(last);
    let name = said(case, |key| !["work", "kernel"].contains(&key));
    (!workers.is_empty() && wall > 0.0).then_some(Panel { name, wall, workers })
}

fn worker(timeline: &Value) -> WorkerTimeline {
    let number = timeline.get("worker").map_or("?".into(), plain);
    let span = |span: &Value| {
        let parts = span.as_array()?;
        let (from, to) = (plausible(parts.get(1)?)?, plausible(parts.get(2)?)?);
        let label = parts.get(3).filter(|label| !label.is_null()).map_or(String::new(), plain);
        let kind = parts.first()?.as_str()?.to_owned();
        (from <= to).then_some(TimelineSpan { kind, from, to, label })
    };
    WorkerTimeline {
        name: format!("worker {number}"),
        spans: list(timeline, "spans").iter().filter_map(span).collect(),
    }
}

/// A figure of these panels; `None` without any.
pub(crate) fn figure(title: String, panels: Vec<Panel>, notes: Vec<String>) -> Option<Figure> {
    let least = panels.iter().min_by(|a, b| a.wall.total_cmp(&b.wall))?;
    let answer = match panels.len() {
        1 => String::new(),
        _ => format!("First ready: {}, after {}.", least.name, quantity("us", least.wall)),
    };
    let mut table = Table::new(
        2,
        &[
            "case",
            "worker",
            "compute",
            "wait",
            "communication",
            "startup",
            "shutdown",
            "idle",
            "not told apart",
            "spans",
        ],
    );
    let kinds = ["compute", "wait", "communication", "startup", "shutdown", "idle", "rest"];
    for panel in &panels {
        for worker in &panel.workers {
            let sum = |kind: &str| -> f64 {
                let of_kind = worker.spans.iter().filter(|span| span.kind == kind);
                of_kind.map(|span| span.to - span.from).sum()
            };
            let mut row = vec![panel.name.clone(), worker.name.clone()];
            row.extend(kinds.map(|kind| quantity("us", sum(kind))));
            row.push(worker.spans.len().to_string());
            table.rows.push(row);
        }
    }
    let mut all = notes;
    if panels.len() > 1 {
        all.push(
            "All pictures have the same scale of time. A worker with several rows has \
                  several jobs under way at once."
                .into(),
        );
    }
    Some(Figure {
        title,
        answer,
        notes: all,
        legend: legend(&panels),
        pictures: [WIDE, NARROW].map(|width| draw(width, &panels)),
        table,
    })
}
