//! Statistics on slices of `f64`. All functions are pure; a function that needs random numbers
//! takes its [`Rng`](crate::rng::Rng) as an argument.
//!
//! The functions serve paired comparisons: each replication block contributes one log ratio of head
//! over base, and blocks are independent of each other. All values must be finite; the caller drops
//! missing values pair by pair.

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

/// Quantile `p` of the standard normal distribution.
fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// The probability that a standard normal variable exceeds `z`.
fn normal_tail(z: f64) -> f64 {
    Normal::standard().sf(z)
}

/// A copy in ascending order.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
