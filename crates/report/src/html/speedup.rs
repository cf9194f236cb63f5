//! Speedup against `sync`, by workers: the ideal, what was measured, what was fitted.

use serde_json::Value;

use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::input::{CellInput, TOO_FEW, distinct, grouped, in_brackets, number, quantity};
use super::models::{self, Curve, curves, refused};
use super::plot::{Axes, Field, PlotPoint, end_labels, with_room};
use super::scale::{Scale, extent};
use super::series::{Look, looks};
use super::svg::{Anchor, Canvas};
use crate::units::{count, digits};

/// Beyond so many workers the axes are logarithmic.
const MANY: f64 = 16.0;

struct SpeedupSeries<'a> {
    name: String,
    look: Look,
    points: Vec<PlotPoint>,
    curves: Vec<Curve>,
    refused: Vec<(&'a str, &'a str)>,
}

/// Where the intervals of a figure are from.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    /// Ratios within blocks.
    Blocks,
    /// The ends of both medians' intervals, as older results give no other.
    Medians,
}

/// What a figure shows together.
fn situation<'a>(cell: &CellInput<'a>) -> (Option<&'a str>, Option<&'a str>) {
    (cell.text("kernel"), cell.text("mode"))
}

/// A figure for each kernel and mode of the experiment `scaling`.
pub(crate) fn figures(result: &Value, cells: &[CellInput<'_>]) -> Vec<Figure> {
    let scaling: Vec<CellInput<'_>> =
        cells.iter().filter(|cell| cell.experiment == "scaling").copied().collect();
    let walls: Vec<_> = scaling.iter().filter(|cell| cell.metric == "wall").copied().collect();
    let groups = grouped(&walls, situation);
    groups.iter().filter_map(|(_, walls)| figure(result, walls, &scaling)).collect()
}

/// One after another in the caller's thread: what speedup is relative to.
fn reference<'a>(walls: &[CellInput<'a>]) -> Option<CellInput<'a>> {
    let alone = |cell: &&CellInput<'_>| cell.number("workers") == Some(1.0) && cell.p50 > 0.0;
    let is_sync = |cell: &&CellInput<'_>| cell.text("backend") == Some("sync");
    walls.iter().filter(alone).find(is_sync).copied()
}

/// How much of one worker's work is done in one worker's time. In weak mode the work
/// grows with the workers.
fn speedup(
    result: &Value,
    cell: &CellInput<'_>,
    reference: &CellInput<'_>,
) -> Option<(PlotPoint, Origin)> {
    let workers = cell.number("workers")?;
    let weak = is_weak(cell);
    let work = if weak { workers } else { 1.0 };
    let point = |y, interval| PlotPoint {
        x: workers,
        y,
        interval,
        hollow: cell.case.get("oversubscribed") == Some(&Value::Bool(true)),
    };
    if cell.p50 <= 0.0 {
        return None;
    }
    if let Some(measured) = models::speedup(result, cell, weak) {
        return Some((point(measured.estimate, measured.interval), Origin::Blocks));
    }
    let interval = match (cell.ci95, reference.ci95) {
        // The reference is once as fast as itself, however uncertain its time is.
        _ if cell.case == reference.case => None,
        (Some([from, to]), Some([least, most])) if from > 0.0 => {
            Some([work * least / to, work * most / from])
        }
        _ => None,
    };
    Some((point(work * reference.p50 / cell.p50, interval), Origin::Medians))
}

fn figure(result: &Value, walls: &[CellInput<'_>], scaling: &[CellInput<'_>]) -> Option<Figure> {
    let reference = reference(walls)?;
    let name = |cell: &CellInput<'_>| {
        cell.said(|key| !["workers", "kernel", "mode", "oversubscribed"].contains(&key))
    };
    let groups = grouped(walls, |cell| (name(cell), cell.text("backend")));
    let looks = looks(&groups.iter().map(|((_, backend), _)| *backend).collect::<Vec<_>>());
    let mut series = Vec::new();
    let mut origins = Vec::new();
    for (((name, _), cells), look) in groups.into_iter().zip(looks) {
        let measured = cells.iter().filter_map(|cell| speedup(result, cell, &reference));
        let mut points = Vec::new();
        for (point, origin) in measured {
            origins.extend(point.interval.map(|_| origin));
            points.push(point);
        }
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        // Older results have Amdahl's law fitted to work that grows; it is not about that.
        let (curves, refused) = match is_weak(&reference) {
            true => (Vec::new(), Vec::new()),
            false => (curves(result, &cells[0]), refused(result, &cells[0])),
        };
        series.push(SpeedupSeries { name, look, points, curves, refused });
    }
    let usable = result.get("host").and_then(|host| number(host, "cores_usable"));
    let pictures = [draw(WIDE, &series, usable)?, draw(NARROW, &series, usable)?];
    let weak = is_weak(&reference);
    let kind = if weak { "Scaled speedup (work grows with the workers)" } else { "Speedup" };
    let kernel = reference.text("kernel").map_or(String::new(), |name| format!(", {name}"));
    Some(Figure {
        title: format!("{kind} against workers{kernel}"),
        answer: answer(&series),
        notes: notes(&series, &origins, usable, weak),
        legend: legend(&series),
        pictures,
        table: table(result, walls, scaling, &reference),
    })
}

