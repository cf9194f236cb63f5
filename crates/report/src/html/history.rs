//! A history: for each figure its commits with their intervals, the levels between changes, and
//! the commits that brought the changes.

use brigade_measure::history::{Change, History, Series};
use serde_json::{Value, json};

use super::Content;
use super::figure::{Figure, Key, NARROW, Swatch, Table, WIDE};
use super::input::{plausible, text};
use super::plot::{Axes, Field, whisker, with_room};
use super::scale::{Scale, extent};
use super::svg::{Anchor, Canvas, text_width};
use crate::history_words::{sentence, short, size, too_few};
use crate::units::{axis_labels, quantity};

/// Height of a row of commits' names above the points.
const ROW: f64 = 17.0;

/// What there is to say about a history.
pub(crate) fn content(result: &Value) -> Content {
    let Ok(history) = serde_json::from_value::<History>(result.clone()) else {
        let missing = vec!["a series: the file is not whole.".to_owned()];
        return Content { title: "History".to_owned(), missing, ..Content::default() };
    };
    let names = match &history.series[..] {
        [one] => one.name.clone(),
        several => format!("{} series", several.len()),
    };
    let mut content = Content { title: format!("History: {names}"), ..Content::default() };
    let many = machines(result).is_some_and(|names| names.len() > 1);
    content.add(history.series.iter().filter_map(|series| figure(series, many)), "a series.");
    content
}

/// The machines of a history, each once; `None` if it is none.
pub(crate) fn machines(result: &Value) -> Option<Vec<&str>> {
    let series = result.get("series")?.as_array()?;
    let mut names: Vec<&str> = series.iter().filter_map(|of| text(of, "machine")).collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

fn figure(series: &Series, many_machines: bool) -> Option<Figure> {
    let on = if many_machines { format!(", on {}", series.machine) } else { String::new() };
    let mut notes = vec![
        "Each point is the median of a commit, with its interval. A line across is a level; it \
         moves where commits from there on are different beyond their noise. The vertical axis \
         does not begin at 0."
            .to_owned(),
    ];
    notes.extend(too_few(series));
    Some(Figure {
        title: format!("{}{on}", series.name),
        answer: answer(series),
        notes,
        legend: legend(series),
        pictures: [draw(series, WIDE)?, draw(series, NARROW)?],
        table: table(series),
    })
}

fn answer(series: &Series) -> String {
    let commits = brigade_proto::count(series.points.len(), "commit");
    match series.changes.last() {
        None => format!("{}: no change in {commits}.", series.name),
        Some(change) => format!("{}.", sentence(series, change)),
    }
}

fn legend(series: &Series) -> Vec<Key> {
    let key = |class: &str, shape, text: &str| Key {
        swatch: Swatch::Line(class.to_owned(), shape),
        text: text.to_owned(),
    };
    let mut keys = vec![
        key("c-other", Some(0), "commit, with the interval of its median"),
        key("level", None, "level"),
    ];
    let has =
        |is_up: bool| series.changes.iter().any(|change| (change.ratio.estimate > 1.0) == is_up);
    for (is_up, class, text) in [(true, "v-worse d1", "more"), (false, "v-better d1", "less")] {
        if has(is_up) {
            keys.push(key(class, None, &format!("from here on {text}")));
        }
    }
    keys
}

fn colour(change: &Change) -> &'static str {
    if change.ratio.estimate > 1.0 { "v-worse" } else { "v-better" }
}

