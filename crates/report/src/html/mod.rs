//! A saved result as one HTML page: answers in sentences, then pictures with their
//! numbers.
//!
//! The page stands alone: no scripts, nothing from a network, pictures as inline SVG. It
//! is read from JSON leniently, so that a page can be made of what an older or a newer
//! Brigade wrote, or of a result that was cut short: what is missing leaves its picture
//! out, and the page says so.

mod breakeven;
mod dots;
mod figure;
mod gantt;
mod history;
mod input;
mod latency;
mod models;
mod page;
mod plot;
mod ratio;
mod run;
mod scale;
mod series;
mod speedup;
mod stack;
mod svg;
#[cfg(test)]
mod tests;
mod timelines;

use brigade_measure::comparison::COMPARE_SCHEMA;
use brigade_measure::history::HISTORY_SCHEMA;
use serde_json::Value;

use crate::{RUN_SCHEMA, bench::BENCH_SCHEMA, clean};
use figure::Figure;

/// Where a result is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSource {
    /// Name of its file.
    pub file: String,
    /// When the file was written, as text; empty if that is not known.
    pub written: String,
}

/// Why there is no page of a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAResult {
    /// No schema is named.
    #[error("it is not a result of Brigade: it names no schema")]
    NoSchema,
    /// A schema that is none of a result.
    #[error(
        "its schema is {0:?}, and there are pictures of {BENCH_SCHEMA}, {RUN_SCHEMA}, \
         {COMPARE_SCHEMA} and {HISTORY_SCHEMA} only"
    )]
    Schema(String),
}

/// What there is to say about a result, before it is a page.
#[derive(Debug, Default)]
struct Content {
    title: String,
    /// Sentences, most important first.
    findings: Vec<String>,
    /// Whether each figure's answer is one of the findings.
    answers: bool,
    warnings: Vec<String>,
    figures: Vec<Figure>,
    /// Sentences about what this result has no picture of.
    missing: Vec<String>,
}

impl Content {
    fn add(&mut self, figures: impl IntoIterator<Item = Figure>, if_none: &str) {
        let before = self.figures.len();
        self.figures.extend(figures);
        if self.figures.len() == before && !if_none.is_empty() {
            self.missing.push(if_none.to_owned());
        }
    }
}

/// Makes the page of a `brigade.bench.v1`, `brigade.run.v1`, `brigade.compare.v1` or
/// `brigade.history.v1`.
///
/// # Errors
/// When `result` is none of them.
///
/// ```
/// use brigade_report::html::{ResultSource, render};
/// let result = serde_json::json!({"schema": "brigade.bench.v1", "experiments": []});
/// let source = ResultSource { file: "a.json".into(), ..ResultSource::default() };
/// let page = render(&result, &source).unwrap();
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// ```
pub fn render(result: &Value, source: &ResultSource) -> Result<String, NotAResult> {
    let part = page::ResultArticle { result, source, content: content(result)? };
    Ok(finished(vec![part]))
}

/// Makes one page of several results, one after another, each as [`render`] shows it.
///
/// # Errors
/// When one of them is no result; its place is given, too.
///
/// # Panics
/// When there are none.
pub fn render_all(results: &[(Value, ResultSource)]) -> Result<String, (usize, NotAResult)> {
    assert!(!results.is_empty(), "a page shows something");
    let mut parts = Vec::with_capacity(results.len());
    for (place, (result, source)) in results.iter().enumerate() {
        let content = content(result).map_err(|error| (place, error))?;
        parts.push(page::ResultArticle { result, source, content });
    }
    Ok(finished(parts))
}

fn finished(parts: Vec<page::ResultArticle<'_>>) -> String {
    // Names and messages may hold anything; tags hold nothing that is not shown as itself.
    clean::escaped(&page::page(parts).into_string(), &['\n', '\t'])
}

fn content(result: &Value) -> Result<Content, NotAResult> {
    let schema = input::text(result, "schema").ok_or(NotAResult::NoSchema)?;
    let mut content = match schema {
        BENCH_SCHEMA => bench(result),
        RUN_SCHEMA => of_run(result),
        COMPARE_SCHEMA => comparison(result),
        HISTORY_SCHEMA => history::content(result),
        other => return Err(NotAResult::Schema(other.to_owned())),
    };
    let findings = input::texts(result, "findings");
    // What the measurement itself found out says more than what each figure shows.
    if findings.is_empty() {
        content.answers = true;
    } else {
        content.findings = findings.into_iter().map(str::to_owned).collect();
    }
    if result.get("interrupted") == Some(&Value::Bool(true)) {
        let cut = "The measurement was interrupted: this is what had been measured by then.";
        content.warnings.push(cut.into());
    }
    content.warnings.extend(input::texts(result, "warnings").into_iter().map(str::to_owned));
    Ok(content)
}

