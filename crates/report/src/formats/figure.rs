//! What both documents have: figures with names.

use serde_json::{Map, Value};

use super::{Document, name};

/// A figure of this run: of a comparison, head's.
pub(crate) struct NamedFigure<'a> {
    /// Of this document, unique.
    pub(crate) name: String,
    pub(crate) experiment: &'a str,
    pub(crate) metric: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) case: &'a Map<String, Value>,
    /// The median.
    pub(crate) value: f64,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) samples: &'a [f64],
}

impl<'a> Document<'a> {
    /// Every figure, in order; also those that are not numbers because all samples failed.
    pub(crate) fn figures(self) -> Vec<NamedFigure<'a>> {
        let mut figures: Vec<NamedFigure<'a>> = match self {
            Self::Comparison(comparison) => comparison
                .cells
                .iter()
                .map(|cell| NamedFigure {
                    name: name::cell(&cell.experiment, &cell.metric, &cell.case),
                    experiment: &cell.experiment,
                    metric: &cell.metric,
                    unit: &cell.unit,
                    case: &cell.case,
                    value: cell.head,
                    // The noise of the change, about head: paired, so narrower than that
                    // of head's samples alone, and what the verdict was made from.
                    interval: finite(
                        cell.ratio.interval.map(|end| cell.head * end / cell.ratio.estimate),
                    ),
                    samples: &cell.head_samples,
                })
                .collect(),
            Self::Bench(bench) => bench
                .experiments
                .iter()
                // Spans have no samples of their own: they are parts of other figures.
                .filter(|cell| cell.error.is_some() || !cell.samples.is_empty())
                .map(|cell| NamedFigure {
                    name: name::cell(&cell.experiment, cell.metric, &cell.case),
                    experiment: &cell.experiment,
                    metric: cell.metric,
                    unit: cell.unit,
                    case: &cell.case,
                    value: cell.p50,
                    interval: finite(cell.ci95),
                    samples: &cell.samples,
                })
                .collect(),
        };
        let names = name::unique(figures.iter_mut().map(|figure| std::mem::take(&mut figure.name)));
        for (figure, name) in figures.iter_mut().zip(names) {
            figure.name = name;
        }
        figures
    }

    /// The names of the figures, in order.
    pub(crate) fn names(self) -> Vec<String> {
        self.figures().into_iter().map(|figure| figure.name).collect()
    }
}

fn finite(interval: [f64; 2]) -> Option<[f64; 2]> {
    interval.iter().all(|end| end.is_finite()).then_some(interval)
}