fn draw(series: &Series, width: f64) -> Option<Canvas> {
    let height = if width >= WIDE { 340.0 } else { 300.0 };
    let field = Field::new(width, height, 12.0);
    let count = series.points.len();
    let shown = |value: f64| plausible(&json!(value));
    let ends = series.points.iter().flat_map(|point| {
        let interval = point.interval.unwrap_or([point.median; 2]);
        [point.median, interval[0], interval[1]]
    });
    let (least, most) = extent(ends.filter_map(shown))?;
    // Noise of a fraction of a percent does not fill the picture.
    let room = ((most - least) * 0.06).max(most.abs() * 0.01);
    let x = Scale::linear((0.0, count as f64 - 1.0), (field.x.0 + 12.0, field.x.1 - 12.0));
    let names = names(series, &x, field);
    let rows = names.iter().map(|name| name.row + 1).max().unwrap_or(0);
    let top = field.y.1 + rows as f64 * ROW + if rows > 0 { 6.0 } else { 0.0 };
    let y = Scale::linear((least - room, most + room), (field.y.0 - 4.0, top));

    let mut canvas = Canvas::new(width, height);
    let y_ticks = y.ticks(34.0);
    let labels = axis_labels(&y_ticks, &series.unit);
    let y_ticks: Vec<(f64, String)> = y_ticks.into_iter().zip(labels).collect();
    let axes = Axes {
        x,
        y,
        x_ticks: &commits(series, &x, width),
        y_ticks: &y_ticks,
        x_title: "commit",
        y_title: "median",
    };
    axes.draw(&mut canvas, field);
    for name in &names {
        let (change, row) = (name.change, field.y.1 + ROW * (name.row as f64 + 1.0) - 4.0);
        let at = x.at(change.at as f64 - 0.5);
        let class = format!("change-line {}", colour(change));
        canvas.line(&class, (at, row + 3.0), (at, field.y.0));
    }
    for level in &series.levels {
        let [from, to] = [level.from as f64 - 0.5, level.to as f64 - 0.5];
        let [from, to] = [from, to].map(|at| x.at(at.clamp(0.0, count as f64 - 1.0)));
        let level = y.clamped(level.value);
        canvas.line("level", (from, level), (to, level));
    }
    points(&mut canvas, series, &x, &y);
    // Over everything else.
    for name in &names {
        let row = field.y.1 + ROW * (name.row as f64 + 1.0) - 4.0;
        let class = format!("change-name {}", colour(name.change));
        canvas.text(&class, Anchor::Middle, (name.middle, row), &name.text);
    }
    Some(canvas)
}

fn points(canvas: &mut Canvas, series: &Series, x: &Scale, y: &Scale) {
    // Markers that would overlap are small, and their intervals have no ends.
    let is_dense = (x.at(1.0) - x.at(0.0)).abs() < 9.0;
    for (i, point) in series.points.iter().enumerate() {
        if plausible(&json!(point.median)).is_none() {
            continue;
        }
        let change = series.changes.iter().find(|change| change.at == i);
        let class = change.map_or("c-other", colour);
        let at = (x.at(i as f64), y.clamped(point.median));
        let said = match &point.subject {
            Some(subject) => format!("{} ({subject})", short(&point.commit)),
            None => short(&point.commit).to_owned(),
        };
        let says = format!("{said}: {}", with_interval(series, point.median, point.interval));
        canvas.mark("point", &says, |canvas| {
            let interval = point.interval.map(|ends| ends.map(|end| y.clamped(end)));
            match (interval, is_dense) {
                (Some([low, high]), false) => whisker(canvas, class, (at.0, low), (at.0, high)),
                (Some([low, high]), true) => {
                    canvas.line(&format!("whisker {class}"), (at.0, low), (at.0, high));
                }
                (None, _) => {}
            }
            if is_dense && change.is_none() {
                let corner = (at.0 - 1.6, at.1 - 1.6);
                canvas.rect(&format!("small-dot {class}"), corner, (3.2, 3.2));
            } else {
                let shape = if change.is_some() { 2 } else { 0 };
                canvas.marker(&format!("dot {class}"), shape, at);
            }
        });
    }
}

/// The name of a change's commit, and where it stands.
struct ChangeLabel<'a> {
    change: &'a Change,
    text: String,
    middle: f64,
    row: usize,
}

/// Names beside each other if they have room, else in rows. The newest comes first: if there are
/// more than fit in four rows, the oldest have none.
fn names<'a>(series: &'a Series, x: &Scale, field: Field) -> Vec<ChangeLabel<'a>> {
    const ROWS: usize = 4;
    let mut placed: Vec<ChangeLabel<'a>> = Vec::new();
    for change in series.changes.iter().rev() {
        let percent = (change.ratio.estimate - 1.0) * 100.0;
        let text = format!("{} {percent:+.1} %", short(&change.commit));
        let half = text_width(&text) / 2.0 + 6.0;
        let wanted = x.at(change.at as f64 - 0.5);
        let middle = wanted.clamp(field.x.0 + half, (field.x.1 - half).max(field.x.0 + half));
        let is_free = |row: &usize| {
            let mut others = placed.iter().filter(|other| other.row == *row);
            let apart = |other: &ChangeLabel<'_>| {
                let other_half = text_width(&other.text) / 2.0 + 6.0;
                (other.middle - middle).abs() >= half + other_half
            };
            others.all(apart)
        };
        if let Some(row) = (0..ROWS).find(is_free) {
            placed.push(ChangeLabel { change, text, middle, row });
        }
    }
    placed
}

