//! Medians with their intervals, a row for each case: for every experiment that has no
//! picture of its own.

use serde_json::Value;

use super::figure::{Figure, NARROW, Table, WIDE};
use super::input::{CellInput, grouped, quantity, tick, with_interval, without_intervals, words};
use super::plot::whisker;
use super::scale::{Scale, extent, log_domain};
use super::series::colour;
use super::svg::{Anchor, Canvas, fitted};

/// Rows of one figure; of more, the first are shown, and all are in the table.
const MOST: usize = 40;

/// Keys that are not compared within one figure.
const SITUATION: [&str; 4] = ["state", "mode", "bytes", "work"];

/// A figure for each experiment, metric and situation.
pub(crate) fn figures(cells: &[CellInput<'_>]) -> Vec<Figure> {
    let key = |cell: &CellInput<'_>| {
        let of_case = SITUATION.map(|key| cell.case.get(key).map(Value::to_string));
        (cell.experiment.to_owned(), cell.metric.to_owned(), cell.unit.to_owned(), of_case)
    };
    grouped(cells, key).iter().filter_map(|(_, group)| figure(group)).collect()
}

struct MedianRow<'a> {
    name: String,
    class: &'static str,
    shape: usize,
    cell: CellInput<'a>,
}

fn figure(cells: &[CellInput<'_>]) -> Option<Figure> {
    let first = cells.first()?;
    // What is the same in all rows is said once, in the title.
    let common = |key: &str| {
        let same = |cell: &CellInput<'_>| cell.case.get(key) == first.case.get(key);
        key != "backend" && cells.iter().all(same)
    };
    let alone = cells.len() == 1;
    let row = |cell: &CellInput<'_>| -> String { cell.said(|key| alone || !common(key)) };
    let rows: Vec<MedianRow<'_>> = cells
        .iter()
        .map(|cell| {
            let backend = cell.text("backend");
            let class = colour(backend);
            let shape = if backend.is_some() { 0 } else { 2 };
            MedianRow { name: row(cell), class, shape, cell: *cell }
        })
        .collect();
    let situation = match alone {
        true => String::new(),
        false => first.said(common),
    };
    let mut title = format!("{}, {}", words(first.experiment), first.metric.replace('_', " "));
    if !situation.is_empty() {
        title.push_str(&format!(" ({situation})"));
    }
    let mut table = Table::new(1, &["case", "median (95 % interval)", "n"]);
    for row in &rows {
        table.rows.push(vec![
            row.name.clone(),
            with_interval(first.unit, row.cell.p50, row.cell.ci95),
            row.cell.n.map_or(String::new(), |n| n.to_string()),
        ]);
    }
    let domain = Domain::of(cells)?;
    let mut notes = vec![domain.note().to_owned()];
    notes.extend(without_intervals(cells));
    if rows.iter().any(|row| row.shape == 2) {
        notes.push("Diamonds are floors: what this machine takes without Brigade.".into());
    }
    if rows.len() > MOST {
        notes.push(format!("The first {MOST} of {} rows are drawn.", rows.len()));
    }
    let shown = &rows[..rows.len().min(MOST)];
    let pictures = [WIDE, NARROW].map(|width| draw(width, shown, &domain, first.unit));
    Some(Figure { title, answer: answer(&rows), notes, legend: Vec::new(), pictures, table })
}

/// The ends of the axis, and its kind.
struct Domain {
    log: bool,
    ends: (f64, f64),
}

impl Domain {
    fn of(cells: &[CellInput<'_>]) -> Option<Self> {
        let ends = || cells.iter().flat_map(CellInput::ends);
        let (least, most) = extent(ends())?;
        if least > 0.0 && most / least > 8.0 {
            return Some(Self { log: true, ends: log_domain(ends())? });
        }
        Some(Self { log: false, ends: (least.min(0.0), (most * 1.05).max(1e-9)) })
    }

    fn note(&self) -> &'static str {
        match self.log {
            true => "The axis is logarithmic: a step is a factor. Strokes are 95 % intervals.",
            false => "Strokes are 95 % intervals of the medians.",
        }
    }

    fn scale(&self, range: (f64, f64)) -> Scale {
        if self.log { Scale::log(self.ends, range) } else { Scale::linear(self.ends, range) }
    }
}

/// The least of Brigade's own rows.
fn answer(rows: &[MedianRow<'_>]) -> String {
    let own: Vec<_> = rows.iter().filter(|row| row.cell.text("backend").is_some()).collect();
    let least = own.iter().min_by(|a, b| a.cell.p50.total_cmp(&b.cell.p50));
    match least {
        Some(row) if own.len() > 1 => {
            let figure = with_interval(row.cell.unit, row.cell.p50, row.cell.ci95);
            let doubt = match (row.cell.ci95, own.iter().all(|of| of.cell.ci95.is_some())) {
                (Some([_, to]), true) => {
                    let from =
                        |other: &MedianRow<'_>| other.cell.ci95.is_some_and(|ends| ends[0] <= to);
                    let near = own.iter().any(|other| other.name != row.name && from(other));
                    if near { "; others' intervals reach into its own" } else { "" }
                }
                _ => "; of too few blocks to tell it from the others",
            };
            format!("Least for {}: {figure}{doubt}.", row.name)
        }
        _ => String::new(),
    }
}

fn draw(width: f64, rows: &[MedianRow<'_>], domain: &Domain, unit: &str) -> Canvas {
    // A narrow picture has the name above the row, a wide one at its left.
    let wide = width >= WIDE;
    let (left, right) = if wide { (300.0, width - 96.0) } else { (12.0, width - 16.0) };
    let (step, head) = if wide { (26.0, 8.0) } else { (44.0, 4.0) };
    let bottom = head + step * rows.len() as f64 + 6.0;
    let mut canvas = Canvas::new(width, bottom + 28.0);
    let scale = domain.scale((left + 6.0, right - 6.0));
    for value in scale.ticks(64.0) {
        let x = scale.at(value);
        // A narrow picture has words above each row, where no line should cross them.
        match wide {
            true => canvas.line("grid", (x, head), (x, bottom)),
            false => (1..=rows.len()).map(|row| head + step * row as f64).for_each(|end| {
                canvas.line("grid", (x, end - 20.0), (x, end - 4.0));
            }),
        }
        canvas.tick_label((x, bottom + 18.0), &tick(unit, value));
    }
    canvas.line("axis", (left, bottom), (right, bottom));
    for (index, row) in rows.iter().enumerate() {
        let middle = head + step * (index as f64 + 0.5) + if wide { 0.0 } else { 10.0 };
        let value = quantity(unit, row.cell.p50);
        if wide {
            let name = fitted(&row.name, left - 16.0);
            canvas.text("label", Anchor::End, (left - 12.0, middle + 4.0), &name);
            canvas.text("value", Anchor::End, (width - 2.0, middle + 4.0), &value);
        } else {
            let name = fitted(&row.name, width - 90.0);
            canvas.text("label", Anchor::Start, (2.0, middle - 12.0), &name);
            canvas.text("value", Anchor::End, (width - 2.0, middle - 12.0), &value);
        }
        let says = format!("{}: {}", row.name, with_interval(unit, row.cell.p50, row.cell.ci95));
        canvas.line("guide", (left, middle), (right, middle));
        canvas.mark("point", &says, |canvas| {
            if let Some(interval) = row.cell.ci95 {
                let [from, to] = interval.map(|end| scale.clamped(end));
                whisker(canvas, row.class, (from, middle), (to, middle));
            }
            let at = (scale.clamped(row.cell.p50), middle);
            canvas.marker(&format!("dot {}", row.class), row.shape, at);
        });
    }
    canvas
}
