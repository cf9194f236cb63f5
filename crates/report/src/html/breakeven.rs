//! Which backend is cheapest, by payload and compute time: a map with a letter in each
//! cell, and the line from which a rival is worth its price.

use serde_json::Value;

use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::input::{CellInput, distinct, grouped, in_brackets, list, text, tick, with_interval};
use super::models::{BreakEvenInput, CheapestInput, ThresholdInput, break_even, cheapest};
use super::plot::whisker;
use super::series::colour;
use super::svg::{Anchor, Canvas, text_width};
use crate::units::digits;

/// A figure for each number of workers.
pub(crate) fn figures(result: &Value, cells: &[CellInput<'_>]) -> Vec<Figure> {
    let of_map = |cell: &&CellInput<'_>| {
        cell.experiment == "break-even"
            && cell.text("backend").is_some()
            && cell.number("bytes").is_some()
            && cell.number("compute_us").is_some()
    };
    let cells: Vec<CellInput<'_>> = cells.iter().filter(of_map).copied().collect();
    let lines = break_even(result);
    let verdicts = cheapest(result);
    let refused = list(result, "models").iter().any(|model| {
        text(model, "model") == Some("refused") && text(model, "of") == Some("cheapest")
    });
    let workers = |cell: &CellInput<'_>| cell.number("workers").map(|workers| workers as u64);
    let groups = grouped(&cells, |cell| {
        // Of one worker there is sync alone: it belongs to each map.
        if cell.text("backend") == Some("sync") { None } else { workers(cell) }
    });
    let sync: Vec<CellInput<'_>> = groups
        .iter()
        .filter(|(key, _)| key.is_none())
        .flat_map(|(_, cells)| cells.clone())
        .collect();
    let maps = groups.into_iter().filter(|(key, _)| key.is_some());
    maps.map(|(workers, mut cells)| {
        cells.extend(&sync);
        let about =
            |line: &&BreakEvenInput<'_>| line.workers.is_none_or(|of| Some(of as u64) == workers);
        let judged = verdicts
            .iter()
            .filter(|verdict| verdict.workers.is_none_or(|of| Some(of as u64) == workers));
        let lines: Vec<_> = lines.iter().filter(about).collect();
        figure(workers, &cells, &lines, &judged.collect::<Vec<_>>(), refused)
    })
    .collect()
}

/// A place of the map.
struct GridPoint<'a> {
    bytes: f64,
    compute: f64,
    /// From the cheapest.
    ranked: Vec<CellInput<'a>>,
    /// What the measurement says of it; older results say nothing.
    judged: Option<&'a CheapestInput<'a>>,
    /// Whether the measurement had too few blocks to say anything.
    refused: bool,
}

impl<'a> GridPoint<'a> {
    fn backend(&self) -> &'a str {
        self.ranked[0].text("backend").unwrap_or("")
    }

    /// Whether another may as well be the cheapest. Ratios within blocks tell more than
    /// whether two intervals overlap, each of which has all that disturbed both.
    fn doubtful(&self) -> bool {
        match self.judged {
            _ if self.refused => true,
            Some(judged) => !judged.decided,
            None => self.ranked.get(1).is_some_and(|next| match (self.ranked[0].ci95, next.ci95) {
                (Some([_, to]), Some([from, _])) => from <= to,
                _ => true,
            }),
        }
    }

    /// The next, and how many times as long it takes if that is known.
    fn next(&self) -> String {
        let ratio = self.judged.and_then(|judged| judged.others.first());
        match (ratio, self.ranked.get(1)) {
            (Some((backend, of)), _) => format!(
                "{backend} {} times{}",
                digits(of.estimate),
                in_brackets(of.interval, digits)
            ),
            (None, Some(next)) => said_of(next),
            (None, None) => String::new(),
        }
    }

    fn letter(&self) -> String {
        let letter = letter(self.backend());
        if self.doubtful() { format!("{letter}?") } else { letter.to_owned() }
    }
}

fn letter(backend: &str) -> &'static str {
    match backend {
        "sync" => "S",
        "async" => "A",
        "threads" => "T",
        "threads-gil" => "G",
        "processes" => "P",
        _ => "X",
    }
}

fn said_of(cell: &CellInput<'_>) -> String {
    let backend = cell.text("backend").unwrap_or("");
    format!("{backend} {}", with_interval(cell.unit, cell.p50, cell.ci95))
}

