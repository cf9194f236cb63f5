//! Where the time of a round trip goes: the mean span of a block's jobs, beside their total.

use brigade_measure::experiment::{Cell, Metric, Readings};
use brigade_proto::{Span, Spans};

/// The metrics of a variant that tells [`readings`]. What has no spans, as a floor, tells the
/// first only.
pub(super) const METRICS: [Metric; 8] = [
    Metric::us("round_trip"),
    Metric::us("queue"),
    Metric::us("encode"),
    Metric::us("deliver"),
    Metric::us("decode"),
    Metric::us("compute"),
    Metric::us("reply"),
    Metric::us("collect"),
];

/// The round trips of one block, and the mean of each span.
pub(super) fn readings(trips: &[(f64, Spans)]) -> Readings {
    let mut readings = vec![trips.iter().map(|(us, _)| *us).collect::<Vec<_>>()];
    readings.extend(Span::ALL.iter().map(|&span| {
        let all: f64 = trips.iter().map(|(_, spans)| spans.get(span) as f64).sum();
        vec![all / 1e3 / trips.len() as f64]
    }));
    readings
}

/// A cell as it is kept. Of a span that is how long it is, without the means of which that
/// was made: `compare` judges the round trip that they are parts of, once, and by raw samples.
/// None of what has no spans.
pub(super) fn kept(cell: Cell) -> Option<Cell> {
    let is_span = Span::ALL.iter().any(|span| span.name() == cell.metric);
    match is_span {
        false => Some(cell),
        true if cell.n == 0 => None,
        true => Some(Cell { n: 0, samples: Vec::new(), per_block: Vec::new(), ..cell }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_the_round_trip_and_every_span_in_order() {
        let names = METRICS.map(|metric| metric.name);
        assert_eq!(names[0], "round_trip");
        assert_eq!(names[1..], Span::ALL.map(Span::name));
    }
}
