//! Who did what when: a row for each worker, small pictures side by side on one scale
//! of time.

use super::figure::{Key, Swatch};
use super::scale::Scale;
use super::svg::{Anchor, Canvas, fitted, text_width};

/// Rows of one worker that are drawn; what would need more is left out.
const ROWS: usize = 16;

/// What a worker did for a while.
#[derive(Clone, Debug)]
pub(crate) struct TimelineSpan {
    /// "compute"; see [`KINDS`].
    pub(crate) kind: String,
    /// Since the beginning, in microseconds.
    pub(crate) from: f64,
    /// Since the beginning, in microseconds.
    pub(crate) to: f64,
    /// Which job it was; may be empty.
    pub(crate) label: String,
}

/// What one worker did.
#[derive(Clone, Debug)]
pub(crate) struct WorkerTimeline {
    /// "worker 0".
    pub(crate) name: String,
    /// In any order; they may overlap, as those of an event loop do.
    pub(crate) spans: Vec<TimelineSpan>,
}

/// One picture: a backend at work.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// "threads".
    pub(crate) name: String,
    /// How long it took, in microseconds.
    pub(crate) wall: f64,
    /// Its workers.
    pub(crate) workers: Vec<WorkerTimeline>,
}

/// Kinds of spans: the name in a file, the class, and what it means.
const KINDS: [(&str, &str, &str); 7] = [
    ("compute", "k-compute", "computes"),
    ("wait", "k-wait", "waits (for a disk, a network, a timer)"),
    ("communication", "k-communication", "communicates"),
    ("startup", "k-startup", "starts"),
    ("shutdown", "k-shutdown", "ends"),
    ("idle", "k-idle", "has nothing to do"),
    ("rest", "k-rest", "is waiting for a job or its bytes, or has nothing to do"),
];

/// The class of a kind, which has colour and pattern.
fn class(kind: &str) -> &'static str {
    KINDS.iter().find(|(name, ..)| *name == kind).map_or("k-other", |(_, class, _)| class)
}

/// The legend of what these panels have.
pub(crate) fn legend(panels: &[Panel]) -> Vec<Key> {
    let spans = || panels.iter().flat_map(|panel| &panel.workers).flat_map(|worker| &worker.spans);
    let there = |(name, ..): &&(&str, &str, &str)| spans().any(|span| span.kind == *name);
    let key = |class: &str, text: &str| Key {
        swatch: Swatch::Box(class.to_owned()),
        text: text.to_owned(),
    };
    let mut keys: Vec<Key> =
        KINDS.iter().filter(there).map(|(_, class, says)| key(class, says)).collect();
    if spans().any(|span| class(&span.kind) == "k-other") {
        keys.push(key("k-other", "something else"));
    }
    keys
}

/// Rows of a worker such that nothing overlaps within one: each span goes into the first
/// row that is free by then.
fn rows(spans: &[TimelineSpan]) -> Vec<Vec<&TimelineSpan>> {
    let mut sorted: Vec<&TimelineSpan> = spans.iter().collect();
    sorted.sort_by(|a, b| a.from.total_cmp(&b.from));
    let mut rows: Vec<Vec<&TimelineSpan>> = Vec::new();
    for span in sorted {
        let free = |row: &&mut Vec<&TimelineSpan>| {
            row.last().is_none_or(|last| last.to <= span.from + 1e-6)
        };
        match rows.iter_mut().find(free) {
            Some(row) => row.push(span),
            None => rows.push(vec![span]),
        }
    }
    rows
}

/// How high each row is of a worker that has so many.
fn row_height(rows: usize) -> f64 {
    match rows {
        0 | 1 => 20.0,
        2..=8 => 14.0,
        _ => 8.0,
    }
}

const HEAD: f64 = 26.0;
const FOOT: f64 = 34.0;
const GAP: f64 = 7.0;

fn height(panel: &Panel) -> f64 {
    let height = |worker: &WorkerTimeline| {
        let rows = rows(&worker.spans).len().clamp(1, ROWS);
        row_height(rows) * rows as f64 + GAP
    };
    HEAD + panel.workers.iter().map(height).sum::<f64>() + FOOT
}

/// The panels, two beside each other where there is room and more than one.
pub(crate) fn draw(width: f64, panels: &[Panel]) -> Canvas {
    let columns = if width > 600.0 && panels.len() > 1 { 2 } else { 1 };
    let between = 28.0;
    let each = (width - between * (columns - 1) as f64) / columns as f64;
    let bands: Vec<f64> =
        panels.chunks(columns).map(|row| row.iter().map(height).fold(0.0, f64::max)).collect();
    let mut canvas = Canvas::new(width, bands.iter().sum());
    let longest = panels.iter().map(|panel| panel.wall).fold(0.0, f64::max);
    let mut top = 0.0;
    for (row, band) in panels.chunks(columns).zip(bands) {
        for (column, panel) in row.iter().enumerate() {
            let left = (each + between) * column as f64;
            self::panel(&mut canvas, (left, top), each, panel, longest);
        }
        top += band;
    }
    canvas
}