fn figure(
    workers: Option<u64>,
    cells: &[CellInput<'_>],
    lines: &[&BreakEvenInput<'_>],
    judged: &[&CheapestInput<'_>],
    refused: bool,
) -> Figure {
    let at = |cell: &CellInput<'_>| (cell.number("bytes"), cell.number("compute_us"));
    let mut places = Vec::new();
    for ((bytes, compute), mut ranked) in grouped(cells, at) {
        ranked.sort_by(|a, b| a.p50.total_cmp(&b.p50));
        if let (Some(bytes), Some(compute)) = (bytes, compute) {
            let judged = judged.iter().copied().find(|judged| judged.at == (bytes, compute));
            if let Some(judged) = judged {
                // Its verdict is of ratios, which may rank two near ones otherwise than medians.
                ranked.sort_by_key(|cell| cell.text("backend") != Some(judged.backend));
            }
            places.push(GridPoint { bytes, compute, ranked, judged, refused });
        }
    }
    let mut table = Table::new(3, &["payload", "compute per job", "cheapest", "per job", "next"]);
    for place in &places {
        table.rows.push(vec![
            tick("bytes", place.bytes),
            tick("us", place.compute),
            place.letter() + " " + place.backend(),
            said_of(&place.ranked[0]),
            place.next(),
        ]);
    }
    for line in lines {
        for (bytes, answer) in &line.points {
            let (rival, reference) = (line.rival, line.reference);
            table.rows.push(vec![
                tick("bytes", *bytes),
                answer.said(),
                format!("break-even of {rival} and {reference}"),
                String::new(),
                String::new(),
            ]);
        }
    }
    let mut backends: Vec<&str> = Vec::new();
    for cell in cells {
        backends.extend(cell.text("backend").filter(|name| !backends.contains(name)));
    }
    let mut legend: Vec<Key> = backends
        .iter()
        .map(|backend| Key {
            swatch: Swatch::Box(format!("tile {}", colour(Some(backend)))),
            text: format!("{}: {backend} is cheapest", letter(backend)),
        })
        .collect();
    legend.extend(lines.iter().enumerate().map(|(index, line)| Key {
        swatch: Swatch::Line(format!("frontier f{}", index % 3), None),
        text: said(line),
    }));
    let workers =
        workers.map_or(String::new(), |n| format!(" ({})", crate::units::count(n, "worker")));
    Figure {
        title: format!("Break-even: the cheapest backend by payload and compute time{workers}"),
        answer: answer(lines),
        notes: vec![
            match judged.is_empty() {
                _ if refused => "All is undecided (?): there were too few blocks for intervals.",
                false => {
                    "A letter with a question mark: undecided, the ratio to the next, block by \
                     block, may be 1."
                }
                true => {
                    "A letter with a question mark: undecided, the intervals of the two cheapest \
                     overlap."
                }
            }
            .into(),
            "A triangle at the edge: the line lies beyond what was measured.".into(),
        ],
        legend,
        pictures: [WIDE, NARROW].map(|width| draw(width, &places, lines)),
        table,
    }
}

fn said(line: &BreakEvenInput<'_>) -> String {
    let percent = line.percent.map_or(String::new(), |percent| format!(" {percent} %"));
    format!("from here up {} cost at most{percent} more than {}", line.rival, line.reference)
}

fn answer(lines: &[&BreakEvenInput<'_>]) -> String {
    let Some(line) = lines.first() else { return String::new() };
    let points = line.points.iter().map(|(bytes, answer)| {
        let of = format!("with {}", tick("bytes", *bytes));
        match answer {
            ThresholdInput::At(_) => format!("{of} from {}", answer.said()),
            ThresholdInput::Never | ThresholdInput::Always => format!("{of} {}", answer.said()),
        }
    });
    let percent = line.percent.map_or(String::new(), |percent| format!(" {percent} %"));
    let points: Vec<String> = points.collect();
    format!(
        "{} cost at most{percent} more than {} for jobs that compute: {}.",
        super::input::words(line.rival),
        line.reference,
        points.join("; ")
    )
}

/// Equal steps for the values that were tried, whatever lies between them.
struct Bands<'a> {
    values: &'a [f64],
    from: f64,
    step: f64,
}

impl Bands<'_> {
    fn middle(&self, index: usize) -> f64 {
        self.from + self.step * (index as f64 + 0.5)
    }

    /// The place of any value: between two bands by ratio, at most half a band beyond
    /// the first and the last.
    fn at(&self, value: f64) -> f64 {
        let above = self.values.iter().position(|other| *other >= value);
        match above {
            Some(index) if self.values[index] == value => self.middle(index),
            Some(0) => self.from,
            Some(index) => {
                let (low, high) = (self.values[index - 1], self.values[index]);
                let share =
                    if low > 0.0 { (value / low).ln() / (high / low).ln() } else { value / high };
                self.middle(index - 1) + share * self.step
            }
            None => self.from + self.step * self.values.len() as f64,
        }
    }
}

fn draw(width: f64, places: &[GridPoint<'_>], lines: &[&BreakEvenInput<'_>]) -> Canvas {
    let bytes = distinct(places.iter().map(|place| place.bytes));
    let compute = distinct(places.iter().map(|place| place.compute));
    let (left, top, right) = (66.0, 30.0, width - 12.0);
    let row = if width >= WIDE { 40.0 } else { 34.0 };
    let bottom = top + row * compute.len() as f64;
    let mut canvas = Canvas::new(width, bottom + 46.0);
    let step = ((right - left) / bytes.len() as f64).min(170.0);
    let right = left + step * bytes.len() as f64;
    let x = Bands { values: &bytes, from: left, step };
    let y = Bands { values: &compute, from: bottom, step: -row };
    for place in places {
        let corner = (x.at(place.bytes) - step / 2.0 + 1.0, y.at(place.compute) - row / 2.0 + 1.0);
        let class = format!("tile {}", colour(Some(place.backend())));
        let cheapest = &place.ranked[0];
        let says = format!(
            "{}, {}: {} {}",
            tick("bytes", place.bytes),
            tick("us", place.compute),
            place.backend(),
            with_interval(cheapest.unit, cheapest.p50, cheapest.ci95)
        );
        canvas.mark("place", &says, |canvas| {
            canvas.rect(&class, corner, (step - 2.0, row - 2.0));
        });
    }
    let widest = bytes.iter().map(|b| text_width(&tick("bytes", *b))).fold(0.0, f64::max);
    let every = (((widest + 10.0) / step).ceil() as usize).max(1);
    for (index, value) in bytes.iter().enumerate().step_by(every) {
        let at = (x.middle(index), bottom + 18.0);
        canvas.text("tick", Anchor::Middle, at, &tick("bytes", *value));
    }
    for (index, value) in compute.iter().enumerate() {
        let at = (left - 8.0, y.middle(index) + 4.0);
        canvas.text("tick", Anchor::End, at, &tick("us", *value));
    }
    canvas.text("title", Anchor::End, (right, bottom + 39.0), "payload");
    canvas.text("title", Anchor::Start, (2.0, 14.0), "compute time per job");
    for (index, line) in lines.iter().enumerate() {
        let class = format!("frontier f{}", index % 3);
        let place = |(bytes, answer): &(f64, ThresholdInput)| {
            let height = match answer {
                ThresholdInput::At(at) => y.at(at.estimate),
                ThresholdInput::Never => top,
                ThresholdInput::Always => bottom,
            };
            (x.at(*bytes), height)
        };
        canvas.path(&format!("halo {class}"), &line.points.iter().map(place).collect::<Vec<_>>());
        canvas.path(&class, &line.points.iter().map(place).collect::<Vec<_>>());
        for point in &line.points {
            let (at, middle) = place(point);
            let (shape, interval) = match point.1 {
                ThresholdInput::At(of) => (0, of.interval),
                ThresholdInput::Never => (3, None),
                ThresholdInput::Always => (4, None),
            };
            canvas.mark("frontier-point", &point.1.said(), |canvas| {
                if let Some(interval) = interval {
                    let [from, to] = interval.map(|end| y.at(end));
                    whisker(canvas, &class, (at, from), (at, to));
                }
                canvas.marker("frontier-dot", shape, (at, middle));
            });
        }
    }
    for place in places {
        // Above the line, and not in the middle, where its points are.
        let at = (x.at(place.bytes) - step / 2.0 + 8.0, y.at(place.compute) + 5.0);
        canvas.text("letter", Anchor::Start, at, &place.letter());
    }
    canvas
}
