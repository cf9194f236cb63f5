//! Models that are linear in non-negative parameters, fitted to the relative error.

use super::nnls::nnls;
use super::resample::Center;

/// The cells of a model `measured = row . parameters`.
///
/// The fit minimises the sum of squares of `model / measured - 1`. Times span decades, and an error
/// of 10 % is equally bad at 1 us and at 1 s.
#[derive(Clone, Debug)]
pub(super) struct Linear<const K: usize> {
    cells: Vec<([f64; K], Center)>,
}

impl<const K: usize> Linear<K> {
    /// Requires at least one cell.
    pub(super) fn new(cells: impl IntoIterator<Item = ([f64; K], Center)>) -> Self {
        Self { cells: cells.into_iter().collect() }
    }

    /// The centre of the first cell; all cells have the same blocks.
    pub(super) fn first(&self) -> &Center {
        &self.cells[0].1
    }

    /// The parameters if block `b` was drawn `draw[b]` times.
    pub(super) fn fit(&self, draw: &[u32]) -> [f64; K] {
        nnls(self.cells.iter().map(|(row, center)| {
            let weight = 1.0 / center.of(draw);
            (row.map(|value| value * weight), 1.0)
        }))
    }

    /// The largest relative distance of a cell from the fit to all blocks.
    pub(super) fn worst_residual(&self) -> f64 {
        let all = self.first().all();
        let parameters = self.fit(&all);
        let residual = |(row, center): &([f64; K], Center)| {
            let model: f64 = row.iter().zip(parameters).map(|(value, p)| value * p).sum();
            (model / center.of(&all) - 1.0).abs()
        };
        self.cells.iter().map(residual).fold(0.0, f64::max)
    }
}
