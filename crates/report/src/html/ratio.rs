//! A comparison: each cell's ratio with its interval, what the machine makes of no
//! difference at all beneath it, and the verdict in words.

use serde_json::{Map, Value};

use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::input::{in_brackets, list, number, plain, quantity, said, text, words};
use super::models::EstimateInput;
use super::plot::whisker;
use super::scale::{Scale, extent};
use super::svg::{Anchor, Canvas, fitted};

/// A compared cell, as in `brigade.compare.v1`.
struct RatioRow<'a> {
    name: String,
    unit: &'a str,
    verdict: &'a str,
    why: &'a str,
    ratio: Option<EstimateInput>,
    aa: Option<EstimateInput>,
    base: Option<f64>,
    head: Option<f64>,
    p: Option<f64>,
    detectable: Option<f64>,
    blocks: Option<f64>,
}

/// Everything that names a cell, as one object.
fn names(cell: &Value) -> Map<String, Value> {
    let mut names = cell.get("case").and_then(Value::as_object).cloned().unwrap_or_default();
    for key in ["experiment", "metric"] {
        names.extend(text(cell, key).map(|name| (key.to_owned(), words(name).into())));
    }
    names
}

impl<'a> RatioRow<'a> {
    /// Reads a cell; it is called by that of its names which is `not_common`.
    fn read(cell: &'a Value, not_common: impl Fn(&str) -> bool) -> Self {
        Self {
            name: said(&names(cell), not_common),
            unit: text(cell, "unit").unwrap_or(""),
            verdict: text(cell, "verdict").unwrap_or("no verdict"),
            why: text(cell, "why").unwrap_or(""),
            ratio: cell.get("ratio").and_then(EstimateInput::read),
            aa: cell.get("aa").and_then(EstimateInput::read),
            base: number(cell, "base"),
            head: number(cell, "head"),
            p: number(cell, "p_holm").or_else(|| number(cell, "p")),
            detectable: number(cell, "detectable"),
            blocks: number(cell, "blocks"),
        }
    }

    fn colour(&self) -> &'static str {
        match self.verdict {
            "better" => "v-better",
            "worse" => "v-worse",
            "same" => "v-same",
            _ => "v-open",
        }
    }
}

/// The figure of a comparison, if it has cells.
pub(crate) fn figure(result: &Value) -> Option<Figure> {
    let cells = list(result, "cells");
    // What all rows have in common is said once, below the picture.
    let first = names(cells.first()?);
    let common = |key: &str| {
        let same = |cell: &Value| names(cell).get(key) == first.get(key);
        cells.len() > 1 && cells.iter().all(same)
    };
    let rows: Vec<RatioRow<'_>> =
        cells.iter().map(|cell| RatioRow::read(cell, |key| !common(key))).collect();
    let tolerance = number(result, "tolerance").filter(|tolerance| *tolerance > 0.0);
    let mut table = Table::new(
        2,
        &[
            "cell",
            "verdict",
            "ratio (interval)",
            "A/A (interval)",
            "base",
            "head",
            "p (Holm)",
            "detectable",
            "blocks",
        ],
    );
    for row in &rows {
        let of = |value: Option<f64>| value.map_or("–".into(), |value| quantity(row.unit, value));
        let estimate = |of: &Option<EstimateInput>| of.as_ref().map_or("–".into(), percent);
        let verdict = match row.why {
            "" => row.verdict.to_owned(),
            why => format!("{}: {why}", row.verdict),
        };
        table.rows.push(vec![
            row.name.clone(),
            verdict,
            estimate(&row.ratio),
            estimate(&row.aa),
            of(row.base),
            of(row.head),
            row.p.map_or("–".into(), |p| format!("{p:.4}")),
            row.detectable.map_or("–".into(), |least| format!("{:.1} %", least * 100.0)),
            row.blocks.map_or("–".into(), |blocks| plain(&Value::from(blocks as u64))),
        ]);
    }
    let mut notes = vec![
        "Head over base: right of the middle is more, and less is better. The axis is \
         logarithmic."
            .to_owned(),
    ];
    let in_all = said(&first, common);
    if !in_all.is_empty() {
        notes.push(format!("All rows: {in_all}."));
    }
    let tolerated = |t: f64| format!("the tolerance, {} % either way", short(t * 100.0));
    let missing = rows.iter().filter(|row| row.ratio.is_none()).count();
    if missing > 0 {
        notes.push(format!("{missing} of {} cells have no ratio.", rows.len()));
    }
    let key = |swatch, text: String| Key { swatch, text };
    let mut legend = vec![
        key(Swatch::Line("v-same".into(), Some(0)), "head over base, with its interval".into()),
        key(Swatch::Line("v-aa".into(), Some(2)), "base again over base (A/A)".into()),
    ];
    legend.extend(tolerance.map(|t| key(Swatch::Box("tolerance".into()), tolerated(t))));
    Some(Figure {
        title: "Head over base, cell by cell".into(),
        answer: answer(&rows),
        notes,
        legend,
        pictures: [WIDE, NARROW].map(|width| draw(width, &rows, tolerance)),
        table,
    })
}

