//! Statistics on slices of `f64`: pure functions, and whatever is random takes its
//! [`Rng`](crate::experiment::Rng) as an argument.
//!
//! They serve a paired comparison: each replication block gives one log ratio of head
//! over base, and the blocks are what is independent. Values are finite: who has missing
//! ones leaves them out, pair by pair.

pub mod bootstrap;
mod detectable;
mod holm;
mod mann_whitney;
mod quantile;
mod sign_flip;
mod signed_rank;
pub mod spending;

pub use detectable::{detectable_by_rank, detectable_from};
pub use holm::holm;
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use quantile::{median, median_in_place, quantile};
pub use sign_flip::sign_flip_test;
pub use signed_rank::{hodges_lehmann, signed_rank_blocks_needed, signed_rank_interval};

use statrs::distribution::{ContinuousCDF, Normal};

/// The value that a standard normal variable does not exceed with probability `p`.
fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// The probability that a standard normal variable exceeds `z`.
fn normal_tail(z: f64) -> f64 {
    Normal::standard().sf(z)
}

/// In ascending order.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
