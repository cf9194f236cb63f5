//! Where the time of a job goes: a bar for each backend, its spans one after another.

use serde_json::Value;

use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::input::{CellInput, grouped, quantity, tick};
use super::scale::Scale;
use super::svg::{Anchor, Canvas, fitted, text_width};

/// Spans in the order in which they happen; a job waits in the queue first.
pub(crate) const SPANS: [&str; 7] =
    ["queue", "encode", "deliver", "decode", "compute", "reply", "collect"];

/// What the names mean.
const WORDS: &str = "encode: inputs into the transport; deliver: until the worker has the job; \
    decode: until the kernel is called; reply: until the result is published; collect: until \
    the coordinator has it.";

/// The column of [`Behind`] in the table: before `deliver`.
const BEHIND: usize = 3;

/// Mean or median spans of a job, in microseconds, in the order of [`SPANS`].
pub(crate) struct Bar {
    /// Whose they are.
    pub(crate) name: String,
    /// How long each is.
    pub(crate) spans: [f64; 7],
    /// How long a job was on its way while its worker still had the job before: that is no part
    /// of these spans, and not drawn, as it depends on how many jobs a worker is given in advance.
    pub(crate) behind: Behind,
    /// Whether the queue is drawn: it is part of a job that was submitted alone, where for a
    /// thread it is the wake-up. Else it depends on how many were submitted at once.
    pub(crate) alone: bool,
}

/// The wait for the job that a worker had before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behind {
    /// So long, on average.
    Us(f64),
    /// It is somewhere in `deliver`: older results do not say how long it was.
    InDeliver,
}

impl Bar {
    /// The first span that is drawn.
    fn first(&self) -> usize {
        usize::from(!self.alone)
    }

    /// All that is drawn.
    fn length(&self) -> f64 {
        self.spans[self.first()..].iter().sum()
    }
}

/// What all bars of a figure have in common.
const SITUATION: [&str; 4] = ["kernel", "bytes", "state", "workers"];

/// A figure for each experiment whose cells have spans as their metrics, and each situation in
/// it: of payloads, without any and the largest, between which the others lie.
pub(crate) fn figures(cells: &[CellInput<'_>]) -> Vec<Figure> {
    let spans: Vec<CellInput<'_>> = cells.iter().filter(|cell| is_span(cell)).copied().collect();
    let mut figures = Vec::new();
    for (_, cells) in grouped(&spans, |cell| cell.experiment) {
        let most = cells.iter().filter_map(|cell| cell.number("bytes")).fold(0.0, f64::max);
        let is_end = |cell: &&CellInput<'_>| {
            cell.number("bytes").is_none_or(|bytes| bytes == 0.0 || bytes == most)
        };
        let ends: Vec<CellInput<'_>> = cells.iter().filter(is_end).copied().collect();
        figures.extend(grouped(&ends, situation).iter().map(|(_, cells)| of_situation(cells)));
    }
    figures
}

fn situation<'a>(cell: &CellInput<'a>) -> [Option<&'a Value>; 4] {
    SITUATION.map(|key| cell.case.get(key))
}