fn short(value: f64) -> String {
    super::input::tick("", value)
}

/// `+5.2 % (+3.1 to +7.4)`.
fn percent(of: &EstimateInput) -> String {
    let said = |ratio: f64| format!("{:+.1}", (ratio - 1.0) * 100.0);
    format!("{} %{}", said(of.estimate), in_brackets(of.interval, said)).replace('-', "−")
}

fn answer(rows: &[RatioRow<'_>]) -> String {
    let parts = ["worse", "inconclusive", "same", "better"].map(|verdict| {
        let of = rows.iter().filter(|row| row.verdict == verdict).count();
        (of > 0).then(|| format!("{of} {verdict}"))
    });
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("Of {}: {}.", crate::units::count(rows.len() as u64, "cell"), parts.join(", "))
}

/// Symmetric around no change, so that nothing looks larger than its opposite.
fn reach(rows: &[RatioRow<'_>], tolerance: Option<f64>) -> f64 {
    let estimates = || rows.iter().flat_map(|row| [row.ratio, row.aa]).flatten();
    let far = |ratio: f64| if ratio > 0.0 { ratio.max(1.0 / ratio) } else { 1.0 };
    let ends = estimates()
        .flat_map(|of| std::iter::once(of.estimate).chain(of.interval.into_iter().flatten()));
    let (_, most) = extent(ends.map(far)).unwrap_or((1.0, 1.0));
    // What is farther away than four times is shown by an arrow.
    most.min(4.0).max(1.0 + 2.0 * tolerance.unwrap_or(0.01)).powf(1.08)
}

fn draw(width: f64, rows: &[RatioRow<'_>], tolerance: Option<f64>) -> Canvas {
    let wide = width >= WIDE;
    let (left, right) = if wide { (300.0, width - 240.0) } else { (8.0, width - 8.0) };
    let (step, head) = if wide { (48.0, 8.0) } else { (84.0, 8.0) };
    let bottom = head + step * rows.len() as f64;
    let mut canvas = Canvas::new(width, bottom + 46.0);
    let reach = reach(rows, tolerance);
    let scale = Scale::log((1.0 / reach, reach), (left, right));
    // A narrow picture has words above each row, where no line should cross them.
    let ends = (1..=rows.len()).map(|row| head + step * row as f64);
    let strips: Vec<(f64, f64)> = match wide {
        true => vec![(head, bottom)],
        false => ends.map(|end| (end - 44.0, end - 3.0)).collect(),
    };
    for (top, end) in &strips {
        if let Some(t) = tolerance {
            let (from, to) = (scale.clamped(1.0 / (1.0 + t)), scale.clamped(1.0 + t));
            canvas.rect("tolerance", (from, *top), (to - from, end - top));
        }
        for (ratio, _) in ticks(reach, scale) {
            let x = scale.at(ratio);
            canvas.line(if ratio == 1.0 { "one" } else { "grid" }, (x, *top), (x, *end));
        }
    }
    for (ratio, label) in ticks(reach, scale) {
        let x = scale.at(ratio);
        canvas.tick_label((x, bottom + 18.0), &label);
    }
    canvas.line("axis", (left, bottom), (right, bottom));
    let titles = [(left, Anchor::Start, "← head less"), (right, Anchor::End, "head more →")];
    for (x, anchor, text) in titles {
        canvas.text("title", anchor, (x, bottom + 39.0), text);
    }
    for (index, row) in rows.iter().enumerate() {
        let top = head + step * index as f64;
        let middle = top + if wide { 18.0 } else { 52.0 };
        let figure = row.ratio.as_ref().map_or("no ratio".into(), percent);
        if wide {
            let name = fitted(&row.name, left - 16.0);
            canvas.text("label", Anchor::End, (left - 12.0, middle + 8.0), &name);
            canvas.text("verdict", Anchor::Start, (right + 14.0, middle), row.verdict);
            canvas.text("value", Anchor::Start, (right + 14.0, middle + 17.0), &figure);
        } else {
            let name = fitted(&row.name, width - 4.0);
            canvas.text("label", Anchor::Start, (2.0, top + 15.0), &name);
            canvas.text("verdict", Anchor::Start, (2.0, top + 33.0), row.verdict);
            canvas.text("value", Anchor::End, (width - 2.0, top + 33.0), &figure);
        }
        if index > 0 {
            let from = if wide { 0.0 } else { left };
            canvas.line("row", (from, top), (width, top));
        }
        let arms = [
            ("ratio", row.colour(), &row.ratio, 0, middle),
            ("aa", "v-aa", &row.aa, 2, middle + 15.0),
        ];
        for (kind, class, of, shape, y) in arms {
            let Some(of) = of else { continue };
            let says = format!("{}: {kind} {}", row.name, percent(of));
            canvas.mark(kind, &says, |canvas| {
                if let Some(interval) = of.interval {
                    let [from, to] = interval.map(|end| scale.clamped(end));
                    whisker(canvas, class, (from, y), (to, y));
                    beyond(canvas, class, scale, interval, y);
                }
                let hollow = if kind == "aa" { "hollow" } else { "" };
                let at = (scale.clamped(of.estimate), y);
                canvas.marker(&format!("dot {class} {hollow}"), shape, at);
            });
        }
    }
    canvas
}

/// Arrows where an interval goes on beyond the picture.
fn beyond(canvas: &mut Canvas, class: &str, scale: Scale, [from, to]: [f64; 2], y: f64) {
    let (least, most) = scale.domain();
    let class = format!("whisker {class}");
    for (out, end, back) in [(from < least, least, 7.0), (to > most, most, -7.0)] {
        if out {
            let x = scale.at(end);
            canvas.path(&class, &[(x + back, y - 6.0), (x, y), (x + back, y + 6.0)]);
        }
    }
}

/// No change, and the same changes in percent on both sides.
fn ticks(reach: f64, scale: Scale) -> Vec<(f64, String)> {
    let steps: &[f64] = &[0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0];
    let near = |step: &&f64| {
        let x = scale.at(1.0 + **step / 100.0) - scale.at(1.0);
        x >= 52.0 && 1.0 + **step / 100.0 <= reach
    };
    let mut ticks = vec![(1.0, "0 %".to_owned())];
    let mut last: f64 = 1.0;
    for step in steps.iter().filter(near) {
        let ratio = 1.0 + step / 100.0;
        if scale.at(ratio) - scale.at(last) < 52.0 {
            continue;
        }
        last = ratio;
        ticks.push((ratio, format!("+{} %", short(*step))));
        let less = 1.0 - step / 100.0;
        if less > 0.0 && scale.has(less) {
            ticks.push((less, format!("−{} %", short(*step))));
        }
    }
    ticks
}
