//! Converts cells to the figures that models take: one per block.

use brigade_measure::comparison::Estimate;
use brigade_measure::experiment::{Cell, median};
use brigade_report::units;
use serde_json::Value;

/// The number of blocks that all of these cells have. After an interrupt, or where the
/// budget ended, some cells have one block more.
pub(super) fn whole_blocks<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> usize {
    cells.into_iter().map(|cell| cell.per_block.len()).min().unwrap_or(0)
}

/// One figure for each of the first `blocks` blocks, for cells that were measured together.
pub(super) fn of_blocks(cell: &Cell, blocks: usize) -> Vec<f64> {
    let mut figures = cell.block_medians();
    figures.truncate(blocks);
    figures
}

/// `groups` figures, each from a group of neighbouring blocks. For cells that were measured one
/// after the other, one of which may have more blocks than the other.
pub(super) fn of_groups(cell: &Cell, groups: usize) -> Vec<f64> {
    let figures = cell.block_medians();
    let border = |group: usize| group * figures.len() / groups.max(1);
    (0..groups).map(|group| median(&figures[border(group)..border(group + 1)])).collect()
}

/// Whether the case of a cell contains all of these entries, as in `{"backend": "threads"}`.
pub(super) fn is(cell: &Cell, wanted: &Value) -> bool {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| cell.case.get(key) == Some(value))
}

/// Formats an estimate with its interval: `1.93 (1.85 .. 1.97)`.
pub(super) fn interval(of: &Estimate) -> String {
    let [low, high] = of.interval.map(number);
    format!("{} ({low} .. {high})", number(of.estimate))
}

fn number(value: f64) -> String {
    if value.is_finite() { units::digits(value) } else { "no bound".to_owned() }
}

/// Formats a share in percent: `4.80 % (3.84 % .. 5.76 %)`.
pub(super) fn percent(of: &Estimate) -> String {
    let [low, high] = of.interval.map(|share| share * 100.0);
    format!("{:.2} % ({low:.2} % .. {high:.2} %)", of.estimate * 100.0)
}

/// Formats a time in microseconds: `310 us (250 us .. 390 us)`.
pub(super) fn times(of: &Estimate) -> String {
    format!("{} ({} .. {})", time(of.estimate), time(of.interval[0]), time(of.interval[1]))
}

/// Formats microseconds with a readable unit; infinity is "never".
pub(super) fn time(us: f64) -> String {
    if us.is_finite() { units::time((us * 1e3).round() as u64) } else { "never".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_measure::experiment::{ExperimentHooks, Metric, Plan, Variant, run};
    use serde_json::{Map, json};

    fn cell(blocks: usize) -> Cell {
        let mut turn = 0.0;
        let mut variants = [Variant::new(Map::new(), move || {
            turn += 1.0;
            Ok(vec![turn, turn, 1000.0])
        })];
        let plan = Plan { blocks, budget: None, precision: None, seed: 1 };
        let mut hooks = ExperimentHooks { done: &mut |_| {}, is_interrupted: &|| false };
        run("test", &[Metric::us("x")], &mut variants, &plan, &mut hooks).cells.remove(0)
    }

    #[test]
    fn a_figure_is_of_a_block_or_of_neighbouring_ones() {
        let (few, many) = (cell(2), cell(6));
        let blocks = whole_blocks([&few, &many]);
        assert_eq!(blocks, 2);
        assert_eq!(of_blocks(&many, blocks), [1.0, 2.0]);
        assert_eq!(of_groups(&many, blocks), [2.0, 5.0]);
        assert_eq!(of_groups(&few, blocks), [1.0, 2.0]);
    }

    #[test]
    fn a_case_may_say_more_than_is_asked_for() {
        let mut cell = cell(1);
        cell.case = super::super::case(json!({"backend": "threads", "workers": 2}));
        assert!(is(&cell, &json!({"workers": 2})) && is(&cell, &json!({})));
        assert!(!is(&cell, &json!({"workers": 2, "backend": "sync"})));
        assert!(!is(&cell, &json!({"bytes": 2})));
    }
}
