//! Time against payload, both logarithmic, a line for each way to hand a job over.

use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::input::{CellInput, distinct, grouped, tick, with_interval, without_intervals, words};
use super::plot::{Axes, Field, PlotPoint, end_labels, with_room};
use super::scale::{Scale, log_domain};
use super::series::{Look, looks};
use super::svg::{Anchor, Canvas};

/// Keys of a case that a figure has in its title.
const SITUATION: [&str; 3] = ["state", "workers", "kernel"];

struct LatencySeries<'a> {
    name: String,
    look: Look,
    cells: Vec<CellInput<'a>>,
}

impl LatencySeries<'_> {
    fn has(&self, bytes: f64) -> bool {
        self.cells.iter().any(|cell| cell.number("bytes") == Some(bytes))
    }
}

/// Whether a cell belongs into such a figure: one of several payloads of its situation.
fn situation<'a>(cell: &CellInput<'a>) -> (&'a str, &'a str, Option<&'a str>, Option<u64>) {
    let workers = cell.number("workers").map(|workers| workers as u64);
    (cell.experiment, cell.metric, cell.text("state"), workers)
}

/// Cells by situation, where there are at least two payloads.
fn groups<'a>(cells: &[CellInput<'a>]) -> Vec<Vec<CellInput<'a>>> {
    let of_payload = |cell: &&CellInput<'_>| {
        matches!(cell.experiment, "latency" | "bandwidth") && cell.number("bytes").is_some()
    };
    let cells: Vec<CellInput<'a>> = cells.iter().filter(of_payload).copied().collect();
    let payloads = |group: &[CellInput<'_>]| {
        distinct(group.iter().filter_map(|cell| cell.number("bytes")).filter(|b| *b > 0.0)).len()
    };
    let groups = grouped(&cells, situation).into_iter().map(|(_, group)| group);
    groups.filter(|group| payloads(group) >= 2).collect()
}

/// The cells that no figure of this kind shows.
pub(crate) fn others<'a>(cells: &[CellInput<'a>]) -> Vec<CellInput<'a>> {
    let shown: Vec<_> = groups(cells).iter().map(|group| situation(&group[0])).collect();
    cells.iter().filter(|cell| !shown.contains(&situation(cell))).copied().collect()
}

/// A figure for each situation.
pub(crate) fn figures(cells: &[CellInput<'_>]) -> Vec<Figure> {
    groups(cells).iter().filter_map(|group| figure(group)).collect()
}

fn figure(cells: &[CellInput<'_>]) -> Option<Figure> {
    let first = cells.first()?;
    let named = |cell: &CellInput<'_>| {
        cell.said(|key| key != "bytes" && !SITUATION.contains(&key)).replace("floor: ", "floor, ")
    };
    let groups = grouped(cells, |cell| (named(cell), cell.text("backend")));
    let looks = looks(&groups.iter().map(|((_, backend), _)| *backend).collect::<Vec<_>>());
    let series: Vec<LatencySeries<'_>> = groups
        .into_iter()
        .zip(looks)
        .map(|(((name, _), cells), look)| LatencySeries { name, look, cells })
        .collect();
    let picture = |width: f64| draw(width, &series, cells);
    let mut table = Table::new(2, &["way", "kernel", "payload", "median (95 % interval)"]);
    for cell in cells {
        table.rows.push(vec![
            named(cell),
            cell.text("kernel").unwrap_or("").to_owned(),
            cell.number("bytes").map_or(String::new(), |bytes| tick("bytes", bytes)),
            with_interval(cell.unit, cell.p50, cell.ci95),
        ]);
    }
    let state = cell_state(first);
    let key = |series: &LatencySeries<'_>| Key {
        swatch: Swatch::Line(series.look.class.clone(), Some(series.look.shape)),
        text: series.name.clone(),
    };
    let mut notes = vec![
        "Both axes are logarithmic: a step upwards is a factor. Vertical strokes are 95 % \
         intervals of the medians. Thin, dotted lines are floors: what this machine takes \
         for the same bytes without Brigade. Jobs without payload stand apart at the left."
            .to_owned(),
    ];
    notes.extend(without_intervals(cells));
    Some(Figure {
        title: format!("{} of a job against its payload{state}", words(first.metric)),
        answer: answer(&series),
        notes,
        legend: series.iter().map(key).collect(),
        pictures: [picture(WIDE)?, picture(NARROW)?],
        table,
    })
}

fn cell_state(cell: &CellInput<'_>) -> String {
    cell.text("state").map_or(String::new(), |state| format!(" ({state} workers)"))
}

