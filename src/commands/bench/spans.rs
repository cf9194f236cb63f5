//! How the time of a round trip is spent: the mean of each span over a block's jobs, next to the
//! round trip itself.

use brigade_measure::experiment::{Cell, Metric, Readings};
use brigade_proto::{Span, Spans};

/// The metrics of a variant that returns [`readings`]. A variant without spans, such as a floor,
/// returns only the first metric.
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

/// The round trips of one block, and the mean of each span over them.
pub(super) fn readings(trips: &[(f64, Spans)]) -> Readings {
    let mut readings = vec![trips.iter().map(|(us, _)| *us).collect::<Vec<_>>()];
    readings.extend(Span::ALL.iter().map(|&span| {
        let all: f64 = trips.iter().map(|(_, spans)| spans.get(span) as f64).sum();
        vec![all / 1e3 / trips.len() as f64]
    }));
    readings
}

/// Reduces a cell to what the result keeps. A span keeps its summary but not the block means that
/// it was computed from, so `compare` does not judge it: `compare` judges the round trip, of which
/// the spans are parts, from raw samples. A span without values is dropped (`None`).
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