fn answer(series: &[SpeedupSeries<'_>]) -> String {
    let all = series.iter().flat_map(|series| series.points.iter().map(move |p| (series, p)));
    let Some((best, point)) = all.max_by(|a, b| a.1.y.total_cmp(&b.1.y)) else {
        return String::new();
    };
    let (name, workers) = (&best.name, count(point.x as u64, "worker"));
    let times = digits(point.y);
    match point.interval {
        Some([from, _]) if from <= 1.0 => format!(
            "None is surely faster than sync: the best is {name} with {workers}, {times} times{}.",
            in_brackets(point.interval, digits)
        ),
        Some(_) => format!(
            "The best is {name} with {workers}: {times} times sync{}.",
            in_brackets(point.interval, digits)
        ),
        // Sync itself has none, and needs none.
        None if point.y == 1.0 => "None is faster than sync.".to_owned(),
        None => format!(
            "By its median alone {name} with {workers} is {times} times sync, which says little: \
             there are too few blocks for an interval."
        ),
    }
}

fn notes(
    series: &[SpeedupSeries<'_>],
    origins: &[Origin],
    usable: Option<f64>,
    weak: bool,
) -> Vec<String> {
    let what = match weak {
        true => {
            "Scaled speedup is how many times the work of sync with one worker is done in its \
             time. The serial share is Gustafson's."
        }
        false => "Speedup is the time of sync with one worker over the time with so many.",
    };
    let strokes = if origins.is_empty() {
        format!("There are no intervals: {TOO_FEW}.")
    } else if origins.contains(&Origin::Medians) {
        "Strokes are from the intervals of both times and longer than 95 % intervals.".to_owned()
    } else {
        "Strokes are 95 % intervals of the ratios within blocks.".to_owned()
    };
    let mut notes = vec![format!("{what} {strokes}")];
    if series.iter().any(|series| series.points.iter().any(|point| point.hollow)) {
        let cores = usable.map_or(String::new(), |cores| format!(" ({cores} here)"));
        notes.push(format!(
            "Hollow markers on darker ground: more workers than usable cores{cores}."
        ));
    }
    if series.iter().any(|series| !series.curves.is_empty()) {
        notes.push(
            "Thin dashed curves are fits, scaled to each line's own one-worker point.".into(),
        );
    }
    // Series of the same worker counts lack curves for the same reasons.
    let mut refused: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for series in series {
        for &(model, reason) in &series.refused {
            let name = match model {
                "usl" => "USL",
                "amdahl" => "Amdahl",
                _ => continue,
            };
            match refused.iter_mut().find(|(of, why, _)| (*of, *why) == (name, reason)) {
                Some((_, _, whose)) => whose.push(&series.name),
                None => refused.push((name, reason, vec![&series.name])),
            }
        }
    }
    for (name, reason, whose) in refused {
        notes.push(format!("No {name} curve for {}: {reason}.", whose.join(", ")));
    }
    notes
}

fn legend(series: &[SpeedupSeries<'_>]) -> Vec<Key> {
    let line = |class: &str, shape, text: &str| Key {
        swatch: Swatch::Line(class.to_owned(), shape),
        text: text.to_owned(),
    };
    let mut keys = vec![line("ideal", None, "ideal: as many times as workers")];
    for SpeedupSeries { name, look, curves, .. } in series {
        keys.push(line(&look.class, Some(look.shape), name));
        for curve in curves {
            let text = format!("{name}: {}", curve.said());
            keys.push(line(&format!("{} fit", look.class), None, &text));
        }
    }
    keys
}

/// Every wall time with what follows from it, and the other metrics of its case.
fn table(
    result: &Value,
    walls: &[CellInput<'_>],
    scaling: &[CellInput<'_>],
    reference: &CellInput<'_>,
) -> Table {
    let metrics = ["cpu", "startup_share", "communication_share", "imbalance", "peak_memory"];
    let of = |wall: &CellInput<'_>, metric: &str| {
        let cell = scaling.iter().find(|cell| cell.metric == metric && cell.case == wall.case);
        cell.map_or(String::new(), |cell| quantity(cell.unit, cell.p50))
    };
    // Karp and Flatt's figure is about a speedup of the same work; of work that grows with
    // the workers, Gustafson's serial share.
    let weak = is_weak(reference);
    let (speedup_name, serial_name) =
        if weak { ("scaled speedup", "serial share") } else { ("speedup", "Karp–Flatt") };
    let head = ["backend", "workers", "wall", speedup_name, "interval", "efficiency", serial_name];
    let mut table = Table::new(1, &head);
    let known =
        metrics.iter().filter(|metric| walls.iter().any(|wall| !of(wall, metric).is_empty()));
    let known: Vec<&str> = known.copied().collect();
    table.head.extend(known.iter().map(|metric| metric.replace('_', " ")));
    for wall in walls {
        let Some((point, _)) = speedup(result, wall, reference) else { continue };
        let (n, s) = (point.x, point.y);
        // What has no interval is too uncertain to draw a law from.
        let serial = match point.interval {
            Some(_) if n > 1.0 => digits(serial_share(n, s, weak)),
            _ => "–".into(),
        };
        let mut row = vec![
            wall.said(|key| !["workers", "kernel", "mode"].contains(&key)),
            n.to_string(),
            quantity(wall.unit, wall.p50),
            digits(s),
            point.interval.map_or("–".into(), |ends| {
                let [from, to] = ends.map(digits);
                format!("{from} to {to}")
            }),
            digits(s / n),
            serial,
        ];
        row.extend(known.iter().map(|metric| of(wall, metric)));
        table.rows.push(row);
    }
    table
}

fn is_weak(cell: &CellInput<'_>) -> bool {
    cell.text("mode") == Some("weak")
}

/// The serial share that would explain what `n` workers do: of the same work, that of Karp and
/// Flatt (1990); of `n` times the work, that of Gustafson (1988), whose scaled speedup is
/// `n - share * (n - 1)`.
fn serial_share(n: f64, speedup: f64, weak: bool) -> f64 {
    match weak {
        true => (n - speedup) / (n - 1.0),
        false => (1.0 / speedup - 1.0 / n) / (1.0 - 1.0 / n),
    }
}

fn draw(width: f64, series: &[SpeedupSeries<'_>], usable: Option<f64>) -> Option<Canvas> {
    let height = if width >= WIDE { 400.0 } else { 320.0 };
    let field = Field::new(width, height, 150.0);
    let points = || series.iter().flat_map(|series| &series.points);
    let counts = distinct(points().map(|point| point.x));
    let most = *counts.last()?;
    let ends = |point: &PlotPoint| [point.y, point.interval.map_or(point.y, |ends| ends[1])];
    let (low, high) = extent(points().flat_map(ends))?;
    // The ideal may leave the picture; what was measured should fill it.
    let top = (high * 1.15).max(2.0_f64.min(most));
    let inner = (field.x.0 + 16.0, field.x.1 - 16.0);
    let (x, y) = if most > MANY {
        (Scale::log((1.0, most), inner), Scale::log((low.min(1.0) * 0.8, top), field.y))
    } else {
        (Scale::linear((1.0, most.max(2.0)), inner), Scale::linear((0.0, top), field.y))
    };
    let x_ticks = counts.iter().map(|count| (*count, count.to_string())).collect();
    let x_ticks = with_room(&x, x_ticks);
    let y_ticks: Vec<_> =
        y.ticks(34.0).into_iter().map(|at| (at, super::input::tick("", at))).collect();
    let mut canvas = Canvas::new(width, height);
    let axes = Axes {
        x,
        y,
        x_ticks: &x_ticks,
        y_ticks: &y_ticks,
        x_title: "workers",
        y_title: "times sync",
    };
    if let Some(cores) = usable.filter(|cores| *cores < most) {
        let from = x.clamped(cores + 0.5);
        canvas.rect("beyond", (from, field.y.1), (field.x.1 - from, field.y.0 - field.y.1));
        if width >= WIDE {
            let at = (field.x.1 - 6.0, field.y.1 + 15.0);
            canvas.text("aside", Anchor::End, at, "more workers than cores");
        }
    }
    axes.draw(&mut canvas, field);
    let curve = |of: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
        let steps = (0..=80).map(|step| 1.0 + (most - 1.0) * f64::from(step) / 80.0);
        let inside = steps.map(|n| (n, of(n))).take_while(|(_, value)| *value <= top);
        inside.map(|(n, value)| (x.at(n), y.clamped(value))).collect()
    };
    let ideal = curve(&|n| n);
    canvas.path("line ideal", &ideal);
    if let Some((x, y)) = ideal.last().filter(|_| width >= WIDE) {
        canvas.text("aside", Anchor::End, (x - 8.0, y + 8.0), "ideal");
    }
    let mut ends = Vec::new();
    for SpeedupSeries { name, look, points, curves, .. } in series {
        let base = points.iter().find(|point| point.x == 1.0).map_or(1.0, |point| point.y);
        for fitted in curves {
            let class = format!("line {} fit", look.class);
            canvas.path(&class, &curve(&|n| base * fitted.at(n)));
        }
        axes.series(&mut canvas, look, points, |point| {
            let workers = count(point.x as u64, "worker");
            let interval = in_brackets(point.interval, digits);
            format!("{name}, {workers}: {}{interval}", digits(point.y))
        });
        if let Some(last) = points.last().filter(|last| last.x == most) {
            ends.push((x.at(last.x), y.clamped(last.y), name.clone()));
        }
    }
    end_labels(&mut canvas, field, &ends);
    Some(canvas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_share_is_of_the_law_that_the_work_follows() {
        // Amdahl: a fifth is serial, so four workers are 1 / (0.2 + 0.8 / 4) times as fast.
        assert!((serial_share(4.0, 2.5, false) - 0.2).abs() < 1e-12);
        // Gustafson: 4 - 0.2 * 3.
        assert!((serial_share(4.0, 3.4, true) - 0.2).abs() < 1e-12);
    }
}
