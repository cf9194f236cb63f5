//! OpenMetrics 1.0 text (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): for a
//! textfile collector or a push gateway.

use std::collections::BTreeMap;
use std::io::{self, Write};

use brigade_measure::comparison::{Comparison, Verdict};

use super::Document;
use super::figure::NamedFigure;
use crate::{clean, units};

/// Samples of one name: they must not be interleaved with others.
struct MetricFamily {
    kind: &'static str,
    unit: String,
    help: &'static str,
    samples: Vec<String>,
}

#[derive(Default)]
struct MetricFamilies(BTreeMap<String, MetricFamily>);

impl MetricFamilies {
    /// Adds a sample of `brigade_{what}_{unit}`; times become seconds, the base unit.
    fn gauge(&mut self, what: &str, help: &'static str, unit: &str, labels: &str, value: f64) {
        let per_second = units::per_second(unit);
        let unit = per_second.map_or_else(|| word(unit), |_| "seconds".to_owned());
        let name = match unit.as_str() {
            "" => format!("brigade_{what}"),
            _ => format!("brigade_{what}_{unit}"),
        };
        let sample = format!("{name}{{{labels}}} {}", number(value / per_second.unwrap_or(1.0)));
        self.family(name, "gauge", unit, help).push(sample);
    }

    fn family(
        &mut self,
        name: String,
        kind: &'static str,
        unit: String,
        help: &'static str,
    ) -> &mut Vec<String> {
        let new = || MetricFamily { kind, unit, help, samples: Vec::new() };
        &mut self.0.entry(name).or_insert_with(new).samples
    }
}

pub(super) fn write(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    let mut families = MetricFamilies::default();
    let figures = document.figures();
    match document {
        Document::Comparison(comparison) => compared(&mut families, comparison, &figures),
        Document::Bench(_) => measured(&mut families, &figures),
    }
    for (name, family) in &families.0 {
        writeln!(out, "# TYPE {name} {}", family.kind)?;
        if !family.unit.is_empty() {
            writeln!(out, "# UNIT {name} {}", family.unit)?;
        }
        writeln!(out, "# HELP {name} {}", family.help)?;
        family.samples.iter().try_for_each(|sample| writeln!(out, "{sample}"))?;
    }
    writeln!(out, "# EOF")
}

fn measured(families: &mut MetricFamilies, figures: &[NamedFigure<'_>]) {
    for figure in figures {
        let labels = labels(figure);
        let mut add = |what, help, value| families.gauge(what, help, figure.unit, &labels, value);
        add("median", "Median of the samples.", figure.value);
        if let Some([low, high]) = figure.interval {
            add("median_low", "Lower end of the 95 % interval of the median.", low);
            add("median_high", "Upper end of the 95 % interval of the median.", high);
        }
    }
}

fn compared(families: &mut MetricFamilies, comparison: &Comparison, figures: &[NamedFigure<'_>]) {
    for (cell, figure) in comparison.cells.iter().zip(figures) {
        let labels = labels(figure);
        for (side, value) in [("base", cell.base), ("head", cell.head)] {
            let labels = format!("{labels},side=\"{side}\"");
            families.gauge("median", "Median of the samples.", &cell.unit, &labels, value);
        }
        let [low, high] = cell.ratio.interval;
        let mut add = |what, help, value| families.gauge(what, help, "ratio", &labels, value);
        add("change", "Head over base.", cell.ratio.estimate);
        add("change_low", "Lower end of the interval of head over base.", low);
        add("change_high", "Upper end of the interval of head over base.", high);
        add("detectable", "Smallest slowdown that would be found, less one.", cell.detectable);
        let name = "brigade_verdict";
        let states = families.family(name.to_owned(), "stateset", String::new(), "What is said.");
        for verdict in [Verdict::Better, Verdict::Same, Verdict::Inconclusive, Verdict::Worse] {
            let is = u8::from(verdict == cell.verdict);
            states.push(format!("{name}{{{labels},{name}=\"{verdict}\"}} {is}"));
        }
    }
}

/// The name is among them, so that no two samples have the same labels.
fn labels(figure: &NamedFigure<'_>) -> String {
    let mut labels = vec![
        ("cell".to_owned(), figure.name.clone()),
        ("experiment".to_owned(), figure.experiment.to_owned()),
        ("metric".to_owned(), figure.metric.to_owned()),
    ];
    for (key, value) in figure.case {
        // Some are used here, `le` and `quantile` belong to histograms and summaries.
        let reserved = ["side", "brigade_verdict", "le", "quantile"];
        let mut label = word(key);
        let begins_badly = !label.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_taken = labels.iter().any(|(taken, _)| *taken == label);
        if begins_badly || is_taken || reserved.contains(&label.as_str()) {
            label = format!("case_{label}");
        }
        // Still the same: two keys that differ in what a label cannot say. `cell` has both.
        if labels.iter().all(|(taken, _)| *taken != label) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            labels.push((label, value));
        }
    }
    let quoted = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
    quoted.collect::<Vec<_>>().join(",")
}

/// What may be part of a name.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn escaped(text: &str) -> String {
    let text = clean::escaped(text, &['\n']);
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}
