//! Statistics of paired differences: estimates, intervals and tests that assume of the
//! noise only that it is symmetric, because it is anything but normal on a machine that
//! others use too.

mod bootstrap;
mod effect;
mod holm;
mod mann_whitney;
mod permutation;
mod signed_rank;
mod spending;

pub use bootstrap::{hierarchical, ratio_of_medians};
pub use effect::detectable;
pub use holm::holm;
pub use mann_whitney::mann_whitney;
pub use permutation::sign_flip_test;
pub use signed_rank::{hodges_lehmann, pairs_needed, signed_rank_interval};
pub use spending::{Spending, nominal_levels};