fn of_situation(cells: &[CellInput<'_>]) -> Figure {
    let bar = |(case, cells): (_, Vec<CellInput<'_>>)| {
        let of = |name| cells.iter().find(|cell| cell.metric == name);
        let spans = SPANS.map(|name| of(name).map_or(0.0, |cell| cell.p50.max(0.0)));
        let name = super::input::said(case, |key| !SITUATION.contains(&key));
        // With one job at a time no job waits for an earlier one.
        Bar { name, spans, behind: Behind::Us(0.0), alone: true }
    };
    let bars: Vec<Bar> = grouped(cells, |cell| cell.case).into_iter().map(bar).collect();
    let situation = cells[0].said(|key| SITUATION.contains(&key));
    let situation = if situation.is_empty() { String::new() } else { format!(": {situation}") };
    let title = format!("Spans of a job by backend ({}{situation})", cells[0].experiment);
    Figure { answer: compared(&bars), ..figure(title, &bars) }
}

/// The cheapest way to a thread and to a process, and what takes the time there.
fn compared(bars: &[Bar]) -> String {
    let least = |backend: &str| {
        let is_one = |bar: &&Bar| {
            bar.name
                .strip_prefix(backend)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
        };
        bars.iter().filter(is_one).min_by(|a, b| a.length().total_cmp(&b.length()))
    };
    let said = |bar: &Bar| {
        let spans = bar.spans.iter().zip(SPANS).skip(bar.first());
        let (most, name) = spans.max_by(|a, b| a.0.total_cmp(b.0)).unwrap_or((&0.0, ""));
        let [all, most] = [bar.length(), *most].map(|us| quantity("us", us));
        format!("{} takes {all}, of which {name} {most}", bar.name)
    };
    let ways: Vec<String> =
        ["threads", "processes"].into_iter().filter_map(least).map(said).collect();
    match ways.is_empty() {
        true => bars.first().map_or(String::new(), |bar| format!("{}.", said(bar))),
        false => format!("{}.", ways.join("; ")),
    }
}

/// Whether a cell is one of [`figures`].
pub(crate) fn is_span(cell: &CellInput<'_>) -> bool {
    cell.unit == "us" && SPANS.contains(&cell.metric)
}

/// The figure of some bars. Where jobs were submitted at once, the queue is in the table only.
pub(crate) fn figure(title: String, bars: &[Bar]) -> Figure {
    let alone = bars.iter().any(|bar| bar.alone);
    let mut table = Table::new(1, &["jobs"]);
    table.head.extend(SPANS.map(str::to_owned));
    if !alone {
        table.head.insert(BEHIND, "behind".to_owned());
    }
    for bar in bars {
        let mut row = vec![bar.name.clone()];
        row.extend(bar.spans.map(|span| quantity("us", span)));
        if !alone {
            let behind = match bar.behind {
                Behind::Us(us) => quantity("us", us),
                Behind::InDeliver => "in deliver".to_owned(),
            };
            row.insert(BEHIND, behind);
        }
        table.rows.push(row);
    }
    let key = |index: usize| Key {
        swatch: Swatch::Box(format!("span-{index}")),
        text: SPANS[index].to_owned(),
    };
    let say = |bar: &Bar| {
        let (compute, over) = (bar.spans[4], bar.length() - bar.spans[4]);
        let [compute, over] = [compute, over].map(|us| quantity("us", us));
        let name = &bar.name;
        let handing = "handing it over and back takes";
        match bar.behind {
            Behind::InDeliver => format!(
                "{name}: a job computes for {compute}; {handing} at most {over} more, of which an \
                 unknown part is waiting for the job that its worker had before."
            ),
            Behind::Us(us) if us > 0.0 => format!(
                "{name}: a job computes for {compute}; {handing} {over} more. It waits {} for the \
                 job that its worker had before.",
                quantity("us", us)
            ),
            Behind::Us(_) => {
                format!("{name}: a job computes for {compute}; {handing} {over} more.")
            }
        }
    };
    let queue = match alone {
        true => "queue: until it is assigned to a worker, which is where a thread wakes up;",
        false => {
            "Waiting is not drawn, but in the table: in the queue, which depends on how many jobs \
             were submitted at once, and behind the job that the worker had before, which depends \
             on how many jobs a worker is given in advance (--depth)."
        }
    };
    Figure {
        title,
        answer: bars.first().map_or(String::new(), say),
        notes: vec![format!("{queue} {WORDS}")],
        legend: (usize::from(!alone)..SPANS.len()).map(key).collect(),
        pictures: [WIDE, NARROW].map(|width| draw(width, bars)),
        table,
    }
}

fn draw(width: f64, bars: &[Bar]) -> Canvas {
    let wide = width >= WIDE;
    let names = bars.iter().map(|bar| text_width(&bar.name)).fold(60.0, f64::max).min(290.0);
    let (left, right) = if wide { (names + 16.0, width - 90.0) } else { (2.0, width - 14.0) };
    let step = if wide { 36.0 } else { 52.0 };
    let bottom = 6.0 + step * bars.len() as f64;
    let mut canvas = Canvas::new(width, bottom + 28.0);
    let most = bars.iter().map(Bar::length).fold(0.0, f64::max).max(1e-9);
    let x = Scale::linear((0.0, most), (left, right));
    for value in x.ticks(80.0) {
        let at = x.at(value);
        canvas.line("grid", (at, bottom), (at, bottom + 5.0));
        let label = tick("us", value);
        match value {
            // A narrow picture has it at the left edge.
            0.0 => canvas.text("tick", Anchor::Start, (at, bottom + 18.0), &label),
            _ => canvas.tick_label((at, bottom + 18.0), &label),
        }
    }
    canvas.line("axis", (left, bottom), (right, bottom));
    for (index, bar) in bars.iter().enumerate() {
        let top = 6.0 + step * index as f64 + if wide { 5.0 } else { 20.0 };
        let value = quantity("us", bar.length());
        if wide {
            let name = fitted(&bar.name, left - 14.0);
            canvas.text("label", Anchor::End, (left - 10.0, top + 17.0), &name);
            canvas.text("value", Anchor::End, (width - 2.0, top + 17.0), &value);
        } else {
            let name = fitted(&bar.name, width - text_width(&value) - 12.0);
            canvas.text("label", Anchor::Start, (2.0, top - 5.0), &name);
            canvas.text("value", Anchor::End, (width - 2.0, top - 5.0), &value);
        }
        let mut from = 0.0;
        for (span, took) in bar.spans.iter().enumerate().skip(bar.first()) {
            let (begin, end) = (x.at(from), x.at(from + took));
            from += took;
            let says = format!("{}: {} {}", bar.name, SPANS[span], quantity("us", *took));
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
