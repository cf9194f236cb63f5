//! The field of a line chart: axes, ticks, and series of points with intervals.

use super::figure::WIDE;
use super::scale::Scale;
use super::series::Look;
use super::svg::{Anchor, Canvas, apart, fitted, text_width};

/// Height of the row of tick labels and the axis title below the field.
const FOOT: f64 = 46.0;
/// Height of the row with the title of the vertical axis.
const HEAD: f64 = 30.0;

/// Room inside a picture for the field of a chart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// From left to right.
    pub(crate) x: (f64, f64),
    /// From bottom to top, as values grow.
    pub(crate) y: (f64, f64),
}

impl Field {
    /// The field of a picture of this size, with room for labels at the ends of lines
    /// where the picture is wide.
    pub(crate) fn new(width: f64, height: f64, labels: f64) -> Self {
        let right = if width >= WIDE { labels } else { 12.0 };
        Self { x: (60.0, width - right), y: (height - FOOT, HEAD) }
    }
}

/// A point of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlotPoint {
    /// Where it is.
    pub(crate) x: f64,
    /// The estimate.
    pub(crate) y: f64,
    /// Its interval, if it has one.
    pub(crate) interval: Option<[f64; 2]>,
    /// Whether its marker is hollow.
    pub(crate) hollow: bool,
}

/// Axes of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axes<'a> {
    /// Horizontal.
    pub(crate) x: Scale,
    /// Vertical.
    pub(crate) y: Scale,
    /// Where the horizontal axis has labels.
    pub(crate) x_ticks: &'a [(f64, String)],
    /// Where the vertical axis has labels.
    pub(crate) y_ticks: &'a [(f64, String)],
    /// What the horizontal axis shows.
    pub(crate) x_title: &'a str,
    /// What the vertical axis shows.
    pub(crate) y_title: &'a str,
}

impl Axes<'_> {
    /// Draws them, with a grid.
    pub(crate) fn draw(&self, canvas: &mut Canvas, field: Field) {
        let ((left, right), (bottom, top)) = (field.x, field.y);
        for (value, label) in self.y_ticks {
            let y = self.y.at(*value);
            canvas.line("grid", (left, y), (right, y));
            canvas.text("tick", Anchor::End, (left - 8.0, y + 4.0), label);
        }
        for (value, label) in self.x_ticks {
            let x = self.x.at(*value);
            canvas.line("axis", (x, bottom), (x, bottom + 5.0));
            canvas.tick_label((x, bottom + 19.0), label);
        }
        canvas.line("axis", (left, bottom), (right, bottom));
        canvas.text("title", Anchor::End, (right, bottom + 39.0), self.x_title);
        canvas.text("title", Anchor::Start, (2.0, top - 16.0), self.y_title);
    }

    /// Draws a series: a line through its points, and each with its interval. `says`
    /// is the tool tip of a point.
    pub(crate) fn series(
        &self,
        canvas: &mut Canvas,
        look: &Look,
        points: &[PlotPoint],
        says: impl Fn(&PlotPoint) -> String,
    ) {
        let place = |point: &PlotPoint| (self.x.at(point.x), self.y.clamped(point.y));
        let class = &look.class;
        if points.len() > 1 {
            let places: Vec<_> = points.iter().map(place).collect();
            canvas.path(&format!("line {class}"), &places);
        }
        for point in points {
            let (x, y) = place(point);
            canvas.mark("point", &says(point), |canvas| {
                if let Some(interval) = point.interval {
                    let ends = interval.map(|end| self.y.clamped(end));
                    whisker(canvas, class, (x, ends[0]), (x, ends[1]));
                }
                let hollow = if point.hollow { "hollow" } else { "" };
                canvas.marker(&format!("dot {class} {hollow}"), look.shape, (x, y));
            });
        }
    }
}

/// An interval: a line with a short stroke at each end.
pub(crate) fn whisker(canvas: &mut Canvas, class: &str, from: (f64, f64), to: (f64, f64)) {
    let class = format!("whisker {class}");
    canvas.line(&class, from, to);
    let upright = (from.0 - to.0).abs() < 0.01;
    let (dx, dy) = if upright { (3.5, 0.0) } else { (0.0, 3.5) };
    for (x, y) in [from, to] {
        canvas.line(&class, (x - dx, y - dy), (x + dx, y + dy));
    }
}

/// Names lines at their right ends, where the picture is wide: nobody has to look up
/// dashes in a legend. Lines lead to labels that had to move.
pub(crate) fn end_labels(canvas: &mut Canvas, field: Field, ends: &[(f64, f64, String)]) {
    if canvas.width < WIDE {
        return;
    }
    let wanted: Vec<f64> = ends.iter().map(|(_, y, _)| *y).collect();
    let places = apart(&wanted, 16.0, field.y.0);
    let x = field.x.1 + 16.0;
    for ((from, y, text), place) in ends.iter().zip(places) {
        canvas.path("leader", &[(from + 7.0, *y), (x - 3.0, place)]);
        let room = canvas.width - x;
        canvas.text("label", Anchor::Start, (x, place + 4.0), &fitted(text, room));
    }
}

/// As many of these ticks as have room for their labels beside each other.
pub(crate) fn with_room(scale: &Scale, ticks: Vec<(f64, String)>) -> Vec<(f64, String)> {
    let mut kept: Vec<(f64, String)> = Vec::new();
    for (value, label) in ticks {
        let free = |(other, text): &(f64, String)| {
            let distance = (scale.at(value) - scale.at(*other)).abs();
            distance >= (text_width(text) + text_width(&label)) / 2.0 + 10.0
        };
        if kept.last().is_none_or(free) {
            kept.push((value, label));
        }
    }
    kept
}