fn bench(result: &Value) -> Content {
    let (cells, unreadable) = input::cells(result);
    let experiments = input::grouped(&cells, |cell| cell.experiment);
    let names: Vec<&str> = experiments.iter().map(|(name, _)| *name).collect();
    let title = format!("Benchmark: {}", names.join(", "));
    let mut content = Content { title, ..Content::default() };
    let (spans, cells): (Vec<_>, Vec<_>) = cells.into_iter().partition(stack::is_span);
    let scaling = speedup::figures(result, &cells);
    content.add(scaling, "speedup: `brigade bench scaling` measures it.");
    let timelines = timelines::figures(result);
    content.add(timelines, "who did what when: `brigade bench paradigms` records it.");
    let (paradigms, others): (Vec<_>, Vec<_>) =
        latency::others(&cells).into_iter().partition(|cell| cell.experiment == "paradigms");
    content.add(dots::figures(&paradigms), "");
    let maps = breakeven::figures(result, &cells);
    content.add(maps, "break-even: `brigade bench break-even` maps it.");
    content.add(stack::figures(&spans), "");
    let lines = latency::figures(&cells);
    content.add(lines, "time against payload: `brigade bench latency` measures it.");
    let drawn = |cell: &input::CellInput<'_>| {
        ["scaling", "break-even"].contains(&cell.experiment) || stack::is_span(cell)
    };
    let others: Vec<_> = others.into_iter().filter(|cell| !drawn(cell)).collect();
    content.add(dots::figures(&others), "");
    if unreadable > 0 {
        let cells = crate::units::count(unreadable as u64, "cell");
        content.warnings.push(format!("{cells} could not be read (no median) and left out."));
    }
    content
}

fn of_run(result: &Value) -> Content {
    let config = result.get("config").unwrap_or(&Value::Null);
    let summary = result.get("summary").unwrap_or(&Value::Null);
    let say = |key: &str| input::text(config, key).unwrap_or("");
    let title = format!("Run: {} on {}", say("kernel"), say("backend"));
    let mut content = Content { title, ..Content::default() };
    let number = |key: &str| input::number(summary, key);
    if let (Some(ok), Some(failed)) = (number("ok"), number("failed")) {
        let wall = input::number(result, "wall_us").unwrap_or(0.0);
        let rate = number("jobs_per_s")
            .map_or(String::new(), |rate| format!(", {} a second", crate::units::digits(rate)));
        // Results of earlier versions count what was cancelled as failed.
        let cancelled = number("cancelled").unwrap_or(0.0);
        let jobs = crate::units::count((ok + failed + cancelled) as u64, "job");
        let wall = input::quantity("us", wall);
        content.findings.push(format!(
            "{jobs} in {wall}{rate}; {failed} failed{}.",
            if cancelled > 0.0 { format!(", {cancelled} cancelled") } else { String::new() }
        ));
    }
    if let (Some(in_kernel), Some(share)) = (number("speedup"), number("efficiency")) {
        let sentence = format!(
            "On average {} jobs were in a kernel at a time: {:.0} % of the workers' time.",
            crate::units::digits(in_kernel),
            share * 100.0
        );
        content.findings.push(sentence);
    }
    content.add(run::spans(result), "spans of a job: no job of this file has any.");
    content.add(run::gantt(result), "who did what: no job of this file names its worker.");
    content
}

fn comparison(result: &Value) -> Content {
    let name = |side: &str| {
        let side = result.get(side).and_then(|side| input::text(side, "name"));
        side.unwrap_or("unnamed").to_owned()
    };
    let title = format!("Comparison: {} against {}", name("head"), name("base"));
    let mut content = Content { title, ..Content::default() };
    if let Some(verdict) = input::text(result, "verdict") {
        let tolerance = input::number(result, "tolerance").map_or(String::new(), |tolerance| {
            format!(", with a tolerance of {} %", input::tick("", tolerance * 100.0))
        });
        content.findings.push(format!("Head is {verdict}{tolerance}."));
    }
    content.add(ratio::figure(result), "ratios: the comparison has no cells.");
    content
}