/// The largest payload, fastest and slowest: what the choice of a way is worth.
fn answer(series: &[LatencySeries<'_>]) -> String {
    let brigades = series.iter().filter(|series| !series.look.class.starts_with("c-other"));
    let all: Vec<(&LatencySeries<'_>, &CellInput<'_>)> =
        brigades.flat_map(|series| series.cells.iter().map(move |cell| (series, cell))).collect();
    let most = all.iter().filter_map(|(_, cell)| cell.number("bytes")).fold(0.0, f64::max);
    let last = all.iter().filter(|(_, cell)| cell.number("bytes") == Some(most));
    let last: Vec<_> = last.filter(|(series, _)| series.name.starts_with("processes")).collect();
    let by = |a: &&&(&LatencySeries<'_>, &CellInput<'_>),
              b: &&&(&LatencySeries<'_>, &CellInput<'_>)| {
        a.1.p50.total_cmp(&b.1.p50)
    };
    let (Some(best), Some(worst)) = (last.iter().min_by(by), last.iter().max_by(by)) else {
        return String::new();
    };
    let said = |(series, cell): &(&LatencySeries<'_>, &CellInput<'_>)| {
        format!("{} by “{}”", with_interval(cell.unit, cell.p50, cell.ci95), series.name)
    };
    let payload = tick("bytes", most);
    match last.len() {
        1 => format!("{payload} to a worker process and back take {}.", said(best)),
        _ => format!(
            "{payload} to a worker process and back take {}, and {}.",
            said(best),
            said(worst)
        ),
    }
}

fn draw(width: f64, series: &[LatencySeries<'_>], cells: &[CellInput<'_>]) -> Option<Canvas> {
    let height = if width >= WIDE { 420.0 } else { 340.0 };
    let field = Field::new(width, height, 262.0);
    let bytes = distinct(cells.iter().filter_map(|cell| cell.number("bytes")));
    let payloads: Vec<f64> = bytes.iter().copied().filter(|bytes| *bytes > 0.0).collect();
    let none = bytes.first() == Some(&0.0);
    // Nothing has no place on a logarithmic axis: it gets one of its own.
    let at_none = series.iter().filter(|series| series.has(0.0)).count().max(1) as f64;
    let apart = if width >= WIDE { 10.0 } else { 6.0 };
    let room = 24.0 + apart * (at_none - 1.0);
    let slot = field.x.0 + room / 2.0;
    let from = if none { field.x.0 + room + 30.0 } else { field.x.0 + 16.0 };
    let domain = (*payloads.first()?, *payloads.last()?);
    let x = Scale::log(domain, (from, field.x.1 - 18.0));
    let ends = cells.iter().flat_map(CellInput::ends);
    let y = Scale::log(log_domain(ends)?, field.y);
    let unit = cells.first()?.unit;

    let x_ticks = payloads.iter().map(|bytes| (*bytes, tick("bytes", *bytes))).collect();
    let x_ticks = with_room(&x, x_ticks);
    let y_ticks: Vec<_> = y.ticks(26.0).into_iter().map(|at| (at, tick(unit, at))).collect();
    let mut canvas = Canvas::new(width, height);
    let axes = Axes {
        x,
        y,
        x_ticks: &x_ticks,
        y_ticks: &y_ticks,
        x_title: "payload",
        y_title: "median time",
    };
    axes.draw(&mut canvas, field);
    if none {
        canvas.text("tick", Anchor::Middle, (slot, field.y.0 + 19.0), "0 B");
        let gap = field.x.0 + room + 6.0;
        canvas.rect("break", (gap - 3.0, field.y.0 - 4.0), (6.0, 8.0));
    }

    let mut labels = Vec::new();
    let mut placed = 0.0;
    for series in series {
        let point = |cell: &CellInput<'_>| PlotPoint {
            x: cell.number("bytes").unwrap_or(0.0),
            y: cell.p50,
            interval: cell.ci95,
            hollow: false,
        };
        let says = |point: &PlotPoint| {
            let bytes = tick("bytes", point.x);
            let time = with_interval(unit, point.y, point.interval);
            format!("{}, {bytes}: {time}", series.name)
        };
        let mut points: Vec<PlotPoint> = series.cells.iter().map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let (empty, full): (Vec<PlotPoint>, Vec<PlotPoint>) =
            points.iter().partition(|p| p.x <= 0.0);
        axes.series(&mut canvas, &series.look, &full, says);
        if !empty.is_empty() {
            // Beside each other: one time lies above the other, and so do intervals.
            let x = field.x.0 + 12.0 + apart * placed;
            placed += 1.0;
            let axes = Axes { x: Scale::linear((0.0, 0.0), (x, x)), ..axes };
            axes.series(&mut canvas, &series.look, &empty, says);
        }
        if let Some(last) = full.last() {
            labels.push((x.at(last.x), y.clamped(last.y), series.name.clone()));
        }
    }
    end_labels(&mut canvas, field, &labels);
    Some(canvas)
}