/// Names of commits along the axis, as many as have room, from the newest that is not cut off.
fn commits(series: &Series, x: &Scale, right: f64) -> Vec<(f64, String)> {
    let label = |i: usize| {
        let name = short(&series.points[i].commit);
        let name: String = name.chars().take(10).collect();
        (i as f64, name)
    };
    let fits = |(at, name): &(f64, String)| x.at(*at) + text_width(name) * 0.6 <= right;
    let backwards = (0..series.points.len()).rev().map(label).filter(fits).collect();
    let mut kept = with_room(x, backwards);
    kept.reverse();
    kept
}

fn with_interval(series: &Series, median: f64, interval: Option<[f64; 2]>) -> String {
    let said = |value: f64| quantity(value, &series.unit);
    match interval {
        Some([low, high]) => format!("{} ({} to {})", said(median), said(low), said(high)),
        None => said(median),
    }
}

fn table(series: &Series) -> Table {
    let mut table = Table::new(3, &["commit", "message", "time", "median (interval)", "change"]);
    for (i, point) in series.points.iter().enumerate().rev() {
        let change = series.changes.iter().find(|change| change.at == i);
        table.rows.push(vec![
            short(&point.commit).to_owned(),
            point.subject.clone().unwrap_or_default(),
            point.time.clone(),
            with_interval(series, point.median, point.interval),
            change.map(size).unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history_words::tests::sixty;
    use crate::html::{ResultSource, render};

    fn page(history: &History) -> String {
        render(&json!(history), &ResultSource::default()).unwrap()
    }

    #[test]
    fn a_point_for_each_commit_and_a_name_for_each_change() {
        let page = page(&sixty());
        let wide = page.split("<div class=\"wide\">").nth(1).unwrap().split("</svg>").next();
        let wide = wide.unwrap();
        assert_eq!(wide.matches("class=\"mark point\"").count(), 60);
        assert_eq!(wide.matches("class=\"level\"").count(), 2);
        assert_eq!(wide.matches("class=\"change-line v-worse\"").count(), 1);
        assert!(wide.contains("0000000000 +4."), "{wide}");
        assert!(page.contains("(Keep names in a &lt;tree&gt;)"), "it is escaped");
        assert!(page.contains("Xeon, 2 cores, 4 GiB, kvm") && !page.contains("does not say"));
    }

    #[test]
    fn names_that_overlap_are_in_rows_and_the_newest_are_kept() {
        let mut history = sixty();
        let change = history.series[0].changes[0].clone();
        history.series[0].changes =
            (30..40).map(|at| Change { at, commit: format!("c{at}"), ..change.clone() }).collect();
        let x = Scale::linear((0.0, 59.0), (72.0, 320.0));
        let names = names(&history.series[0], &x, Field::new(NARROW, 300.0, 12.0));
        assert_eq!(names.iter().map(|name| name.row).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(names[0].change.commit, "c39");
    }

    #[test]
    fn hostile_and_broken_files_make_a_page() {
        let mut history = sixty();
        let series = &mut history.series[0];
        series.name = "<script>alert(1)</script>".to_owned();
        series.points[3].median = 1e300;
        series.points[4].commit = "</svg>".to_owned();
        let html = page(&history);
        assert!(!html.contains("<script") && !html.contains("NaN"), "{html}");
        let broken = json!({"schema": "brigade.history.v1", "series": [{}]});
        let html = render(&broken, &ResultSource::default()).unwrap();
        assert!(html.contains("the file is not whole"));
        let empty = json!({"schema": "brigade.history.v1", "order": "time", "warnings": [],
                           "series": []});
        assert!(
            render(&empty, &ResultSource::default()).unwrap().contains("No picture of a series")
        );
    }
}
