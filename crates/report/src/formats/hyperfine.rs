//! What `hyperfine --export-json` writes
//! (<https://github.com/sharkdp/hyperfine#json>), in seconds: plots and statistics that
//! read it read Brigade's times too.

use std::io::{self, Write};

use brigade_measure::comparison::Comparison;
use brigade_measure::experiment::median;
use serde::Serialize;

use super::Document;
use super::figure::NamedFigure;
use crate::units;

#[derive(Serialize)]
struct HyperfineExport {
    results: Vec<HyperfineResult>,
}

#[derive(Serialize)]
struct HyperfineResult {
    command: String,
    mean: f64,
    /// Null where there is one time only, as hyperfine has it.
    stddev: Option<f64>,
    median: f64,
    user: f64,
    system: f64,
    min: f64,
    max: f64,
    times: Vec<f64>,
    exit_codes: Vec<i32>,
}

pub(super) fn has_times(document: Document<'_>) -> bool {
    document.figures().iter().any(is_main)
}

pub(super) fn write(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    let figures = document.figures();
    let main: Vec<usize> = (0..figures.len()).filter(|at| is_main(&figures[*at])).collect();
    let results: Vec<HyperfineResult> = match document {
        Document::Bench(_) => main
            .iter()
            .filter_map(|at| {
                run(figures[*at].name.clone(), &figures, *at, |at| figures[at].samples)
            })
            .collect(),
        Document::Comparison(comparison) => sides(comparison, &figures, &main),
    };
    serde_json::to_writer_pretty(&mut *out, &HyperfineExport { results })?;
    out.write_all(b"\n")
}

/// Base and head of every time.
fn sides(
    comparison: &Comparison,
    figures: &[NamedFigure<'_>],
    main: &[usize],
) -> Vec<HyperfineResult> {
    let cells = &comparison.cells;
    let command = |side: &str, at: usize| match main.len() {
        1 => side.to_owned(),
        _ => format!("{side}: {}", figures[at].name),
    };
    let both =
        main.iter().flat_map(|at| {
            let base = run(command(&comparison.base.name, *at), figures, *at, |at| {
                &cells[at].base_samples[..]
            });
            let head = run(command(&comparison.head.name, *at), figures, *at, |at| {
                &cells[at].head_samples[..]
            });
            [base, head]
        });
    both.flatten().collect()
}

/// Whether it is a result of its own: CPU times are part of another.
fn is_main(figure: &NamedFigure<'_>) -> bool {
    units::per_second(figure.unit).is_some() && !["user", "system"].contains(&figure.metric)
}

/// Nothing where no sample is a number.
fn run<'a>(
    command: String,
    figures: &[NamedFigure<'_>],
    at: usize,
    samples: impl Fn(usize) -> &'a [f64],
) -> Option<HyperfineResult> {
    let seconds = |at: usize| -> Vec<f64> {
        let per_second = units::per_second(figures[at].unit).unwrap_or(1.0);
        samples(at).iter().filter(|time| time.is_finite()).map(|time| time / per_second).collect()
    };
    // What was not measured is 0: readers of the format want a number there.
    let cpu = |metric: &str| {
        let same = |figure: &NamedFigure<'_>| {
            figure.metric == metric
                && figure.experiment == figures[at].experiment
                && figure.case == figures[at].case
        };
        figures.iter().position(same).map(seconds).map(|times| mean(&times)).unwrap_or(0.0)
    };
    let times = seconds(at);
    if times.is_empty() {
        return None;
    }
    Some(HyperfineResult {
        command,
        mean: mean(&times),
        stddev: stddev(&times),
        median: median(&times),
        user: cpu("user"),
        system: cpu("system"),
        min: times.iter().copied().fold(f64::INFINITY, f64::min),
        max: times.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        // A run that failed has no time here, so all that are left ended well.
        exit_codes: vec![0; times.len()],
        times,
    })
}

fn mean(times: &[f64]) -> f64 {
    if times.is_empty() { 0.0 } else { times.iter().sum::<f64>() / times.len() as f64 }
}

/// Of a sample: over n - 1.
fn stddev(times: &[f64]) -> Option<f64> {
    let mean = mean(times);
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    (times.len() > 1).then(|| (squares / (times.len() - 1) as f64).sqrt())
}