fn panel(canvas: &mut Canvas, (left, top): (f64, f64), width: f64, panel: &Panel, longest: f64) {
    let names = panel.workers.iter().map(|worker| text_width(&worker.name)).fold(0.0, f64::max);
    let names = names.min(110.0) + 10.0;
    let x = Scale::linear((0.0, longest.max(1e-9)), (left + names, left + width - 10.0));
    let wall = super::input::quantity("us", panel.wall);
    let room = width - text_width(&wall) - 24.0;
    canvas.text("panel", Anchor::Start, (left, top + 16.0), &fitted(&panel.name, room));
    canvas.text("value", Anchor::End, (left + width - 10.0, top + 16.0), &wall);
    let bottom = top + height(panel) - FOOT;
    for tick in x.ticks(70.0) {
        let at = x.at(tick);
        canvas.line("grid", (at, top + HEAD), (at, bottom));
        let label = super::input::tick("us", tick);
        canvas.tick_label((at, bottom + 17.0), &label);
    }
    let mut y = top + HEAD;
    for worker in &panel.workers {
        let rows = rows(&worker.spans);
        let shown = rows.len().clamp(1, ROWS);
        let height = row_height(shown);
        let middle = y + height * shown as f64 / 2.0 + 4.0;
        let name = fitted(&worker.name, names - 8.0);
        canvas.text("label", Anchor::End, (left + names - 8.0, middle), &name);
        for (index, row) in rows.iter().take(ROWS).enumerate() {
            for span in row {
                let place = (x.clamped(span.from), y + height * index as f64);
                let size = ((x.clamped(span.to) - place.0).max(0.4), height - 1.0);
                bar(canvas, &worker.name, span, place, size);
            }
        }
        y += height * shown as f64 + GAP;
    }
    canvas.line("axis", (x.at(0.0), bottom), (left + width - 10.0, bottom));
    let end = x.at(panel.wall);
    canvas.line("end", (end, top + HEAD - 4.0), (end, bottom));
}

fn bar(
    canvas: &mut Canvas,
    worker: &str,
    span: &TimelineSpan,
    place: (f64, f64),
    size: (f64, f64),
) {
    let took = super::input::quantity("us", span.to - span.from);
    let says = format!("{worker}: {} {} for {took}", span.kind, span.label);
    canvas.mark("span", &says, |canvas| {
        canvas.rect(class(&span.kind), place, size);
        let roomy = size.1 >= 12.0 && size.0 > text_width(&span.label) + 6.0;
        if roomy && matches!(span.kind.as_str(), "compute" | "wait") {
            let small = if size.1 < 16.0 { "small" } else { "" };
            let at = (place.0 + size.0 / 2.0, place.1 + size.1 / 2.0 + 4.0);
            canvas.text(&format!("inside {small}"), Anchor::Middle, at, &span.label);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: &str, from: f64, to: f64) -> TimelineSpan {
        TimelineSpan { kind: kind.into(), from, to, label: "1".into() }
    }

    #[test]
    fn what_overlaps_goes_into_rows_of_its_own() {
        let spans = [span("wait", 0.0, 5.0), span("wait", 1.0, 6.0), span("wait", 5.0, 7.0)];
        let rows = rows(&spans);
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    /// "40 ms" lay beyond the right edge of a telephone when the axis ended a little after 40 ms.
    #[test]
    fn labels_of_ticks_are_whole_wherever_the_axis_ends() {
        for wall in (38_000..46_000).step_by(20).map(f64::from) {
            let workers =
                vec![WorkerTimeline { name: "w 0".into(), spans: vec![span("compute", 0.0, 1.0)] }];
            let text = draw(344.0, &[Panel { name: "p".into(), wall, workers }]);
            let text = text.finish("i", "t", "d").0;
            let ticks: Vec<&str> = text.split("class=\"tick\"").skip(1).collect();
            assert!(ticks.len() > 2, "{text}");
            for tick in ticks {
                let (_, x) = tick.split_once("x=\"").unwrap();
                let x: f64 = x.split('"').next().unwrap().parse().unwrap();
                let label = tick.split(['>', '<']).nth(1).unwrap();
                // What DejaVu Sans takes for it.
                let end = x + label.chars().count() as f64 * 7.4 / 2.0;
                assert!(end <= 344.0, "{label} ends at {end} with {wall} us");
            }
        }
    }

    #[test]
    fn unknown_kinds_are_drawn_and_explained() {
        let workers =
            vec![WorkerTimeline { name: "w".into(), spans: vec![span("\"><b>", 0.0, 1.0)] }];
        let panels = [Panel { name: "p".into(), wall: 1.0, workers }];
        assert_eq!(legend(&panels)[0].text, "something else");
        let text = draw(344.0, &panels).finish("i", "t", "d").0;
        assert_eq!(text.matches("class=\"k-other\"").count(), 1);
        assert!(!text.contains("<b>"), "{text}");
    }
}
